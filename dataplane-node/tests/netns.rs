//! The agent in network namespaces: real links, real maps, and a controller that the test plays. Needs root; without it
//! every test fails and says so.

#[path = "netns/detaching.rs"]
mod detaching;
#[path = "netns/fixture.rs"]
mod fixture;
#[path = "netns/foreign_programs.rs"]
mod foreign_programs;
#[path = "netns/hitless.rs"]
mod hitless;
#[path = "netns/interfaces.rs"]
mod interfaces;
#[path = "netns/layout_switch.rs"]
mod layout_switch;
#[path = "netns/load_balancer.rs"]
mod load_balancer;
#[path = "netns/map_memory.rs"]
mod map_memory;
#[path = "netns/namespace.rs"]
mod namespace;
#[path = "netns/played_controller.rs"]
mod played_controller;
#[path = "netns/server.rs"]
mod server;
#[path = "netns/two_nics.rs"]
mod two_nics;
#[path = "netns/udp_echo.rs"]
mod udp_echo;
