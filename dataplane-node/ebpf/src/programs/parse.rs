//! Reads a packet of any shape.

use lbfabric_abi::DropReason;

use super::{
    bytes::{load1, load2, load4, swap2},
    frame::Frame,
    headers::{ETHERNET, TCP, UDP, protocol, tcp_flags},
    ip::Ip,
    packet::Packet,
    v4::V4,
    v6::V6,
};

/// What a frame is that is no [`Packet`].
#[derive(Clone, Copy)]
pub(crate) enum Unservable {
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// It ends before it says where it goes.
    NoDestination,
    /// ICMP. Its destination is known.
    Protocol,
    /// Broken, or a fragment. Its destination is known.
    Broken(DropReason),
}

/// What an IP header says of what follows it.
struct Payload {
    protocol: u8,
    /// The header's length.
    header: u64,
    /// The whole packet's.
    length: u64,
    is_fragment: bool,
}

/// Reads a frame's headers, as far as they are there.
#[inline(always)]
pub(crate) fn read(frame: &Frame, packet: &mut Packet) -> Result<(), Unservable> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(Unservable::NotIp);
    }
    // SAFETY: the header is in the frame.
    match unsafe { load2::<12>(start) } {
        V4::ETHERTYPE => {
            let payload = read_ip::<V4>(frame, packet, ETHERNET, ipv4)?;
            read_l4(frame, packet, &payload)
        }
        V6::ETHERTYPE => {
            let payload = read_ip::<V6>(frame, packet, ETHERNET, ipv6)?;
            read_l4(frame, packet, &payload)
        }
        _ => Err(Unservable::NotIp),
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "distances in a frame")]
fn read_ip<I: Ip>(
    frame: &Frame,
    packet: &mut Packet,
    ip_at: usize,
    read: impl Fn(usize) -> Option<Payload>,
) -> Result<Payload, Unservable> {
    let ip = frame.start() + ip_at;
    if !frame.reaches(ip + I::HEADER) {
        return Err(Unservable::NoDestination);
    }
    let payload = read(ip).ok_or(Unservable::NotIp)?;
    // SAFETY: the header is in the frame.
    unsafe {
        packet.flow.source = I::to_abi(I::source(ip));
        packet.flow.destination = I::to_abi(I::destination(ip));
        packet.ttl = I::ttl(ip);
    }
    packet.flow.protocol = payload.protocol;
    packet.flow.zero = [0; 3];
    packet.family = I::FAMILY;
    packet.length = payload.length as u32;
    packet.ip_at = ip_at as u16;
    packet.l4_at = (ip_at as u64 + payload.header) as u16;
    if payload.header < I::HEADER as u64
        || payload.length < payload.header
        || payload.length > frame.rest(ip)
    {
        return Err(Unservable::Broken(DropReason::BadLength));
    }
    if payload.is_fragment {
        return Err(Unservable::Broken(DropReason::Fragment));
    }
    Ok(payload)
}

/// None if it is another version. The header is in the frame.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn ipv4(ip: usize) -> Option<Payload> {
    // SAFETY: the caller's.
    let (first, fragment, protocol, length) = unsafe {
        (
            load1::<0>(ip),
            load2::<6>(ip),
            load1::<9>(ip),
            V4::length(ip),
        )
    };
    (first >> 4 == 4).then_some(Payload {
        protocol: protocol as u8,
        header: (first & 0x0f) << 2,
        length,
        // More are to come, or it is not the first.
        is_fragment: fragment & 0xff3f != 0,
    })
}

/// As [`ipv4`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn ipv6(ip: usize) -> Option<Payload> {
    // SAFETY: the caller's.
    let (first, protocol, length) =
        unsafe { (load1::<0>(ip), load1::<6>(ip) as u8, V6::length(ip)) };
    (first >> 4 == 6).then_some(Payload {
        protocol,
        header: V6::HEADER as u64,
        length,
        is_fragment: protocol == protocol::FRAGMENT,
    })
}

/// Reads the ports of the header behind the IP header, whose lengths hold; other protocols than TCP and UDP have none.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn read_l4(frame: &Frame, packet: &mut Packet, payload: &Payload) -> Result<(), Unservable> {
    let l4 = frame.at(packet.l4_at);
    let rest = payload.length - payload.header;
    packet.is_syn = false;
    let fixed = match payload.protocol {
        protocol::TCP => TCP,
        protocol::UDP => UDP,
        protocol::ICMP | protocol::ICMPV6 => return Err(Unservable::Protocol),
        _ => {
            (packet.flow.source_port_be, packet.flow.destination_port_be) = ([0; 2], [0; 2]);
            return Ok(());
        }
    };
    if rest < fixed as u64 || !frame.reaches(l4 + UDP) {
        return Err(Unservable::Broken(DropReason::Truncated));
    }
    // SAFETY: as many bytes are in the frame.
    let ports = unsafe { load4::<0>(l4) } as u32;
    let [a, b, c, d] = ports.to_ne_bytes();
    packet.flow.source_port_be = [a, b];
    packet.flow.destination_port_be = [c, d];
    let (length, least) = if payload.protocol == protocol::TCP {
        if !frame.reaches(l4 + TCP) {
            return Err(Unservable::Broken(DropReason::Truncated));
        }
        // SAFETY: the header is in the frame.
        let (offset, flags) = unsafe { (load1::<12>(l4), load1::<13>(l4) as u8) };
        packet.is_syn = flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
        (offset >> 4 << 2, TCP as u64)
    } else {
        // SAFETY: the header is in the frame.
        (swap2(unsafe { load2::<4>(l4) }), UDP as u64)
    };
    if length < least || length > rest {
        return Err(Unservable::Broken(DropReason::BadLength));
    }
    Ok(())
}
