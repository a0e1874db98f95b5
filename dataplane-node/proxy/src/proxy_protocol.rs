//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection ahead of its first byte. The comments name sections of its
//! specification, `doc/proxy-protocol.txt` of `HAProxy`.
//!
//! ```text
//! bytes ── read ──► Header { origin, extras } ── write ──► bytes
//! ```
//!
//! All of that is pure: bytes in, values out. `receive.rs` takes a header from a socket. A header is believed, so nothing in it is guessed:
//! what is not exactly as the specification has it is a [`HeaderRefusal`].

mod config;
mod crc32c;
mod endpoints;
mod header;
mod receive;
mod refusal;
mod tlv;
mod version1;
mod version2;
mod write;

#[cfg(test)]
mod proptests;

pub use config::{Expected, Others, ProxyProtocolConfig};
pub(crate) use endpoints::Endpoints;
pub use header::{Extras, HEADER_BYTES, Header, Origin, Tls, Version, read};
pub(crate) use receive::receive;
pub use refusal::HeaderRefusal;
pub use write::write;
