//! IP tunnel: the packet goes to the server inside another one, byte for byte as it came.
//!
//! ```text
//! before            Ethernet | IP, C -> V | TCP or UDP ... | padding
//! after  Ethernet | IP, L -> S | IP, C -> V | TCP or UDP ...
//! ```

use lbfabric_abi::{Backend, DropReason, NextHop, Settings, Verdict, VipService};

use super::{
    bytes::{load4, load8, store2, store4, store8},
    dnat,
    exit::Exit,
    frame::Frame,
    headers::{ETHERNET, Headers, protocol},
    ip::{Ip, Outer},
    packet::Family,
    v4::V4,
    v6::V6,
};

/// Sends a packet through whichever tunnel its server can be reached by: its own family if possible.
#[inline(always)]
pub(crate) fn forward<I: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    settings: &Settings,
    service: &VipService,
    hash: u64,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    let (has4, has6) = (V4::server(backend).is_some(), V6::server(backend).is_some());
    let over4 = match I::FAMILY {
        Family::Ipv4 => has4,
        Family::Ipv6 => has4 && !has6,
    };
    if over4 {
        inside::<I, V4>(frame, headers, settings, service, hash, backend)
    } else {
        inside::<I, V6>(frame, headers, settings, service, hash, backend)
    }
}

/// Sends a packet inside one of the version `O`.
#[inline(always)]
pub(crate) fn inside<I: Ip, O: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    settings: &Settings,
    service: &VipService,
    hash: u64,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    let (server, hop) = dnat::server::<O>(backend)?;
    let outer = Outer::<O> {
        source: source::<O>(settings, service, hash)?,
        destination: server,
        payload: headers.length,
        protocol: match I::FAMILY {
            Family::Ipv4 => protocol::IPIP,
            Family::Ipv6 => protocol::IPV6,
        },
        // SAFETY: `Headers` are whole in the frame. RFC 6040 section 4.1, normal mode.
        traffic_class: unsafe { I::traffic_class(headers.ip) },
        hash,
    };
    // A frame is shorter than any length that would not fit.
    if outer.payload > u64::from(u16::MAX) - V4::HEADER as u64 {
        return Err(DropReason::BadLength);
    }
    make_room(frame, outer.payload, O::HEADER)?;
    let start = frame.start();
    if !frame.reaches(start + ETHERNET + O::HEADER) {
        return Err(DropReason::Internal);
    }
    // SAFETY: the frame has both headers.
    unsafe {
        ethernet::<O>(start, hop);
        O::encapsulate(start + ETHERNET, &outer);
    }
    Ok(Exit::send(
        Verdict::Tunnel,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

/// The node's address that the outer packet comes from: each flow its own, so that they spread over the server's receive
/// queues, or always the first.
#[inline(always)]
fn source<O: Ip>(
    settings: &Settings,
    service: &VipService,
    hash: u64,
) -> Result<O::Address, DropReason> {
    let count = O::sources(settings);
    if count == 0 {
        return Err(DropReason::NoSourceAddress);
    }
    let index = if service.flags & VipService::OUTER_SOURCE_FIXED == 0 {
        // The lower half of the hash: the upper one has chosen the slot.
        (hash & 0xffff_ffff) * u64::from(count) >> 32
    } else {
        0
    };
    Ok(O::node(settings, index as usize))
}

/// Cuts off what Ethernet has padded, which the outer length would not cover, and makes room for the outer header.
#[inline(always)]
fn make_room(frame: &Frame, length: u64, header_length: usize) -> Result<(), DropReason> {
    let used = ETHERNET as u64 + length;
    // Nearly always the packet ends where the frame does, which needs no question to the kernel. A frame that can be read
    // less far than its packet goes has other parts.
    if frame.rest(frame.start()) != used {
        let whole = frame.length();
        if whole > used {
            frame
                .cut_tail((whole - used) as usize)
                .ok_or(DropReason::Internal)?;
        }
    }
    frame.grow_head(header_length).ok_or(DropReason::NoHeadroom)
}

/// # Safety
/// The frame has an Ethernet header at `start`.
#[inline(always)]
unsafe fn ethernet<O: Ip>(start: usize, hop: &NextHop) {
    let hop = core::ptr::from_ref(hop) as usize;
    // SAFETY: the caller's; a hop begins with the twelve bytes of both addresses.
    unsafe {
        store8::<0>(start, load8::<0>(hop));
        store4::<8>(start, load4::<8>(hop));
        store2::<12>(start, O::ETHERTYPE);
    }
}
