//! What a frame is, written down a second time: by slices, from the RFCs, with nothing of the programs'. `docs/parsing.md`
//! says the same in words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A packet, as far as its frame tells.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Where the tags end and the IP header begins.
    pub(crate) ip: usize,
    /// Where the IP header ends with all that extends it.
    pub(crate) l4: usize,
    /// Where the packet ends: what follows is padding.
    pub(crate) end: usize,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) what: What,
    /// Of a fragment.
    pub(crate) identification: Option<u32>,
}

/// What is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// TCP or UDP, whole or its first fragment: protocol and ports.
    Ports(u8, u16, u16),
    /// A fragment that is not the first, of this protocol in IPv4.
    Later(u8),
    /// Something else, or a packet on its way to somewhere else.
    Other(u8),
    /// Not right, for this reason.
    Broken(&'static str),
}

/// A frame that is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    NotIp,
    Arp,
    /// It ends before the IP header does.
    Short,
    /// The version is not what the Ethernet type says.
    Version,
}

/// Reads a frame.
pub(crate) fn read(frame: &[u8]) -> Result<Seen, Odd> {
    let mut ip = 14;
    let mut ethertype = word(frame, 12).ok_or(Odd::NotIp)?;
    for _ in 0..2 {
        if ethertype == 0x8100 || ethertype == 0x88a8 {
            ethertype = word(frame, ip + 2).ok_or(Odd::NotIp)?;
            ip += 4;
        }
    }
    match ethertype {
        0x0800 => ipv4(frame, ip),
        0x86dd => ipv6(frame, ip),
        0x0806 => Err(Odd::Arp),
        _ => Err(Odd::NotIp),
    }
}

fn ipv4(frame: &[u8], ip: usize) -> Result<Seen, Odd> {
    let header = frame.get(ip..ip + 20).ok_or(Odd::Short)?;
    if header[0] >> 4 != 4 {
        return Err(Odd::Version);
    }
    let address = |at: usize| {
        let octets: [u8; 4] = header[at..at + 4].try_into().unwrap();
        IpAddr::from(Ipv4Addr::from(octets))
    };
    let header_length = usize::from(header[0] & 15) * 4;
    let length = usize::from(word(header, 2).unwrap());
    let flags = word(header, 6).unwrap();
    let (offset, more) = (flags & 0x1fff, flags & 0x2000 != 0);
    let is_first = offset == 0;
    let protocol = header[9];
    let mut seen = Seen {
        ip,
        l4: ip + header_length,
        end: ip + length,
        source: address(12),
        destination: address(16),
        ttl: header[8],
        what: What::Other(protocol),
        identification: (!is_first || more).then(|| word(header, 4).unwrap().into()),
    };
    seen.what = if header_length < 20 || length < header_length || seen.end > frame.len() {
        What::Broken("drop-bad-length")
    } else if is_first {
        l4(frame, &seen, protocol, more)
    } else {
        What::Later(protocol)
    };
    Ok(seen)
}

fn ipv6(frame: &[u8], ip: usize) -> Result<Seen, Odd> {
    let header = frame.get(ip..ip + 40).ok_or(Odd::Short)?;
    if header[0] >> 4 != 6 {
        return Err(Odd::Version);
    }
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().unwrap();
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let length = 40 + usize::from(word(header, 4).unwrap());
    let mut seen = Seen {
        ip,
        l4: ip + 40,
        end: ip + length,
        source: address(8),
        destination: address(24),
        ttl: header[7],
        what: What::Other(header[6]),
        identification: None,
    };
    seen.what = if seen.end > frame.len() {
        What::Broken("drop-bad-length")
    } else {
        extensions(frame, &mut seen, header[6])
    };
    Ok(seen)
}

/// At most eight extension headers, and none that ends further than 511 bytes into the frame.
fn extensions(frame: &[u8], seen: &mut Seen, first: u8) -> What {
    const TOO_MANY: What = What::Broken("drop-extension-headers");
    let mut next = first;
    let mut count = 0;
    let mut fragment = None;
    while matches!(next, 43 | 44 | 60) || (next == 0 && count == 0) {
        count += 1;
        if count > 8 || seen.l4 + 8 > 511 {
            return TOO_MANY;
        }
        if seen.l4 + 8 > seen.end {
            return What::Broken("drop-truncated");
        }
        let header = &frame[seen.l4..seen.l4 + 8];
        if next == 43 && header[3] != 0 {
            return What::Other(next);
        }
        if next == 44 {
            if fragment.is_some() {
                return TOO_MANY;
            }
            let field = word(header, 2).unwrap();
            let (offset, more) = (field >> 3, field & 1 != 0);
            fragment = Some((offset, more));
            if offset != 0 || more {
                let [a, b, c, d] = [header[4], header[5], header[6], header[7]];
                seen.identification = Some(u32::from_be_bytes([a, b, c, d]));
            }
            seen.l4 += 8;
            if offset != 0 {
                return if seen.l4 > 511 {
                    TOO_MANY
                } else {
                    What::Later(0)
                };
            }
        } else {
            seen.l4 += 8 + 8 * usize::from(header[1]);
        }
        next = header[0];
    }
    if seen.l4 > 511 {
        return TOO_MANY;
    }
    if seen.l4 > seen.end {
        return What::Broken("drop-truncated");
    }
    l4(frame, seen, next, fragment.is_some_and(|(_, more)| more))
}

fn l4(frame: &[u8], seen: &Seen, protocol: u8, goes_on: bool) -> What {
    let rest = &frame[seen.l4..seen.end];
    let (least, claimed) = match protocol {
        6 => (20, rest.get(12).map(|offset| usize::from(offset >> 4) * 4)),
        17 => (8, word(rest, 4).map(usize::from)),
        _ => return What::Other(protocol),
    };
    let Some(claimed) = claimed.filter(|_| rest.len() >= least) else {
        return What::Broken("drop-truncated");
    };
    let may_exceed = goes_on && protocol == 17;
    if claimed < least || (claimed > rest.len() && !may_exceed) {
        return What::Broken("drop-bad-length");
    }
    What::Ports(protocol, word(rest, 0).unwrap(), word(rest, 2).unwrap())
}

/// Whether no packet may come from an address.
pub(crate) fn is_martian(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || v4.octets()[0] >= 240
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.to_ipv4_mapped().is_some()
        }
    }
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The ones' complement sum of words: what is left when carries are added again. Both zeros are one.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for word in part.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([word[0], low]));
        }
    }
    u16::try_from(sum % 0xffff).unwrap()
}
