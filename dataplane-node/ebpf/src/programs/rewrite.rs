//! Changes to a packet in its frame, with the checksums that cover them.

use lbfabric_abi::{Checksum, DropReason, NextHop};

use super::{
    bytes::{load2, load4, load8, store2, store4, store8},
    frame::{Frame, opaque},
    headers::{ETHERNET, Headers, protocol},
    ip::Ip,
};

/// What a packet's addresses and ports (as in a frame) become.
pub(crate) struct Rewritten<I: Ip> {
    pub(crate) source: I::Address,
    pub(crate) destination: I::Address,
    pub(crate) ports: u32,
}

/// Gives the packet other addresses and ports, and counts down its time to live by `hops`, 0 or 1. One hop has to be left:
/// [`Headers::check_ttl`]. Where there are no ports, the checksum that covers the addresses is in another fragment.
#[inline(always)]
pub(crate) fn flow<I: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    new: &Rewritten<I>,
    hops: u8,
) -> Result<(), DropReason> {
    let Rewritten {
        source,
        destination,
        ports,
    } = *new;
    let mut change = Checksum::default();
    // Mostly one of the two changes, which the compiler knows.
    if source != headers.source {
        change = change.plus(difference::<I>(headers.source, source));
    }
    if destination != headers.destination {
        change = change.plus(difference::<I>(headers.destination, destination));
    }
    // SAFETY: `Headers` are whole in the frame.
    unsafe {
        I::set_source(headers.ip, source);
        I::set_destination(headers.ip, destination);
        I::update(headers.ip, hops, change);
    }
    if headers.has_ports {
        let is_tcp = headers.protocol == protocol::TCP;
        let checksum = opaque(headers.l4 + if is_tcp { 16 } else { 6 });
        // It does. Asked here because Linux 6.1 does not remember between two looks at `has_ports` what it knew in the first.
        if !frame.reaches(checksum + 2) {
            return Err(DropReason::Internal);
        }
        let change = change.sub32(headers.ports).add32(ports);
        // SAFETY: `Headers` are whole in the frame, which reaches behind the checksum.
        unsafe {
            store4::<0>(headers.l4, ports.into());
            l4_checksum(checksum, is_tcp, change);
        }
    }
    Ok(())
}

/// What a checksum over an address changes by.
#[inline(always)]
pub(crate) fn difference<I: Ip>(old: I::Address, new: I::Address) -> Checksum {
    I::sum(new).minus(I::sum(old))
}

/// # Safety
/// The checksum is in the frame, and can be written.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
pub(crate) unsafe fn l4_checksum(at: usize, is_tcp: bool, change: Checksum) {
    // SAFETY: the caller's.
    let old = unsafe { load2::<0>(at) } as u16;
    let sum = Checksum::from_field(old).plus(change);
    let new = if is_tcp {
        sum.field()
    } else if old == 0 {
        // The sender made none, as RFC 768 allows over IPv4 and RFC 6936 in few cases over IPv6.
        0
    } else {
        sum.udp_field()
    };
    // SAFETY: the caller's.
    unsafe { store2::<0>(at, new.into()) };
}

/// Sends the frame back where it came from: both link-layer addresses change places.
#[inline(always)]
pub(crate) fn turn(frame: &Frame) -> Result<(), DropReason> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    // SAFETY: the header is in the frame.
    unsafe {
        let (first, second) = (load8::<0>(start), load4::<8>(start));
        store8::<0>(start, first >> 48 | second << 16 | first << 48);
        store4::<8>(start, first >> 16);
    }
    Ok(())
}

/// Writes the link-layer addresses.
#[inline(always)]
pub(crate) fn link(frame: &Frame, hop: &NextHop) -> Result<(), DropReason> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    let hop = core::ptr::from_ref(hop) as usize;
    // SAFETY: the frame has an Ethernet header, and the hop begins with its twelve bytes.
    unsafe {
        store8::<0>(start, load8::<0>(hop));
        store4::<8>(start, load4::<8>(hop));
    }
    Ok(())
}
