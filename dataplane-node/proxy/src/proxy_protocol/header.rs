use std::net::SocketAddr;

use super::{HeaderRefusal, version1, version2};

/// Bytes of a header, with its own beginning. Version 2 has room for four times as much, which nobody uses.
pub const HEADER_BYTES: usize = 16 << 10;

/// What a proxy says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// How it is written.
    pub version: Version,
    /// Whose connection it is.
    pub origin: Origin,
    /// What else is said; nothing in version 1.
    pub extras: Extras<'a>,
}

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text, section 2.1.
    One,
    /// In binary, section 2.2.
    Two,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own, which checks whether somebody is there. Version 1 cannot say it.
    Proxy,
    /// Somebody's, whose addresses are not said, or are not of the Internet.
    Unknown,
    /// A client's.
    Client {
        /// Where it comes from.
        client: SocketAddr,
        /// Where it went, of the same family.
        service: SocketAddr,
        /// It came in datagrams. Version 1 cannot say it.
        is_datagram: bool,
    },
}

/// What else is said of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras<'a> {
    /// The protocol above, as in ALPN.
    pub alpn: Option<&'a [u8]>,
    /// The host that the client named: its SNI.
    pub authority: Option<&'a str>,
    /// The proxy's name for the connection, of at most 128 bytes.
    pub unique_id: Option<&'a [u8]>,
    /// The client's TLS connection to the proxy.
    pub tls: Option<Tls<'a>>,
}

/// A client's TLS connection to a proxy, section 2.2.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the specification has a bit for each"
)]
pub struct Tls<'a> {
    /// There is one.
    pub is_used: bool,
    /// The client has shown a certificate over this connection.
    pub has_certificate: bool,
    /// It has shown one at least once in this session.
    pub has_certificate_in_session: bool,
    /// It has shown one, and that is good.
    pub is_verified: bool,
    /// As in `TLSv1.3`.
    pub version: Option<&'a str>,
    /// Of the certificate's subject.
    pub common_name: Option<&'a str>,
    /// As in `TLS_AES_128_GCM_SHA256`.
    pub cipher: Option<&'a str>,
    /// What signs the certificate, as in `SHA256`.
    pub signature: Option<&'a str>,
    /// The certificate's key, as in `RSA2048`.
    pub key: Option<&'a str>,
}

/// Reads a header at the beginning of what has come, and says how long it is; none if more has to come.
pub fn read(bytes: &[u8]) -> Result<Option<(Header<'_>, usize)>, HeaderRefusal> {
    match bytes.first() {
        None => Ok(None),
        Some(first) if *first == version1::BEGIN[0] => version1::read(bytes),
        Some(_) => version2::read(bytes),
    }
}

/// Whether bytes begin as they must, as far as they go.
pub(super) fn begins(bytes: &[u8], begin: &[u8]) -> Result<(), HeaderRefusal> {
    let count = bytes.len().min(begin.len());
    if bytes[..count] == begin[..count] {
        Ok(())
    } else {
        Err(HeaderRefusal::Missing)
    }
}
