//! Tells a full-NAT server who its client is: the client's SYN gets a TCP option with the client's address and port, the one of
//! LVS' full NAT ("TOA").
//!
//! ```text
//! IPv4   254 |  8 | port | address, 4 bytes
//! IPv6   254 | 20 | port | address, 16 bytes
//! ```
//!
//! It stands right behind the fixed TCP header, before the client's own options, and only there a server takes it. Other packets
//! than SYNs are left alone, so that no segment outgrows the way to the server. A SYN that has no room for the option goes without;
//! if the client has put one of this kind in its place, that becomes an option of no meaning.

use lbfabric_abi::{
    CLIENT_ADDRESS_KIND, Checksum, DropReason, NextProgram, OptionEvent, VipService,
};

use super::{
    bytes::{load1, load2, load4, load8, store1, store2, store4, store8, swap2},
    exit::Step,
    frame::Frame,
    headers::{ETHERNET, TCP, protocol},
    ip::Ip,
    maps,
    packet::{Family, Packet, Piece, Scratch},
    v4::V4,
    v6::V6,
};

/// The longest TCP header, in bytes.
const TCP_MAX: u64 = 60;
/// For experiments (RFC 4727): no stack takes it for anything.
const NO_MEANING: u8 = 253;

/// Puts the option into a SYN, and goes on.
#[inline(always)]
pub(crate) fn tell(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    let told = match scratch.packet.family {
        Family::Ipv4 => insert::<V4>(frame, scratch),
        Family::Ipv6 => insert::<V6>(frame, scratch),
    };
    match told {
        Ok(true) => {}
        Ok(false) => {
            disown(frame, &scratch.packet);
            maps::count(OptionEvent::ClientAddressOmitted.index());
        }
        Err(reason) => return Step::Drop(reason),
    }
    Step::Next(if scratch.service.flags & VipService::CLAMP_MSS != 0 {
        NextProgram::Clamp
    } else {
        NextProgram::FullnatForward
    })
}

/// Whether there was room for it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a handful of bytes")]
fn insert<I: Ip>(frame: &Frame, scratch: &mut Scratch) -> Result<bool, DropReason> {
    let option = I::CLIENT_ADDRESS_OPTION;
    if !has_room::<I>(frame, scratch) || frame.grow_head(option).is_none() {
        return Ok(false);
    }
    let start = frame.start();
    let ip = start + ETHERNET;
    let tcp = ip + I::HEADER;
    if !frame.reaches(tcp + TCP + option) {
        return Err(DropReason::Internal);
    }
    // SAFETY: the headers, where they were and where they are to be, are in the frame.
    unsafe {
        move_headers::<I>(start, start + option);
        let added = write::<I>(ip, tcp);
        let length = I::length(ip) + option as u64;
        I::set_length(ip, length);
        // One's complement takes the bytes in either order: the lengths differ by this.
        let longer = Checksum::default().add16(swap2(option as u64) as u16);
        I::update(ip, 0, longer);
        let old = load2::<12>(tcp);
        let new = old + (option as u64 / 4 << 4);
        store2::<12>(tcp, new);
        let sum = Checksum::from_field(load2::<16>(tcp) as u16)
            .plus(added)
            .plus(longer)
            .sub16(old as u16)
            .add16(new as u16);
        store2::<16>(tcp, sum.field().into());
    }
    scratch.packet.length += option as u32;
    Ok(true)
}

/// Whether a packet is one of plain headers that may grow by the option.
#[inline(always)]
fn has_room<I: Ip>(frame: &Frame, scratch: &Scratch) -> bool {
    let packet = &scratch.packet;
    let option = I::CLIENT_ADDRESS_OPTION as u64;
    let ip = frame.start() + ETHERNET;
    let tcp = ip + I::HEADER;
    if packet.piece != Piece::Whole
        || usize::from(packet.ip_at) != ETHERNET
        || usize::from(packet.l4_at) != ETHERNET + I::HEADER
        || !frame.reaches(tcp + TCP)
    {
        return false;
    }
    // SAFETY: both headers are in the frame.
    let (is_plain, header) = unsafe {
        (
            I::plain_protocol(ip) == Some(protocol::TCP),
            load1::<12>(tcp) >> 4 << 2,
        )
    };
    // Zero: not known.
    let mtu = maps::backend(scratch.server).map_or(0, |backend| I::mtu(backend));
    let most = u64::from(if mtu == 0 { u16::MAX } else { mtu });
    is_plain && header + option <= TCP_MAX && u64::from(packet.length) + option <= most
}

/// Moves the Ethernet, IP and TCP headers, without options, to the frame's new beginning.
///
/// # Safety
/// All of them are in the frame, at both addresses; `from` is at least eight bytes behind `to`.
#[inline(always)]
unsafe fn move_headers<I: Ip>(to: usize, from: usize) {
    // SAFETY: the caller's.
    unsafe {
        store8::<0>(to, load8::<0>(from));
        store8::<8>(to, load8::<8>(from));
        store8::<16>(to, load8::<16>(from));
        store8::<24>(to, load8::<24>(from));
        store8::<32>(to, load8::<32>(from));
        store8::<40>(to, load8::<40>(from));
        match I::FAMILY {
            Family::Ipv4 => {
                store4::<48>(to, load4::<48>(from));
                store2::<52>(to, load2::<52>(from));
            }
            Family::Ipv6 => {
                store8::<48>(to, load8::<48>(from));
                store8::<56>(to, load8::<56>(from));
                store8::<64>(to, load8::<64>(from));
                store2::<72>(to, load2::<72>(from));
            }
        }
    }
}

/// Writes the option behind the TCP header; what it adds to the checksum.
///
/// # Safety
/// The headers are in the frame, and room for the option.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
unsafe fn write<I: Ip>(ip: usize, tcp: usize) -> Checksum {
    // SAFETY: the caller's.
    unsafe {
        let [port_high, port_low] = (load2::<0>(tcp) as u16).to_ne_bytes();
        let length = I::CLIENT_ADDRESS_OPTION as u8;
        let first = u32::from_ne_bytes([CLIENT_ADDRESS_KIND, length, port_high, port_low]);
        store4::<20>(tcp, first.into());
        let client = I::source(ip);
        I::store(tcp + TCP + 4, client);
        I::sum(client).add32(first)
    }
}

/// Makes an option that the client has put where the server looks for it one of no meaning.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn disown(frame: &Frame, packet: &Packet) {
    let tcp = frame.at(packet.l4_at);
    if !frame.reaches(tcp + TCP + 1) {
        return;
    }
    // SAFETY: the header and the byte behind it are in the frame.
    unsafe {
        let header = load1::<12>(tcp) >> 4 << 2;
        if header <= TCP as u64 || load1::<20>(tcp) as u8 != CLIENT_ADDRESS_KIND {
            return;
        }
        store1::<20>(tcp, NO_MEANING.into());
        let sum = Checksum::from_field(load2::<16>(tcp) as u16)
            .sub16(u16::from_ne_bytes([CLIENT_ADDRESS_KIND, 0]))
            .add16(u16::from_ne_bytes([NO_MEANING, 0]));
        store2::<16>(tcp, sum.field().into());
    }
}
