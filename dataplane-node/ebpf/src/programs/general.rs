//! The second program: reads what the first has left, of any shape, and finds its service and server. What it leaves to
//! others, it hands over in `SCRATCH`.

use lbfabric_abi::{
    Address, DropReason, FilterRegion, Mode, NextProgram, RingSlot, Settings, Verdict, VipService,
};

use super::{
    affinity::{self, Question},
    exit::{Exit, Step},
    fragments,
    frame::Frame,
    headers::{Headers, protocol},
    ip::Ip,
    maps, martian, neighbor, own,
    packet::{Family, Packet, Piece, Scratch},
    parse::{self, Unservable},
    quic, ring, tags,
    v4::V4,
    v6::V6,
    vip::{self, Found},
};

/// Finds out where a packet belongs.
#[inline(always)]
pub(crate) fn balance(frame: &Frame) -> Step {
    let (Some(scratch), Some(settings)) = (maps::scratch(), maps::settings()) else {
        return Step::Drop(DropReason::Internal);
    };
    let step = match parse::read(frame, &mut scratch.packet) {
        Ok(()) if scratch.packet.piece == Piece::Later => follow(scratch, settings),
        Ok(()) => find(frame, scratch, settings),
        Err(unservable) => refuse(frame, unservable, scratch),
    };
    // What stays here leaves as it came.
    if let Step::Next(_) = step
        && let Err(reason) = tags::take_off(frame, scratch)
    {
        return Step::Drop(reason);
    }
    step
}

/// Finds the service of a packet.
#[inline(always)]
fn find(frame: &Frame, scratch: &mut Scratch, settings: &Settings) -> Step {
    let otherwise = match vip::find(&scratch.packet, settings) {
        Found::Service(service) => {
            if let Err(reason) = martian::check(frame, &scratch.packet) {
                return Step::Drop(reason);
            }
            scratch.service = *service;
            if service.flags & VipService::GUARDED != 0 {
                return Step::Next(NextProgram::Guard);
            }
            return choose(frame, scratch, settings);
        }
        Found::NotServed => Verdict::PassNotServed,
        Found::NotVip => Verdict::PassNotVip,
    };
    // A packet to the node itself can only be a full-NAT answer, also where the node's address is a VIP. All others, the
    // answers to the node's own health checks among them, must arrive as they are, whoever they come from.
    let packet = &scratch.packet;
    if packet.has_ports && is_to_node(packet, settings) {
        scratch.otherwise = otherwise as u32;
        return Step::Next(if packet.is_syn_ack {
            NextProgram::Clamp
        } else {
            NextProgram::FullnatAnswer
        });
    }
    if matches!(otherwise, Verdict::PassNotVip) {
        if packet.has_ports && may_be_answer(packet) {
            return Step::Next(if packet.is_syn_ack {
                NextProgram::Clamp
            } else {
                NextProgram::Answer
            });
        }
    } else {
        fragments::lead_to_kernel(scratch);
    }
    Step::Leave(Exit::pass(otherwise))
}

/// Sends a fragment after the first one of its packet.
#[inline(always)]
fn follow(scratch: &mut Scratch, settings: &Settings) -> Step {
    let packet = &scratch.packet;
    let is_to_node = is_to_node(packet, settings);
    let is_to_vip = maps::is_vip(&packet.flow.destination);
    if !is_to_node && !is_to_vip && !may_be_answer(packet) {
        return Step::Leave(Exit::pass(Verdict::PassNotVip));
    }
    let otherwise = if is_to_vip && !is_to_node {
        Verdict::PassNotServed
    } else {
        Verdict::PassNotVip
    };
    scratch.otherwise = otherwise as u32;
    Step::Next(NextProgram::Fragment)
}

#[inline(always)]
fn is_to_node(packet: &Packet, settings: &Settings) -> bool {
    let destination = &packet.flow.destination;
    may_be(FilterRegion::Own, packet.family, destination)
        && own::is_source(settings, packet.family, destination)
}

#[inline(always)]
fn may_be_answer(packet: &Packet) -> bool {
    may_be(FilterRegion::Server, packet.family, &packet.flow.source)
        && !martian::is_from_nowhere(packet)
}

/// Goes on behind `lbfabric_guard`.
#[inline(always)]
pub(crate) fn choose_for_guard(frame: &Frame) -> Step {
    match (maps::scratch(), maps::settings()) {
        (Some(scratch), Some(settings)) => choose(frame, scratch, settings),
        _ => Step::Drop(DropReason::Internal),
    }
}

/// Chooses the server of a packet for a service.
#[inline(always)]
fn choose(frame: &Frame, scratch: &mut Scratch, settings: &Settings) -> Step {
    let found = match scratch.packet.family {
        Family::Ipv4 => slot::<V4>(frame, scratch, settings),
        Family::Ipv6 => slot::<V6>(frame, scratch, settings),
    };
    let slot = match found {
        Ok(slot) => slot,
        Err(reason) => return Step::Drop(reason),
    };
    if scratch.service.flags & VipService::QUIC != 0
        && let Some(server) = quic::server(frame, &scratch.packet, &scratch.service)
    {
        scratch.server = server;
        return Step::Next(deliver(scratch));
    }
    if scratch.service.mode == Mode::Fullnat as u8 {
        // It has an entry for each flow; what it does not know is new.
        scratch.server = slot.cur;
        return Step::Next(clamped_or(scratch, NextProgram::FullnatForward));
    }
    scratch.server = if slot.consult() {
        let Packet { flow, is_syn, .. } = &scratch.packet;
        affinity::server(&Question {
            place: flow.place(&settings.flow_key),
            slot,
            pool: scratch.service.pool,
            is_syn: *is_syn,
            is_first: *is_syn || flow.protocol == protocol::UDP,
            zero: [0; 2],
        })
    } else {
        slot.cur
    };
    // Flows of exact state stay on the server of their session.
    if scratch.server == RingSlot::NONE && scratch.service.flags & VipService::EXACT_STATE == 0 {
        return Step::Drop(DropReason::NoBackend);
    }
    Step::Next(deliver(scratch))
}

/// The program that takes a packet to its server. Where the server of destination NAT would answer past the node, the packet
/// is full NAT's from here on.
#[inline(always)]
fn deliver(scratch: &mut Scratch) -> NextProgram {
    const FULLNAT: u8 = Mode::Fullnat as u8;
    if scratch.service.mode == Mode::Dnat as u8 && is_hairpin(scratch) {
        scratch.service.mode = FULLNAT;
    }
    let next = if scratch.service.mode == FULLNAT {
        NextProgram::FullnatForward
    } else if scratch.service.flags & VipService::EXACT_STATE != 0 {
        NextProgram::ExactForward
    } else {
        NextProgram::Deliver
    };
    clamped_or(scratch, next)
}

/// Whether the server would answer the client past the node.
#[inline(always)]
fn is_hairpin(scratch: &Scratch) -> bool {
    let client = &scratch.packet.flow.source;
    maps::backend(scratch.server).is_some_and(|backend| match scratch.packet.family {
        Family::Ipv4 => V4::is_beside(backend, V4::of(client)),
        Family::Ipv6 => V6::is_beside(backend, V6::of(client)),
    })
}

/// The next program, by way of those for a SYN that is to tell its client's address, or whose MSS option has to be looked at.
#[inline(always)]
fn clamped_or(scratch: &Scratch, next: NextProgram) -> NextProgram {
    let flags = scratch.service.flags;
    if !scratch.packet.is_syn {
        next
    } else if flags & VipService::CLIENT_ADDRESS_OPTION != 0 {
        NextProgram::ClientAddress
    } else if flags & VipService::CLAMP_MSS != 0 {
        NextProgram::Clamp
    } else {
        next
    }
}

#[inline(always)]
fn slot<I: Ip>(
    frame: &Frame,
    scratch: &mut Scratch,
    settings: &Settings,
) -> Result<RingSlot, DropReason> {
    let headers = Headers::<I>::of(frame, &scratch.packet)?;
    scratch.hash = ring::hash(settings, &scratch.service, &headers);
    ring::slot(&scratch.service, scratch.hash)
}

/// What happens to a frame that no service could take. Only those for a VIP are ever dropped.
#[inline(always)]
fn refuse(frame: &Frame, unservable: Unservable, scratch: &mut Scratch) -> Step {
    let destination = &scratch.packet.flow.destination;
    let verdict = match unservable {
        Unservable::NotIp => Verdict::PassNotIp,
        Unservable::Arp if neighbor::is_whole_arp(frame, &scratch.packet) => {
            return Step::Next(NextProgram::Neighbor);
        }
        Unservable::Arp => Verdict::PassArp,
        Unservable::Broken(reason) if maps::is_vip(destination) => return Step::Drop(reason),
        Unservable::Protocol if is_icmp(&scratch.packet) => return Step::Next(NextProgram::Icmp),
        Unservable::Protocol if maps::is_vip(destination) => {
            fragments::lead_to_kernel(scratch);
            Verdict::PassNotServed
        }
        Unservable::NoDestination | Unservable::Broken(_) | Unservable::Protocol => {
            Verdict::PassNotVip
        }
    };
    Step::Leave(Exit::pass(verdict))
}

/// Whether a packet is of its family's control protocol, and whole: the kernel puts together what is not.
#[inline(always)]
fn is_icmp(packet: &Packet) -> bool {
    let protocol = match packet.family {
        Family::Ipv4 => V4::ICMP,
        Family::Ipv6 => V6::ICMP,
    };
    packet.flow.protocol == protocol && packet.piece == Piece::Whole
}

/// Whether an address may be one of those.
#[inline(always)]
fn may_be(region: FilterRegion, family: Family, address: &Address) -> bool {
    maps::passes_filter(match family {
        Family::Ipv4 => V4::bit(region, V4::of(address)),
        Family::Ipv6 => V6::bit(region, V6::of(address)),
    })
}
