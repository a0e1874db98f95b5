//! Bidirectional forwarding detection (RFC 5880) over one hop (RFC 5881) and several (RFC 5883), in asynchronous mode.
//!
//! ```text
//!           ┌──────────────┐ Packet  ┌───────────────┐ &mut  ┌─────────┐ Output: a packet to send,
//!  bytes ──►│ Packet::read ├────────►│ Demultiplexer ├──────►│ Session ├──► and a change of state
//!           └──────────────┘         └───────────────┘       └────▲────┘
//!                                                      deadline() │ due(now)
//! ```
//!
//! A shell has a socket with a TTL of 255 and the port of single hops (3784) or of multihop (4784), reads packets with the TTL and interface that they came with,
//! and sleeps until the earliest deadline of its sessions. Packets that wait are read before a deadline is reported.
//!
//! Not there: echo and demand mode of our own, and authentication.

mod demultiplexer;
mod packet;
mod session;

pub use demultiplexer::{Demultiplexer, Path, Stranger};
pub use packet::{Diagnostic, Discarded, Packet, State};
pub use session::{
    Change, HandedSession, InvalidSession, NoHandedSession, Output, Session, SessionConfig,
    SessionSpec,
};
