//! The agent in network namespaces: real links, real maps, and a controller that the test plays. Needs root; without it
//! every test fails and says so.

#[path = "netns/fixture.rs"]
mod fixture;
#[path = "netns/icmp.rs"]
mod icmp;
#[path = "netns/icmp_network.rs"]
mod icmp_network;
#[path = "netns/load_balancer.rs"]
mod load_balancer;
#[path = "netns/namespace.rs"]
mod namespace;
#[path = "netns/played_controller.rs"]
mod played_controller;
#[path = "netns/server.rs"]
mod server;
