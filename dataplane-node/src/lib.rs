//! The node agent: follows the controller, probes servers, resolves next hops, and writes the XDP program's maps.
//!
//! ```text
//! controllers ◄── stream ──► Follower ──► Desired ─┐
//! servers ◄──── TCP ────────► Probers ──► Health ──┤ Agent (one task)
//! kernel ◄───── netlink ────► NetworkWatch ────────┼──► Reconciler ──► plan ──► LbMaps ──► kernel
//!                                                  ├──► EngineDriver ──► layer-7 engine, VIPs on the loopback
//!                                                  ├──► Announcer ──► BGP and BFD with routers
//!                                                  ├──► LeasedVips: whom else neighbors take for a VIP's owner
//!                                                  ├──► ServerSetup (role server)
//!                                                  └◄── Admin: metrics and health over HTTP
//! ```
//!
//! Whatever the agent does, the program in the kernel goes on forwarding: it and its maps are pinned.

mod agent;
mod announce;
mod chain;
mod config;
mod controller;
mod engine;
mod explain;
mod hand_over;
mod health;
mod jitter;
mod map_keeper;
mod maps;
mod neighbor;
mod netlink;
pub mod object;
mod plan;
mod random;
mod reconciler;
mod seeing;
mod server;
mod snapshot;
mod state_file;
mod xdp;

pub use agent::{DetachError, NodeAgent, StartError, detach};
pub use config::{AccessLogTarget, NodeConfig, Role, TraceCollector, XdpModeChoice};
pub use hand_over::HandOverFailed;
pub use map_keeper::{KeepError, Kept, MapKeeper};
pub use neighbor::{Adopted, LeasedVips, LeasedVipsError, Mac, Rival, VipOwner};
