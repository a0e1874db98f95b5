//! On a server: takes packets for the VIPs out of their tunnel. The server's stack sees what the client has sent.

use lbfabric_abi::{Address, Checksum, DropReason, Verdict};

use super::{
    ecn,
    exit::Exit,
    frame::{Frame, opaque},
    headers::{Ethernet, Ipv4, Ipv6, protocol},
    maps,
};

/// Where the inner packet begins, and the outer header's word on it.
struct Outer {
    inner_start: usize,
    header_length: usize,
    protocol: u8,
    traffic_class: u8,
}

const PASS: Result<Exit, DropReason> = Ok(Exit::pass(Verdict::PassNotVip));

/// Unpacks a packet, or passes it if it is no tunnel's, or not for a VIP, or cut short: then the kernel decides.
#[inline(always)]
pub(crate) fn unpack(frame: &Frame) -> Result<Exit, DropReason> {
    let start = frame.start();
    let Some(ethernet) = frame.header::<Ethernet>(start) else {
        return Ok(Exit::pass(Verdict::PassNotIp));
    };
    let ip_start = start + size_of::<Ethernet>();
    let outer = match ethernet.ethertype {
        Ethernet::IPV4 => over_ipv4(frame, ip_start),
        Ethernet::IPV6 => over_ipv6(frame, ip_start),
        _ => return Ok(Exit::pass(Verdict::PassNotIp)),
    };
    let Some(outer) = outer else {
        return PASS;
    };
    let ethertype = match outer.protocol {
        protocol::IPIP => match frame.header::<Ipv4>(outer.inner_start) {
            Some(ip)
                if ip.version() == 4
                    && maps::is_server_vip(&Address::from_ipv4(ip.destination)) =>
            {
                inner4(ip, outer.traffic_class)?;
                Ethernet::IPV4
            }
            _ => return PASS,
        },
        protocol::IPV6 => match frame.header::<Ipv6>(outer.inner_start) {
            Some(ip) if ip.version() == 6 && maps::is_server_vip(&Address(ip.destination)) => {
                inner6(ip, outer.traffic_class)?;
                Ethernet::IPV6
            }
            _ => return PASS,
        },
        _ => return PASS,
    };
    strip(frame, outer.header_length, ethertype)
}

#[inline(always)]
fn over_ipv4(frame: &Frame, start: usize) -> Option<Outer> {
    let ip: &mut Ipv4 = frame.header(start)?;
    let header_length = ip.header_length();
    if ip.version() != 4 || header_length < size_of::<Ipv4>() || ip.is_fragment() {
        return None;
    }
    Some(Outer {
        inner_start: opaque(start + header_length),
        header_length,
        protocol: ip.protocol,
        traffic_class: ip.tos,
    })
}

#[inline(always)]
fn over_ipv6(frame: &Frame, start: usize) -> Option<Outer> {
    let ip: &mut Ipv6 = frame.header(start)?;
    (ip.version() == 6).then(|| Outer {
        inner_start: start + size_of::<Ipv6>(),
        header_length: size_of::<Ipv6>(),
        protocol: ip.next_header,
        traffic_class: ip.traffic_class(),
    })
}

/// Carries congestion that the outer header has met over to the inner one.
#[inline(always)]
fn inner4(ip: &mut Ipv4, outer_class: u8) -> Result<(), DropReason> {
    let old = u16::from_ne_bytes([ip.version_ihl, ip.tos]);
    let class = ecn::unpack(outer_class, ip.tos)?;
    if class != ip.tos {
        ip.tos = class;
        ip.checksum = Checksum::from_field(u16::from_ne_bytes(ip.checksum))
            .sub16(old)
            .add16(u16::from_ne_bytes([ip.version_ihl, class]))
            .field()
            .to_ne_bytes();
    }
    Ok(())
}

/// As [`inner4`]; no checksum covers the traffic class.
#[inline(always)]
fn inner6(ip: &mut Ipv6, outer_class: u8) -> Result<(), DropReason> {
    let class = ecn::unpack(outer_class, ip.traffic_class())?;
    let [first, second, ..] = &mut ip.version_class_label;
    *first = *first & 0xf0 | class >> 4;
    *second = class << 4 | *second & 0x0f;
    Ok(())
}

/// Takes the outer header away and puts the Ethernet header in front of the inner packet.
#[inline(always)]
fn strip(frame: &Frame, header_length: usize, ethertype: [u8; 2]) -> Result<Exit, DropReason> {
    let ethernet: &mut Ethernet = frame.header(frame.start()).ok_or(DropReason::Internal)?;
    let (destination, source) = (ethernet.destination, ethernet.source);
    frame.cut_head(header_length).ok_or(DropReason::Internal)?;
    let ethernet: &mut Ethernet = frame.header(frame.start()).ok_or(DropReason::Internal)?;
    *ethernet = Ethernet {
        destination,
        source,
        ethertype,
    };
    Ok(Exit::pass(Verdict::Decapsulated))
}
