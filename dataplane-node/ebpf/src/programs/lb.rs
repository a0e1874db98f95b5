//! The load balancer: finds out what a packet is, and hands it to the mode's own file.

use lbfabric_abi::{Address, DropReason, Mode, RingSlot, Settings, Verdict, VipService};

use super::{
    affinity, dnat, dsr,
    exit::Exit,
    frame::Frame,
    fullnat, maps,
    packet::{Packet, Unservable},
    ring, tunnel,
    vip::{self, Found},
};

/// Takes a packet to where it belongs.
#[inline(always)]
pub(crate) fn balance(frame: &Frame) -> Result<Exit, DropReason> {
    let mut packet = Packet::UNKNOWN;
    if let Err(unservable) = packet.read(frame) {
        return refuse(unservable, &packet.flow.destination);
    }
    let Some(settings) = maps::settings() else {
        return Err(DropReason::Internal);
    };
    let otherwise = match vip::find(&packet.flow) {
        Found::Service(service) => return serve(frame, &mut packet, settings, &service),
        Found::NotServed => Verdict::PassNotServed,
        Found::NotVip => Verdict::PassNotVip,
    };
    // A packet to the node itself can only be a full-NAT answer, also where the node's address is a VIP. All others, the
    // answers to the node's own health checks among them, must arrive as they are, whoever they come from.
    if packet.is_for(settings) {
        return fullnat::answer(frame, &mut packet, otherwise);
    }
    match otherwise {
        Verdict::PassNotVip => dnat::answer(frame, &mut packet),
        _ => Ok(Exit::pass(otherwise)),
    }
}

/// Sends a packet for a service to one of its servers.
#[inline(always)]
fn serve(
    frame: &Frame,
    packet: &mut Packet,
    settings: &Settings,
    service: &VipService,
) -> Result<Exit, DropReason> {
    const DNAT: u8 = Mode::Dnat as u8;
    const FULLNAT: u8 = Mode::Fullnat as u8;
    const DSR: u8 = Mode::Dsr as u8;
    const TUNNEL: u8 = Mode::Tunnel as u8;

    if service.mode == FULLNAT {
        return fullnat::forward(frame, packet, settings, service);
    }
    let slot = ring::slot(settings, service, &packet.flow)?;
    let id = if slot.consult() {
        affinity::server(frame, packet, settings, slot, service.pool)
    } else {
        slot.cur
    };
    if id == RingSlot::NONE {
        return Err(DropReason::NoBackend);
    }
    let backend = maps::backend(id).ok_or(DropReason::Internal)?;
    let exit = match service.mode {
        DNAT => dnat::forward(frame, packet, service, backend),
        DSR => dsr::forward(frame, packet, backend),
        TUNNEL => tunnel::forward(frame, packet, settings, backend),
        // The agent writes no other mode.
        _ => Err(DropReason::Internal),
    }?;
    maps::count_traffic(service.service, id, packet.length);
    Ok(exit)
}

/// What happens to a frame that no service could take. Only those for a VIP are ever dropped.
#[inline(always)]
fn refuse(unservable: Unservable, destination: &Address) -> Result<Exit, DropReason> {
    match unservable {
        Unservable::NotIp => Ok(Exit::pass(Verdict::PassNotIp)),
        Unservable::Broken(reason) if maps::is_vip(destination) => Err(reason),
        Unservable::Protocol if maps::is_vip(destination) => Ok(Exit::pass(Verdict::PassNotServed)),
        Unservable::NoDestination | Unservable::Broken(_) | Unservable::Protocol => {
            Ok(Exit::pass(Verdict::PassNotVip))
        }
    }
}
