//! Datagrams that are relayed as they come.
//!
//! ```text
//! client A ─┐                        ┌─ session of A: a socket connected to server 1, and a task ─► server 1
//! client B ─┴─► socket of a worker ──┴─ session of B: ...                                        ─► server 2
//!           ◄── from the address that the client went to ◄── answers, until there are none for `idle`
//! ```
//!
//! A datagram is sent on at once or dropped, and counted: nothing is queued. Where the kernel gives several of one flow in one piece (GRO), they
//! are sent on in one (GSO).

mod config;
mod counters;
mod piece;
mod relay;
mod session;
mod sites;
mod socket;

pub use config::UdpConfig;
pub use counters::{UdpCounters, UdpCounts};
pub use relay::serve_udp;
pub use sites::UdpService;
pub(crate) use sites::UdpSites;
pub use socket::udp_listener;
