//! What carries leases of VIPs on both sides: the clock, a thread that nothing else runs on, connections that nothing else goes over, and the node's part.
//!
//! ```text
//!  node                                                                 controllers
//!  LeaseThread: NodeLeases ── Owner ◄── LeaseGrant ─── stream ─── LeaseThread: Leader, Witness (in lbfabric-controller)
//!                  │            └─── LeaseRequest ──► one for each member ──►
//!                  └─► VipAnswers ──► the XDP program's map
//! ```
//!
//! The rules are in `lbfabric_model::lease`, which knows neither clocks nor sockets.

mod channel;
mod clock;
mod link;
mod node;
mod peers;
mod real_time;
mod thread;

pub use channel::{GREETING, channel};
pub use clock::now;
pub use node::{LeaseCounts, NodeLeases, NodeLeasesConfig, Readiness, VipAnswers};
pub use thread::LeaseThread;
