//! The agent in network namespaces: real links, real maps, and a controller that the test plays. Needs root; without it
//! every test fails and says so.

#[path = "netns/announced.rs"]
mod announced;
#[path = "netns/announced_faults.rs"]
mod announced_faults;
#[path = "netns/arp_watch.rs"]
mod arp_watch;
#[path = "netns/bird.rs"]
mod bird;
#[path = "netns/capabilities.rs"]
mod capabilities;
#[path = "netns/detaching.rs"]
mod detaching;
#[path = "netns/exact_state.rs"]
mod exact_state;
#[path = "netns/failed_take_over.rs"]
mod failed_take_over;
#[path = "netns/fixture.rs"]
mod fixture;
#[path = "netns/flat_network.rs"]
mod flat_network;
#[path = "netns/foreign_programs.rs"]
mod foreign_programs;
#[path = "netns/gue.rs"]
mod gue;
#[path = "netns/hitless.rs"]
mod hitless;
#[path = "netns/icmp.rs"]
mod icmp;
#[path = "netns/icmp_network.rs"]
mod icmp_network;
#[cfg(target_arch = "x86_64")]
#[path = "guest/initramfs.rs"]
mod initramfs;
#[path = "netns/interfaces.rs"]
mod interfaces;
#[path = "netns/killed_server.rs"]
mod killed_server;
#[path = "netns/l4_checklist.rs"]
mod l4_checklist;
#[path = "netns/l7_balancing.rs"]
mod l7_balancing;
#[path = "netns/l7_carried.rs"]
mod l7_carried;
#[path = "netns/l7_clients.rs"]
mod l7_clients;
#[path = "netns/l7_names.rs"]
mod l7_names;
#[path = "netns/l7_reverse.rs"]
mod l7_reverse;
#[path = "netns/l7_routes.rs"]
mod l7_routes;
#[path = "netns/l7_secured.rs"]
mod l7_secured;
#[path = "netns/l7_served.rs"]
mod l7_served;
#[path = "netns/l7_traces.rs"]
mod l7_traces;
#[path = "netns/l7_transparent.rs"]
mod l7_transparent;
#[path = "netns/large_frames.rs"]
mod large_frames;
#[path = "netns/layout_switch.rs"]
mod layout_switch;
#[path = "netns/leases.rs"]
mod leases;
#[cfg(target_arch = "x86_64")]
#[path = "netns/linux_6_1.rs"]
mod linux_6_1;
#[path = "netns/load_balancer.rs"]
mod load_balancer;
#[cfg(target_arch = "x86_64")]
#[path = "guest/machine.rs"]
mod machine;
#[path = "netns/map_memory.rs"]
mod map_memory;
#[path = "netns/named_servers.rs"]
mod named_servers;
#[path = "netns/namespace.rs"]
mod namespace;
#[path = "netns/nginx.rs"]
mod nginx;
#[path = "netns/played_collector.rs"]
mod played_collector;
#[path = "netns/played_controller.rs"]
mod played_controller;
#[path = "netns/prefix.rs"]
mod prefix;
#[path = "netns/rivals.rs"]
mod rivals;
#[path = "netns/seeing.rs"]
mod seeing;
#[path = "netns/server.rs"]
mod server;
#[path = "netns/specs.rs"]
mod specs;
#[path = "netns/take_over.rs"]
mod take_over;
#[path = "netns/told_client.rs"]
mod told_client;
#[path = "netns/traffic.rs"]
mod traffic;
#[path = "netns/transparent_listening.rs"]
mod transparent_listening;
#[path = "netns/transparent_routed.rs"]
mod transparent_routed;
#[path = "netns/transparent_site.rs"]
mod transparent_site;
#[path = "netns/two_nics.rs"]
mod two_nics;
#[path = "netns/udp_echo.rs"]
mod udp_echo;
