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
//!
//! An engine that takes the place of another one gets all of these sockets, with what is in them and what is known of the sessions
//! (`handed.rs`): clients stay with the sockets that they have, and servers see what they saw.

mod config;
mod counters;
mod handed;
mod piece;
mod relay;
mod session;
mod sites;
mod socket;

pub use config::UdpConfig;
pub use counters::{UdpCounters, UdpCounts};
pub(crate) use handed::TakenDatagrams;
pub use handed::{HandedRelay, HandedSession, NoSession, SessionFacts};
pub use relay::serve_udp;
pub use sites::UdpService;
pub(crate) use sites::UdpSites;
pub use socket::udp_listener;
