//! Changes to a packet in its frame, with the checksums that cover them.

use lbfabric_abi::{Address, Checksum, DropReason, Flow, NextHop};

use super::{
    frame::{Frame, opaque},
    headers::{Ethernet, Ipv4, Ipv6, Tcp, Udp, protocol},
    packet::{Family, Packet},
    words::{Aligned, store4, store16},
};

/// Gives the packet the addresses and ports of another flow.
#[inline(never)]
pub(crate) fn flow(
    frame: &Frame,
    packet: &mut Packet,
    new: &Aligned<Flow>,
) -> Result<(), DropReason> {
    let start = frame.start() + size_of::<Ethernet>();
    let readdressed = match packet.family {
        Family::Ipv4 => {
            let ip: &mut Ipv4 = frame.header(start).ok_or(DropReason::Internal)?;
            let difference = difference4(&packet.flow, new);
            ip.checksum = changed(ip.checksum, difference).field().to_ne_bytes();
            store4(&mut ip.source, ipv4(&new.source));
            store4(&mut ip.destination, ipv4(&new.destination));
            difference
        }
        Family::Ipv6 => {
            let ip: &mut Ipv6 = frame.header(start).ok_or(DropReason::Internal)?;
            store16(&mut ip.source, &new.source);
            store16(&mut ip.destination, &new.destination);
            difference6(&packet.flow, new)
        }
    };
    let rebound = readdressed.sub32(ports(&packet.flow)).add32(ports(new));
    let l4_start = opaque(start + (packet.ip_header_length & 0x3f) as usize);
    if packet.flow.protocol == protocol::TCP {
        let tcp: &mut Tcp = frame.header(l4_start).ok_or(DropReason::Internal)?;
        tcp.checksum = changed(tcp.checksum, rebound).field().to_ne_bytes();
        tcp.source_port = new.source_port_be;
        tcp.destination_port = new.destination_port_be;
    } else {
        let udp: &mut Udp = frame.header(l4_start).ok_or(DropReason::Internal)?;
        // Zero: the sender made none, as RFC 768 allows over IPv4 and RFC 6936 in few cases over IPv6.
        if udp.checksum != [0; 2] {
            udp.checksum = changed(udp.checksum, rebound).udp_field().to_ne_bytes();
        }
        udp.source_port = new.source_port_be;
        udp.destination_port = new.destination_port_be;
    }
    packet.flow = *new;
    Ok(())
}

/// Sends the packet one hop on: writes the link-layer addresses and counts down the time to live, which has passed
/// [`Packet::check_ttl`].
#[inline(always)]
pub(crate) fn hop(frame: &Frame, packet: &Packet, hop: &NextHop) -> Result<(), DropReason> {
    let start = frame.start() + size_of::<Ethernet>();
    match packet.family {
        Family::Ipv4 => {
            let ip: &mut Ipv4 = frame.header(start).ok_or(DropReason::Internal)?;
            let old = u16::from_ne_bytes([ip.ttl, ip.protocol]);
            ip.ttl = ip.ttl.wrapping_sub(1);
            let new = u16::from_ne_bytes([ip.ttl, ip.protocol]);
            ip.checksum = Checksum::from_field(u16::from_ne_bytes(ip.checksum))
                .sub16(old)
                .add16(new)
                .field()
                .to_ne_bytes();
        }
        Family::Ipv6 => {
            let ip: &mut Ipv6 = frame.header(start).ok_or(DropReason::Internal)?;
            ip.hop_limit = ip.hop_limit.wrapping_sub(1);
        }
    }
    link(frame, hop)
}

/// Writes the link-layer addresses alone.
#[inline(always)]
pub(crate) fn link(frame: &Frame, hop: &NextHop) -> Result<(), DropReason> {
    let ethernet: &mut Ethernet = frame.header(frame.start()).ok_or(DropReason::Internal)?;
    ethernet.source = hop.source_mac;
    ethernet.destination = hop.mac;
    Ok(())
}

/// A checksum field's sum with a difference added.
#[inline(always)]
const fn changed(field: [u8; 2], difference: Checksum) -> Checksum {
    Checksum::from_field(u16::from_ne_bytes(field)).plus(difference)
}

/// What a checksum over IPv4 addresses changes by.
#[inline(always)]
fn difference4(old: &Flow, new: &Flow) -> Checksum {
    let word = |address| u32::from_ne_bytes(ipv4(address));
    Checksum::default()
        .sub32(word(&old.source))
        .sub32(word(&old.destination))
        .add32(word(&new.source))
        .add32(word(&new.destination))
}

/// What a checksum over IPv6 addresses changes by.
#[inline(always)]
fn difference6(old: &Flow, new: &Flow) -> Checksum {
    let mut sum = Checksum::default();
    for address in [&old.source, &old.destination] {
        for word in address.words() {
            sum = sum.sub32(word);
        }
    }
    for address in [&new.source, &new.destination] {
        for word in address.words() {
            sum = sum.add32(word);
        }
    }
    sum
}

/// Both ports, as they stand in a header.
#[inline(always)]
const fn ports(flow: &Flow) -> u32 {
    let ([a, b], [c, d]) = (flow.source_port_be, flow.destination_port_be);
    u32::from_ne_bytes([a, b, c, d])
}

#[inline(always)]
const fn ipv4(address: &Address) -> [u8; 4] {
    let Address([.., a, b, c, d]) = *address;
    [a, b, c, d]
}
