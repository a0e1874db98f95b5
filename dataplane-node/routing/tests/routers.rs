//! The speaker and BFD beside routers that others have written, in network namespaces: real links, real packets. Needs root,
//! bird2, frr and gobgpd; without them every test fails and says so.
//!
//! A test is a function of what is to be, and a row of the routers beside which it is so (`beside!`). Settings of both sides are
//! made of one [`peering::Peering`], and what a router knows is read into one [`path::Path`], whichever router it is.

#[path = "routers/announcing.rs"]
mod announcing;
#[path = "routers/bfd.rs"]
mod bfd;
#[path = "routers/bird.rs"]
mod bird;
#[path = "routers/frr.rs"]
mod frr;
#[path = "routers/gobgp.rs"]
mod gobgp;
#[path = "routers/malformed.rs"]
mod malformed;
#[path = "routers/many.rs"]
mod many;
#[path = "../../tests/netns/namespace.rs"]
#[expect(dead_code, reason = "the agent's tests need more of it")]
mod namespace;
#[path = "routers/network.rs"]
mod network;
#[path = "routers/node.rs"]
mod node;
#[path = "routers/path.rs"]
mod path;
#[path = "routers/peering.rs"]
mod peering;
#[path = "routers/process.rs"]
mod process;
#[path = "routers/restart.rs"]
mod restart;
#[path = "routers/router.rs"]
mod router;
#[path = "routers/script.rs"]
mod script;
#[path = "routers/scripted.rs"]
mod scripted;
#[path = "routers/security.rs"]
mod security;
#[path = "routers/sessions.rs"]
mod sessions;
