//! On a server: takes packets for the VIPs out of their tunnel, IP in IP or GUE. The server's stack sees what the client has
//! sent.
//!
//! GUE's UDP checksum is not looked at, and may be zero also over IPv6: RFC 6935 allows that for tunnels, and what it asks of
//! them holds here (RFC 6936 section 5). Nothing of the outer headers is used but the port and the congestion marks, the
//! packet inside must be for a VIP, and the stack checks that packet's own checksum.
//!
//! What comes without a tunnel may be a connection of full NAT that tells its client's address.

use lbfabric_abi::{Checksum, DropReason, Verdict};

use super::{
    bytes::{load1, load2, load4, load8, store1, store2, store4, store8, swap2},
    ecn,
    exit::Exit,
    extensions,
    frame::{Frame, opaque},
    gue,
    headers::{ETHERNET, UDP, protocol},
    ip::Ip,
    maps, told_client,
    v4::V4,
    v6::V6,
};

/// Where the inner packet begins, and the outer headers' word on it.
struct Outer {
    inner: usize,
    /// The outer headers' length.
    header: usize,
    protocol: u8,
    traffic_class: u8,
}

const PASS: Result<Exit, DropReason> = Ok(Exit::pass(Verdict::PassNotVip));

/// Unpacks a packet, or passes it if it is no tunnel's, or not for a VIP, or cut short: then the kernel decides.
#[inline(always)]
pub(crate) fn unpack(frame: &Frame) -> Result<Exit, DropReason> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Ok(Exit::pass(Verdict::PassNotIp));
    }
    let ip = start + ETHERNET;
    // SAFETY: the header is in the frame.
    let outside = unsafe { load2::<12>(start) };
    let outer = match outside {
        V4::ETHERTYPE => outer4(frame, ip),
        V6::ETHERTYPE => outer6(frame, ip),
        _ => return Ok(Exit::pass(Verdict::PassNotIp)),
    };
    let outer = match outer {
        Some(outer) if outer.protocol == protocol::UDP => behind_gue(frame, &outer),
        Some(outer) if outer.protocol == protocol::TCP => {
            if outside == V4::ETHERTYPE {
                told_client::note::<V4>(frame, ip, outer.inner);
            } else {
                told_client::note::<V6>(frame, ip, outer.inner);
            }
            return PASS;
        }
        Some(outer) if !extensions::begin_with(outer.protocol) => Some(outer),
        // No tunnel comes so.
        Some(_) | None => {
            told_client::note_odd(frame);
            return PASS;
        }
    };
    let Some(outer) = outer else {
        return PASS;
    };
    let ethertype = match outer.protocol {
        protocol::IPIP if is_for_vip::<V4>(frame, outer.inner) => {
            inner4(outer.inner, outer.traffic_class)?;
            V4::ETHERTYPE
        }
        protocol::IPV6 if is_for_vip::<V6>(frame, outer.inner) => {
            inner6(outer.inner, outer.traffic_class)?;
            V6::ETHERTYPE
        }
        _ => return PASS,
    };
    strip(frame, outer.header, ethertype)
}

#[inline(always)]
fn outer4(frame: &Frame, ip: usize) -> Option<Outer> {
    if !frame.reaches(ip + V4::HEADER) {
        return None;
    }
    // SAFETY: the header is in the frame.
    let (first, fragment, protocol, traffic_class) = unsafe {
        (
            load1::<0>(ip),
            load2::<6>(ip),
            load1::<9>(ip),
            V4::traffic_class(ip),
        )
    };
    let header = ((first & 0x0f) << 2) as usize;
    if first >> 4 != 4 || header < V4::HEADER || fragment & 0xff3f != 0 {
        return None;
    }
    Some(Outer {
        inner: opaque(ip + header),
        header,
        #[expect(clippy::cast_possible_truncation, reason = "a byte was read")]
        protocol: protocol as u8,
        traffic_class,
    })
}

#[inline(always)]
fn outer6(frame: &Frame, ip: usize) -> Option<Outer> {
    if !frame.reaches(ip + V6::HEADER) {
        return None;
    }
    // SAFETY: the header is in the frame.
    let (first, protocol, traffic_class) =
        unsafe { (load1::<0>(ip), load1::<6>(ip), V6::traffic_class(ip)) };
    (first >> 4 == 6).then(|| Outer {
        inner: ip + V6::HEADER,
        header: V6::HEADER,
        #[expect(clippy::cast_possible_truncation, reason = "a byte was read")]
        protocol: protocol as u8,
        traffic_class,
    })
}

/// What GUE's headers say, if they are such: of variant 0, of a data message, without optional fields. Others are left to a
/// device of the kernel's.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn behind_gue(frame: &Frame, outer: &Outer) -> Option<Outer> {
    let udp = outer.inner;
    if !frame.reaches(udp + gue::HEADERS) {
        return None;
    }
    // SAFETY: both headers are in the frame.
    let (port, header) = unsafe { (load2::<2>(udp), load4::<UDP>(udp) as u32) };
    let [first, protocol, flags @ ..] = header.to_ne_bytes();
    if first != 0 || flags != [0; 2] || !maps::is_gue_port(swap2(port) as u16) {
        return None;
    }
    Some(Outer {
        inner: opaque(udp + gue::HEADERS),
        header: outer.header + gue::HEADERS,
        protocol,
        traffic_class: outer.traffic_class,
    })
}

#[inline(always)]
fn is_for_vip<I: Ip>(frame: &Frame, inner: usize) -> bool {
    if !frame.reaches(inner + I::HEADER) {
        return false;
    }
    // SAFETY: the header is in the frame.
    unsafe {
        load1::<0>(inner) >> 4 == I::FAMILY as u64
            && maps::is_server_vip(&I::to_abi(I::destination(inner)))
    }
}

/// Carries congestion that the outer header has met over to the inner one, which is in the frame.
#[inline(always)]
fn inner4(ip: usize, outer_class: u8) -> Result<(), DropReason> {
    // SAFETY: the caller's.
    unsafe {
        let old = V4::traffic_class(ip);
        let class = ecn::unpack(outer_class, old)?;
        if class != old {
            store1::<1>(ip, class.into());
            let word = |class| u16::from_ne_bytes([0, class]);
            V4::update(
                ip,
                0,
                Checksum::default().sub16(word(old)).add16(word(class)),
            );
        }
    }
    Ok(())
}

/// As [`inner4`]; no checksum covers the traffic class.
#[inline(always)]
fn inner6(ip: usize, outer_class: u8) -> Result<(), DropReason> {
    // SAFETY: the caller's.
    unsafe {
        let class = ecn::unpack(outer_class, V6::traffic_class(ip))?;
        let (first, second) = (load1::<0>(ip), load1::<1>(ip));
        store1::<0>(ip, first & 0xf0 | u64::from(class >> 4));
        store1::<1>(ip, u64::from(class << 4) | second & 0x0f);
    }
    Ok(())
}

/// Takes the outer headers away and puts the Ethernet header in front of the inner packet.
#[inline(always)]
fn strip(frame: &Frame, header: usize, ethertype: u64) -> Result<Exit, DropReason> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    // SAFETY: the header is in the frame.
    let addresses = unsafe { (load8::<0>(start), load4::<8>(start)) };
    frame.cut_head(header).ok_or(DropReason::Internal)?;
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    // SAFETY: the header is in the frame.
    unsafe {
        store8::<0>(start, addresses.0);
        store4::<8>(start, addresses.1);
        store2::<12>(start, ethertype);
    }
    Ok(Exit::pass(Verdict::Decapsulated))
}
