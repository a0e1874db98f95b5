//! Lowers the MSS option (RFC 9293 section 3.7.1) of a client's SYN to what fits the way between this node and the server, the
//! tunnel's headers included, and that of the server's SYN-ACK where it comes back through the node. Never raises it, and puts
//! none where there is none. What it cannot read goes on as it is.

use lbfabric_abi::{
    Backend, Checksum, DropReason, Endpoint, Flow, Mode, NextProgram, Reverse, VipService,
};

use super::{
    aligned::Aligned,
    bytes::{load1, load2, store2, swap2},
    dnat,
    exit::Step,
    frame::{Frame, opaque},
    headers::{Headers, TCP},
    ip::Ip,
    maps, own,
    packet::{Family, Packet, Scratch},
    ring,
    session::{self, Held},
    tunnel,
    v4::V4,
    v6::V6,
    vip,
};

/// The longest TCP header, as its offset field counts words.
const TCP_MAX: usize = 60;

/// Kinds of options.
mod option {
    pub(super) const END: u64 = 0;
    pub(super) const NOP: u64 = 1;
    pub(super) const MSS: u64 = 2;
}

/// Bytes of the MSS option.
const MSS_LENGTH: u64 = 4;

/// Clamps, and goes on with the program for the service's mode, or for answers.
#[inline(always)]
pub(crate) fn forward(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    let packet = &scratch.packet;
    let limit = if packet.is_syn_ack {
        match packet.family {
            Family::Ipv4 => limit_of_any_answer::<V4>(frame, packet),
            Family::Ipv6 => limit_of_any_answer::<V6>(frame, packet),
        }
    } else {
        limit(scratch)
    };
    if let Some(limit) = limit {
        lower_all(frame, frame.at(packet.l4_at), limit);
    }
    // Only now, or the verifier would follow all that for each.
    Step::Next(if packet.is_syn_ack {
        if is_to_node(packet) {
            NextProgram::FullnatAnswer
        } else {
            NextProgram::Answer
        }
    } else if scratch.service.mode == Mode::Fullnat as u8 {
        NextProgram::FullnatForward
    } else if scratch.service.flags & VipService::EXACT_STATE != 0 {
        NextProgram::ExactForward
    } else {
        NextProgram::Deliver
    })
}

/// As [`limit`], for what accepts a connection and comes from a server.
#[inline(always)]
fn limit_of_any_answer<I: Ip>(frame: &Frame, packet: &Packet) -> Option<u64> {
    let reverse = if is_to_node(packet) {
        None
    } else {
        Some(answered::<I>(packet)?)
    };
    match reverse {
        Some(reverse) if reverse.flags & Reverse::EXACT == 0 => {
            limit_of_answer::<I>(packet, reverse)
        }
        of_client => {
            let settings = maps::settings()?;
            let ends = Headers::<I>::with_ports(frame, packet).ok()?.ends();
            let held = match of_client {
                Some(_) => session::of_exact_server(settings, &ends),
                None => session::of_server(settings, &ends),
            }?;
            limit_of_session::<I>(&held)
        }
    }
}

/// Whose answer it is, if it comes from a DNAT server.
#[inline(always)]
fn answered<I: Ip>(packet: &Packet) -> Option<&'static Reverse> {
    let (server, port) = (I::of(&packet.flow.source), packet.flow.source_port_be);
    let protocol = packet.flow.protocol;
    match I::reverse_port(server, u16::from_ne_bytes(port), protocol) {
        Some(reverse) => Some(reverse),
        None => maps::reverse_range(&Aligned(Endpoint {
            address: packet.flow.source,
            port_be: port,
            protocol,
            zero: 0,
        })),
    }
}

/// Whether it can only be for a full-NAT session.
#[inline(always)]
fn is_to_node(packet: &Packet) -> bool {
    maps::settings().is_some_and(|it| own::is_source(it, packet.family, &packet.flow.destination))
}

/// As [`limit`], for what comes from the server of a session, if its service clamps.
#[inline(always)]
fn limit_of_session<I: Ip>(held: &Held) -> Option<u64> {
    let session = held.fields();
    let (client, vip) = held.ends::<I>()?;
    let client = Aligned(Flow {
        source: I::to_abi(client),
        destination: I::to_abi(vip),
        source_port_be: session.client_port_be,
        destination_port_be: session.vip_port_be,
        protocol: session.protocol(),
        zero: [0; 3],
    });
    let service = vip::service_of(&client)?;
    if service.flags & VipService::CLAMP_MSS == 0 {
        return None;
    }
    fitting::<I>(service, maps::backend(session.backend.into())?)
}

/// As [`limit`], for what accepts a connection and comes from a DNAT server of a service that clamps.
///
/// The ring knows the server: the SYN has just gone to the slot's present one.
#[inline(always)]
fn limit_of_answer<I: Ip>(packet: &Packet, reverse: &Reverse) -> Option<u64> {
    let server = I::of(&packet.flow.source);
    let from = u16::from_ne_bytes(packet.flow.source_port_be);
    if reverse.flags & Reverse::CLAMP_MSS == 0 {
        return None;
    }
    // The flow that it answers.
    let client = Aligned(Flow {
        source: packet.flow.destination,
        destination: reverse.vip,
        source_port_be: packet.flow.destination_port_be,
        destination_port_be: dnat::port_or(reverse.vip_port_be, from).to_ne_bytes(),
        protocol: packet.flow.protocol,
        zero: [0; 3],
    });
    let service = vip::service_of(&client)?;
    let hash = client.affinity_hash(&maps::settings()?.ring_key, service.affinity);
    let backend = maps::backend(ring::slot(service, hash).ok()?.cur)?;
    let (address, _) = I::server(backend)?;
    if address != server {
        return None;
    }
    fitting::<I>(service, backend)
}

/// The largest segment without options, as RFC 6691 counts it, that fits the way to the server; none if that is not known.
#[inline(always)]
fn limit(scratch: &Scratch) -> Option<u64> {
    let backend = maps::backend(scratch.server)?;
    by_family(scratch.packet.family, &scratch.service, backend)
}

#[inline(always)]
fn by_family(family: Family, service: &VipService, backend: &Backend) -> Option<u64> {
    match family {
        Family::Ipv4 => fitting::<V4>(service, backend),
        Family::Ipv6 => fitting::<V6>(service, backend),
    }
}

#[inline(always)]
fn fitting<I: Ip>(service: &VipService, backend: &Backend) -> Option<u64> {
    const TUNNEL: u8 = Mode::Tunnel as u8;

    let (mtu, outside) = if service.mode != TUNNEL {
        (I::mtu(backend), 0)
    } else if tunnel::is_over4::<I>(backend) {
        (V4::mtu(backend), V4::HEADER + tunnel::between(service))
    } else {
        (V6::mtu(backend), V6::HEADER + tunnel::between(service))
    };
    let headers = (outside + I::HEADER + TCP) as u64;
    (u64::from(mtu) > headers).then(|| u64::from(mtu) - headers)
}

/// Lowers every MSS option: the receiver takes the last one.
///
/// It goes byte by byte instead of option by option, for the verifier: distances are constants, and how many bytes of an
/// option are left matters to no access.
#[inline(always)]
fn lower_all(frame: &Frame, tcp: usize, limit: u64) {
    if !frame.reaches(tcp + TCP) {
        return;
    }
    // SAFETY: the header is in the frame.
    let header = unsafe { load1::<12>(tcp) } >> 4 << 2;
    let mut left = 0;
    for at in TCP..TCP_MAX {
        let rest = header.wrapping_sub(at as u64);
        // Less than none wraps around.
        if rest == 0 || rest > TCP_MAX as u64 {
            return;
        }
        if left > 0 {
            left -= 1;
            continue;
        }
        let option = opaque(tcp + at);
        if !frame.reaches(option + 1) {
            return;
        }
        // SAFETY: the byte is in the frame.
        let kind = unsafe { load1::<0>(option) };
        if kind == option::NOP {
            continue;
        }
        if kind == option::END || !frame.reaches(option + 2) {
            return;
        }
        // SAFETY: both bytes are in the frame.
        let length = unsafe { load1::<1>(option) };
        if length < 2 || length > rest {
            return;
        }
        if kind == option::MSS && length == MSS_LENGTH && frame.reaches(option + 4) {
            // SAFETY: the header and the option are in the frame.
            unsafe { lower(tcp, option, at, limit) };
        }
        left = length - 1;
    }
}

/// Lowers one MSS option, and brings TCP's checksum up to date.
///
/// # Safety
/// The TCP header and the option, at this distance from it, are in the frame and can be written.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
unsafe fn lower(tcp: usize, option: usize, at: usize, limit: u64) {
    // SAFETY: the caller's.
    unsafe {
        let old = load2::<2>(option);
        if swap2(old) <= limit {
            return;
        }
        let new = swap2(limit);
        store2::<2>(option, new);
        // Where the option begins at an odd byte, its value lies across two words of the sum, the other way round.
        let word = |value| (if at % 2 == 0 { value } else { swap2(value) }) as u16;
        let sum = Checksum::from_field(load2::<16>(tcp) as u16)
            .sub16(word(old))
            .add16(word(new));
        store2::<16>(tcp, sum.field().into());
    }
}
