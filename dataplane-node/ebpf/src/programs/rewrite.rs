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
    match packet.family {
        Family::Ipv4 => {
            let ip: &mut Ipv4 = frame.header(start).ok_or(DropReason::Internal)?;
            ip.checksum = readdressed(ip.checksum, &packet.flow, new)
                .field()
                .to_ne_bytes();
            store4(&mut ip.source, ipv4(&new.source));
            store4(&mut ip.destination, ipv4(&new.destination));
        }
        Family::Ipv6 => {
            let ip: &mut Ipv6 = frame.header(start).ok_or(DropReason::Internal)?;
            store16(&mut ip.source, &new.source);
            store16(&mut ip.destination, &new.destination);
        }
    }
    let l4_start = opaque(start + (packet.ip_header_length & 0x3f) as usize);
    if packet.flow.protocol == protocol::TCP {
        let tcp: &mut Tcp = frame.header(l4_start).ok_or(DropReason::Internal)?;
        tcp.checksum = rebound(tcp.checksum, &packet.flow, new)
            .field()
            .to_ne_bytes();
        tcp.source_port = new.source_port_be;
        tcp.destination_port = new.destination_port_be;
    } else {
        let udp: &mut Udp = frame.header(l4_start).ok_or(DropReason::Internal)?;
        // Zero: the sender made none, as RFC 768 allows over IPv4 and RFC 6936 in few cases over IPv6.
        if udp.checksum != [0; 2] {
            udp.checksum = rebound(udp.checksum, &packet.flow, new)
                .udp_field()
                .to_ne_bytes();
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

/// A checksum over the old flow's addresses and ports, as one over the new flow's.
#[inline(always)]
fn rebound(field: [u8; 2], old: &Flow, new: &Flow) -> Checksum {
    readdressed(field, old, new)
        .sub16(u16::from_ne_bytes(old.source_port_be))
        .sub16(u16::from_ne_bytes(old.destination_port_be))
        .add16(u16::from_ne_bytes(new.source_port_be))
        .add16(u16::from_ne_bytes(new.destination_port_be))
}

/// A checksum over the old flow's addresses, as one over the new flow's. The prefix that IPv4 addresses are mapped with
/// cancels out.
#[inline(always)]
fn readdressed(field: [u8; 2], old: &Flow, new: &Flow) -> Checksum {
    let mut sum = Checksum::from_field(u16::from_ne_bytes(field));
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

#[inline(always)]
const fn ipv4(address: &Address) -> [u8; 4] {
    let Address([.., a, b, c, d]) = *address;
    [a, b, c, d]
}
