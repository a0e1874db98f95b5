//! IP tunnel: the packet goes to the server inside another one, byte for byte as it came.
//!
//! ```text
//! before            Ethernet | IP, C -> V | TCP or UDP ... | padding
//! after  Ethernet | IP, L -> S | IP, C -> V | TCP or UDP ...
//! ```

use lbfabric_abi::{Backend, Checksum, DropReason, NextHop, Settings, Verdict};

use super::{
    exit::Exit,
    frame::Frame,
    headers::{Ethernet, Ipv4, Ipv6, protocol},
    packet::{Family, Packet},
};

const TTL: u8 = 64;

/// What the outer header says of the inner packet.
struct Inner {
    protocol: u8,
    /// DSCP and ECN, which go into the outer header as they are (RFC 6040 section 4.1, normal mode).
    traffic_class: u8,
    length: u16,
    /// Of the flow: gives each its own flow label, for routers and network cards that spread by it (RFC 6438).
    hash: u32,
}

#[inline(never)]
pub(crate) fn forward(
    frame: &Frame,
    packet: &Packet,
    settings: &Settings,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    let (has4, has6) = (backend.ipv4 != [0; 4], backend.ipv6 != [0; 16]);
    let (protocol, over4) = match packet.family {
        Family::Ipv4 => (protocol::IPIP, has4),
        Family::Ipv6 => (protocol::IPV6, has4 && !has6),
    };
    let inner = Inner {
        protocol,
        traffic_class: packet.traffic_class,
        // A frame is shorter than any length that would not fit.
        length: u16::try_from(packet.length).map_err(|_too_long| DropReason::BadLength)?,
        hash: packet.flow.hash(settings.hash_key),
    };
    if over4 {
        over_ipv4(frame, &inner, settings, backend)
    } else if has6 {
        over_ipv6(frame, &inner, settings, backend)
    } else {
        Err(DropReason::NoBackendAddress)
    }
}

#[inline(always)]
fn over_ipv4(
    frame: &Frame,
    inner: &Inner,
    settings: &Settings,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    if settings.source4_count == 0 {
        return Err(DropReason::NoSourceAddress);
    }
    let length = inner
        .length
        .checked_add(Ipv4::LENGTH)
        .ok_or(DropReason::BadLength)?;
    let hop = &backend.hop4;
    make_room(frame, inner, hop, size_of::<Ipv4>())?;
    let ip: &mut Ipv4 = outer(frame, hop, Ethernet::IPV4)?;
    *ip = Ipv4 {
        version_ihl: 0x45,
        tos: inner.traffic_class,
        total_length: length.to_be_bytes(),
        id: [0; 2],
        flags_offset: Ipv4::DONT_FRAGMENT,
        ttl: TTL,
        protocol: inner.protocol,
        checksum: [0; 2],
        source: settings.source4[0],
        destination: backend.ipv4,
    };
    ip.checksum = ipv4_checksum(ip);
    Ok(Exit::send(
        Verdict::Tunnel,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

#[inline(always)]
fn over_ipv6(
    frame: &Frame,
    inner: &Inner,
    settings: &Settings,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    if settings.source6_count == 0 {
        return Err(DropReason::NoSourceAddress);
    }
    let hop = &backend.hop6;
    make_room(frame, inner, hop, size_of::<Ipv6>())?;
    let ip: &mut Ipv6 = outer(frame, hop, Ethernet::IPV6)?;
    let first_word = 6 << 28 | u32::from(inner.traffic_class) << 20 | inner.hash & 0x000f_ffff;
    *ip = Ipv6 {
        version_class_label: first_word.to_be_bytes(),
        payload_length: inner.length.to_be_bytes(),
        next_header: inner.protocol,
        hop_limit: TTL,
        source: settings.source6[0],
        destination: backend.ipv6,
    };
    Ok(Exit::send(
        Verdict::Tunnel,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

/// Cuts off what Ethernet has padded, which the outer length would not cover, and makes room for the outer header.
#[inline(always)]
fn make_room(
    frame: &Frame,
    inner: &Inner,
    hop: &NextHop,
    header_length: usize,
) -> Result<(), DropReason> {
    if !hop.is_resolved() {
        return Err(DropReason::NextHopUnresolved);
    }
    let used = size_of::<Ethernet>() + usize::from(inner.length);
    let length = frame.length();
    if length > used {
        frame.cut_tail(length - used).ok_or(DropReason::Internal)?;
    }
    frame.grow_head(header_length).ok_or(DropReason::NoHeadroom)
}

/// Writes the Ethernet header and gives the place of the outer IP header.
#[inline(always)]
fn outer<'a, T: super::frame::Header>(
    frame: &'a Frame,
    hop: &NextHop,
    ethertype: [u8; 2],
) -> Result<&'a mut T, DropReason> {
    let start = frame.start();
    let ethernet: &mut Ethernet = frame.header(start).ok_or(DropReason::Internal)?;
    *ethernet = Ethernet {
        destination: hop.mac,
        source: hop.source_mac,
        ethertype,
    };
    frame
        .header(start + size_of::<Ethernet>())
        .ok_or(DropReason::Internal)
}

/// Over a header without options, whose checksum field is zero.
#[inline(always)]
fn ipv4_checksum(ip: &Ipv4) -> [u8; 2] {
    Checksum::default()
        .add16(u16::from_ne_bytes([ip.version_ihl, ip.tos]))
        .add16(u16::from_ne_bytes(ip.total_length))
        .add16(u16::from_ne_bytes(ip.id))
        .add16(u16::from_ne_bytes(ip.flags_offset))
        .add16(u16::from_ne_bytes([ip.ttl, ip.protocol]))
        .add32(u32::from_ne_bytes(ip.source))
        .add32(u32::from_ne_bytes(ip.destination))
        .field()
        .to_ne_bytes()
}
