//! The third program: takes a packet, whatever its shape, to the server that `lbfabric_general` has chosen.

use lbfabric_abi::{Backend, DropReason, Mode, NextProgram};

use super::{
    dnat, dsr,
    exit::{Exit, Step},
    fit, fragments,
    frame::Frame,
    headers::Headers,
    ip::Ip,
    maps,
    packet::{Family, Scratch},
    tunnel,
    v4::V4,
    v6::V6,
};

#[inline(always)]
pub(crate) fn forward(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    let Some(backend) = maps::backend(scratch.server) else {
        return Step::Drop(DropReason::Internal);
    };
    if !fit::may_hop(scratch) || !fit::has_room(frame, scratch, backend) {
        return Step::Next(NextProgram::TooBig);
    }
    let outcome = match scratch.packet.family {
        Family::Ipv4 => by_mode::<V4>(frame, scratch, backend),
        Family::Ipv6 => by_mode::<V6>(frame, scratch, backend),
    };
    if outcome.is_ok() {
        let Scratch {
            service, server, ..
        } = scratch;
        maps::count_traffic(service.service, *server, scratch.packet.length.into());
        fragments::lead_to_server(scratch);
    }
    outcome.into()
}

#[inline(always)]
fn by_mode<I: Ip>(frame: &Frame, scratch: &Scratch, backend: &Backend) -> Result<Exit, DropReason> {
    const DNAT: u8 = Mode::Dnat as u8;
    const DSR: u8 = Mode::Dsr as u8;
    const TUNNEL: u8 = Mode::Tunnel as u8;

    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let headers = Headers::<I>::of(frame, &scratch.packet)?;
    let Scratch { service, hash, .. } = scratch;
    match service.mode {
        DNAT => dnat::forward(frame, &headers, service, backend),
        DSR => dsr::forward::<I>(frame, backend),
        TUNNEL => tunnel::forward(frame, &headers, settings, service, *hash, backend),
        // The agent writes no other mode.
        _ => Err(DropReason::Internal),
    }
}
