//! In binary, section 2.2.
//!
//! ```text
//!  0                              12       13       14        16
//! +------------------------------+--------+--------+---------+-----------+--------+
//! | 0D 0A 0D 0A 00 0D 0A         | 2, and | family,| length  | addresses | values |
//! | 51 55 49 54 0A               | command| kind   | of both |           |        |
//! +------------------------------+--------+--------+---------+-----------+--------+
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Extras, HEADER_BYTES, Header, HeaderRefusal, Origin, Version, header::begins, tlv};

/// What every header begins with.
pub(super) const BEGIN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before the addresses.
pub(super) const FIXED_BYTES: usize = 16;
/// Addresses and ports of both sides.
const IPV4_BYTES: usize = 12;
const IPV6_BYTES: usize = 36;
/// Two names of sockets.
const UNIX_BYTES: usize = 216;

/// What a header has for addresses.
#[derive(Clone, Copy)]
enum Family {
    /// `LOCAL`, where the addresses do not matter.
    Any,
    Unspecified,
    Ipv4 {
        is_datagram: bool,
    },
    Ipv6 {
        is_datagram: bool,
    },
    Unix,
}

pub(super) fn read(bytes: &[u8]) -> Result<Option<(Header<'_>, usize)>, HeaderRefusal> {
    begins(bytes, BEGIN)?;
    let Some(command) = bytes.get(BEGIN.len()) else {
        return Ok(None);
    };
    if command >> 4 != 2 {
        return Err(HeaderRefusal::Version);
    }
    let is_local = match command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(HeaderRefusal::Command),
    };
    let Some(family) = bytes.get(BEGIN.len() + 1) else {
        return Ok(None);
    };
    let family = if is_local {
        Family::Any
    } else {
        Family::of(*family)?
    };
    let Some(length) = bytes.get(BEGIN.len() + 2..FIXED_BYTES) else {
        return Ok(None);
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < FIXED_BYTES + family.bytes() {
        return Err(HeaderRefusal::Length);
    }
    if length > HEADER_BYTES {
        return Err(HeaderRefusal::TooLong);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    let header = Header {
        version: Version::Two,
        origin: family.origin(&whole[FIXED_BYTES..]),
        extras: family.extras(whole)?,
    };
    Ok(Some((header, length)))
}

// === impl Family ===

impl Family {
    fn of(byte: u8) -> Result<Self, HeaderRefusal> {
        match byte {
            0x00 => Ok(Self::Unspecified),
            0x11 => Ok(Self::Ipv4 { is_datagram: false }),
            0x12 => Ok(Self::Ipv4 { is_datagram: true }),
            0x21 => Ok(Self::Ipv6 { is_datagram: false }),
            0x22 => Ok(Self::Ipv6 { is_datagram: true }),
            0x31 | 0x32 => Ok(Self::Unix),
            _ => Err(HeaderRefusal::Family),
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Any | Self::Unspecified => 0,
            Self::Ipv4 { .. } => IPV4_BYTES,
            Self::Ipv6 { .. } => IPV6_BYTES,
            Self::Unix => UNIX_BYTES,
        }
    }

    /// `addresses` are as long as the family's are, at least.
    fn origin(self, addresses: &[u8]) -> Origin {
        let two = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
        match self {
            Self::Any => Origin::Proxy,
            Self::Unspecified | Self::Unix => Origin::Unknown,
            Self::Ipv4 { is_datagram } => {
                let address = |at: usize| {
                    let [one, other] = [two(at), two(at + 2)].map(u32::from);
                    Ipv4Addr::from_bits(one << 16 | other)
                };
                Origin::Client {
                    client: SocketAddr::new(address(0).into(), two(8)),
                    service: SocketAddr::new(address(4).into(), two(10)),
                    is_datagram,
                }
            }
            Self::Ipv6 { is_datagram } => {
                let address = |at: usize| {
                    let parts: [u16; 8] = std::array::from_fn(|part| two(at + 2 * part));
                    Ipv6Addr::from(parts)
                };
                Origin::Client {
                    client: SocketAddr::new(address(0).into(), two(32)),
                    service: SocketAddr::new(address(16).into(), two(34)),
                    is_datagram,
                }
            }
        }
    }

    fn extras(self, whole: &[u8]) -> Result<Extras<'_>, HeaderRefusal> {
        match self {
            // "Discard the protocol block", and what its addresses are is not known.
            Self::Any | Self::Unspecified => Ok(Extras::default()),
            Self::Ipv4 { .. } | Self::Ipv6 { .. } | Self::Unix => {
                tlv::extras(whole, FIXED_BYTES + self.bytes())
            }
        }
    }
}
