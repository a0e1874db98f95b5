//! Reads a packet of any shape.

use lbfabric_abi::DropReason;

use super::{
    bytes::{load1, load2, load4, swap2},
    extensions,
    frame::Frame,
    headers::{ETHERNET, TCP, UDP, protocol, tcp_flags},
    ip::Ip,
    neighbor,
    packet::{Family, Packet, Piece},
    tags,
    v4::V4,
    v6::V6,
};

/// What a frame is that is no [`Packet`].
#[derive(Clone, Copy)]
pub(crate) enum Unservable {
    /// Neither IPv4, IPv6 nor ARP.
    NotIp,
    /// ARP, at the packet's `ip_at`.
    Arp,
    /// It ends before it says where it goes.
    NoDestination,
    /// ICMP, which begins at the packet's `l4_at`, or a packet that has to go on elsewhere first. Its
    /// destination is known.
    Protocol,
    /// Broken. Its destination is known.
    Broken(DropReason),
}

/// What an IP header says of what follows it.
struct Payload {
    protocol: u8,
    /// The header's length.
    header: u64,
    /// The whole packet's.
    length: u64,
    piece: Piece,
    identification: u32,
}

/// What [`shape`] answers besides the index of a [`DropReason`], which is never as low.
const READ: u32 = 0;
const NOT_IP: u32 = 1;
const NO_DESTINATION: u32 = 2;
const PROTOCOL: u32 = 3;
const ARP: u32 = 4;

/// The reasons that there are for [`Unservable::Broken`].
const REASONS: [DropReason; 2] = [DropReason::Truncated, DropReason::BadLength];

/// Reads a frame's headers, as far as they are there.
#[inline(always)]
pub(crate) fn read(frame: &Frame, packet: &mut Packet) -> Result<(), Unservable> {
    match shape(frame, packet) {
        READ => Ok(()),
        NOT_IP => Err(Unservable::NotIp),
        NO_DESTINATION => Err(Unservable::NoDestination),
        PROTOCOL => Err(Unservable::Protocol),
        ARP => Err(Unservable::Arp),
        code => {
            let known = REASONS.into_iter().find(|reason| reason.index() == code);
            Err(Unservable::Broken(
                known.unwrap_or(DropReason::ExtensionHeaders),
            ))
        }
    }
}

// A function of its own, which answers by a number: the verifier then goes on once for each answer, not for each way to it.
#[inline(never)]
fn shape(frame: &Frame, packet: &mut Packet) -> u32 {
    match headers(frame, packet) {
        Ok(()) => READ,
        Err(Unservable::NotIp) => NOT_IP,
        Err(Unservable::NoDestination) => NO_DESTINATION,
        Err(Unservable::Protocol) => PROTOCOL,
        Err(Unservable::Arp) => ARP,
        Err(Unservable::Broken(reason)) => reason.index(),
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most eight")]
fn headers(frame: &Frame, packet: &mut Packet) -> Result<(), Unservable> {
    let (ethertype, tag_bytes) = tags::skip(frame).ok_or(Unservable::NotIp)?;
    packet.tag_bytes = tag_bytes as u8;
    packet.ip_at = (ETHERNET + tag_bytes) as u16;
    match ethertype {
        V4::ETHERTYPE => read_ip::<V4>(frame, packet, ipv4)?,
        V6::ETHERTYPE => {
            read_ip::<V6>(frame, packet, ipv6)?;
            if extensions::begin_with(packet.flow.protocol) {
                extensions::read(frame, packet)?;
            }
        }
        neighbor::ARP_ETHERTYPE => return Err(Unservable::Arp),
        _ => return Err(Unservable::NotIp),
    }
    if packet.piece == Piece::Later {
        return Ok(());
    }
    read_l4(frame, packet)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "distances in a frame")]
fn read_ip<I: Ip>(
    frame: &Frame,
    packet: &mut Packet,
    read: impl Fn(usize) -> Option<Payload>,
) -> Result<(), Unservable> {
    let ip = frame.at(packet.ip_at);
    if !frame.reaches(ip + I::HEADER) {
        return Err(Unservable::NoDestination);
    }
    let payload = read(ip).ok_or(Unservable::NotIp)?;
    // SAFETY: the header is in the frame.
    let (source, destination, ttl) = unsafe { (I::source(ip), I::destination(ip), I::ttl(ip)) };
    packet.flow.source = I::to_abi(source);
    packet.flow.destination = I::to_abi(destination);
    (packet.flow.source_port_be, packet.flow.destination_port_be) = ([0; 2], [0; 2]);
    packet.flow.protocol = payload.protocol;
    packet.flow.zero = [0; 3];
    packet.family = I::FAMILY;
    packet.ttl = ttl;
    packet.length = payload.length as u32;
    packet.identification = payload.identification;
    packet.piece = payload.piece;
    packet.l4_at = packet.ip_at + payload.header as u16;
    (packet.is_syn, packet.is_syn_ack, packet.has_ports) = (false, false, false);
    if matches!(I::FAMILY, Family::Ipv6) && packet.flow.destination.ipv4_word().is_some() {
        // The maps would take it for the IPv4 address.
        return Err(Unservable::NoDestination);
    }
    if payload.header < I::HEADER as u64
        || payload.length < payload.header
        || payload.length + u64::from(packet.ip_at) > frame.length()
    {
        return Err(Unservable::Broken(DropReason::BadLength));
    }
    Ok(())
}

/// IPv4's fragment offset, and whether more fragments are to come, as in the frame.
const OFFSET: u64 = 0xff1f;
const MORE: u64 = 0x0020;

/// None if it is another version. The header is in the frame.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn ipv4(ip: usize) -> Option<Payload> {
    // SAFETY: the caller's.
    let (first, identification, fragment, protocol, length) = unsafe {
        (
            load1::<0>(ip),
            load2::<4>(ip),
            load2::<6>(ip),
            load1::<9>(ip),
            V4::length(ip),
        )
    };
    (first >> 4 == 4).then_some(Payload {
        protocol: protocol as u8,
        header: (first & 0x0f) << 2,
        length,
        piece: if fragment & OFFSET != 0 {
            Piece::Later
        } else if fragment & MORE != 0 {
            Piece::First
        } else {
            Piece::Whole
        },
        identification: identification as u32,
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
        piece: Piece::Whole,
        identification: 0,
    })
}

/// Reads the ports of the header behind the IP header, whose lengths hold; other protocols than TCP and UDP have none.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn read_l4(frame: &Frame, packet: &mut Packet) -> Result<(), Unservable> {
    let l4 = frame.at(packet.l4_at);
    let is_tcp = packet.flow.protocol == protocol::TCP;
    if !is_tcp && packet.flow.protocol != protocol::UDP {
        return match packet.flow.protocol {
            protocol::ICMP | protocol::ICMPV6 => Err(Unservable::Protocol),
            _ => Ok(()),
        };
    }
    let fixed = if is_tcp { TCP } else { UDP };
    let end = u64::from(packet.ip_at) + u64::from(packet.length);
    let rest = end.wrapping_sub(packet.l4_at.into());
    if rest < fixed as u64 || !frame.reaches(l4 + UDP) {
        return Err(Unservable::Broken(DropReason::Truncated));
    }
    // SAFETY: as many bytes are in the frame.
    let ports = unsafe { load4::<0>(l4) } as u32;
    let [a, b, c, d] = ports.to_ne_bytes();
    packet.flow.source_port_be = [a, b];
    packet.flow.destination_port_be = [c, d];
    let (length, least) = if is_tcp {
        if !frame.reaches(l4 + TCP) {
            return Err(Unservable::Broken(DropReason::Truncated));
        }
        // SAFETY: the header is in the frame.
        let (offset, flags) = unsafe { (load1::<12>(l4), load1::<13>(l4) as u8) };
        let both = tcp_flags::SYN | tcp_flags::ACK;
        packet.is_syn = flags & both == tcp_flags::SYN;
        packet.is_syn_ack = flags & both == both;
        (offset >> 4 << 2, TCP as u64)
    } else {
        // SAFETY: the header is in the frame.
        (swap2(unsafe { load2::<4>(l4) }), UDP as u64)
    };
    // A datagram goes on in the fragments that follow.
    let goes_on = packet.piece == Piece::First && !is_tcp;
    if length < least || (length > rest && !goes_on) {
        return Err(Unservable::Broken(DropReason::BadLength));
    }
    packet.has_ports = true;
    Ok(())
}
