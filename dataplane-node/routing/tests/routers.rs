//! The speaker and BFD beside routers that others have written, in network namespaces: real links, real packets. Needs root and
//! bird2; without them every test fails and says so.

#[path = "routers/bird.rs"]
mod bird;
#[path = "routers/bird_bfd.rs"]
mod bird_bfd;
#[path = "routers/bird_sessions.rs"]
mod bird_sessions;
#[path = "../../tests/netns/namespace.rs"]
#[expect(dead_code, reason = "the agent's tests need more of it")]
mod namespace;
#[path = "routers/network.rs"]
mod network;
#[path = "routers/node.rs"]
mod node;
