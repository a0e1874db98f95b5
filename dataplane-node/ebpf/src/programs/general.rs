//! The second program: reads what the first has left, of any shape, and finds its service and server. What it leaves to
//! others, it hands over in `SCRATCH`.

use lbfabric_abi::{
    Address, DropReason, FilterRegion, Mode, NextProgram, RingSlot, Settings, Verdict,
};

use super::{
    affinity,
    exit::{Exit, Step},
    frame::Frame,
    headers::Headers,
    ip::Ip,
    maps, own,
    packet::{Family, Packet, Scratch},
    parse::{self, Unservable},
    ring,
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
    if let Err(unservable) = parse::read(frame, &mut scratch.packet) {
        return refuse(unservable, scratch);
    }
    let otherwise = match vip::find(&scratch.packet.flow) {
        Found::Service(service) => {
            scratch.service = *service;
            return choose(frame, scratch, settings);
        }
        Found::NotServed => Verdict::PassNotServed,
        Found::NotVip => Verdict::PassNotVip,
    };
    // A packet to the node itself can only be a full-NAT answer, also where the node's address is a VIP. All others, the
    // answers to the node's own health checks among them, must arrive as they are, whoever they come from.
    let packet = &scratch.packet;
    let (source, destination) = (&packet.flow.source, &packet.flow.destination);
    if may_be(FilterRegion::Own, packet.family, destination)
        && own::is_source(settings, packet.family, destination)
    {
        scratch.otherwise = otherwise as u32;
        return Step::Next(NextProgram::FullnatAnswer);
    }
    if matches!(otherwise, Verdict::PassNotVip)
        && may_be(FilterRegion::Server, packet.family, source)
    {
        return Step::Next(NextProgram::Answer);
    }
    Step::Leave(Exit::pass(otherwise))
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
    if scratch.service.mode == Mode::Fullnat as u8 {
        // It has an entry for each flow; what it does not know is new.
        scratch.server = slot.cur;
        return Step::Next(NextProgram::FullnatForward);
    }
    scratch.server = if slot.consult() {
        affinity::server(&scratch.packet, settings, slot, scratch.service.pool)
    } else {
        slot.cur
    };
    if scratch.server == RingSlot::NONE {
        return Step::Drop(DropReason::NoBackend);
    }
    Step::Next(NextProgram::Deliver)
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
fn refuse(unservable: Unservable, scratch: &Scratch) -> Step {
    let destination = &scratch.packet.flow.destination;
    let verdict = match unservable {
        Unservable::NotIp => Verdict::PassNotIp,
        Unservable::Broken(reason) if maps::is_vip(destination) => return Step::Drop(reason),
        Unservable::Protocol if is_icmp(&scratch.packet) => return Step::Next(NextProgram::Icmp),
        Unservable::Protocol if maps::is_vip(destination) => Verdict::PassNotServed,
        Unservable::NoDestination | Unservable::Broken(_) | Unservable::Protocol => {
            Verdict::PassNotVip
        }
    };
    Step::Leave(Exit::pass(verdict))
}

/// Whether a packet is of its family's control protocol.
#[inline(always)]
const fn is_icmp(packet: &Packet) -> bool {
    packet.flow.protocol
        == match packet.family {
            Family::Ipv4 => V4::ICMP,
            Family::Ipv6 => V6::ICMP,
        }
}

/// Whether an address may be one of those.
#[inline(always)]
fn may_be(region: FilterRegion, family: Family, address: &Address) -> bool {
    maps::passes_filter(match family {
        Family::Ipv4 => V4::bit(region, V4::of(address)),
        Family::Ipv6 => V6::bit(region, V6::of(address)),
    })
}
