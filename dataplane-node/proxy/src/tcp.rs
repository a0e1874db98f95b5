//! TCP connections that are relayed as they come, whatever is in them.
//!
//! ```text
//!            first 64 KiB: buffer           after them: pipe, splice(2)
//! client ──────────────────────────► server, connected before the first byte is read
//!        ◄──────────────────────────
//!            the same, of its own
//! ```
//!
//! TLS may be relayed to where the name of the server says that the client wants (`passthrough.rs`, `sni.rs`).
//!
//! Each direction ends by itself, as each side closes it. What ends otherwise, by a reset, an error or in silence, is reset on both sides: a
//! stream that was cut short looks whole to nobody.

mod connection;
mod one_way;
mod passthrough;
mod pipe;
mod relay;
mod sni;

pub(crate) use connection::Connection;
pub(crate) use passthrough::Passthrough;
pub(crate) use relay::{Cut, failed, relay, silent};
pub use sni::{InvalidServerNames, ServerNames, SniFound, SniRoute, SniTable, Unrouted};
