//! The third program: takes a packet, whatever its shape, to the server that `lbfabric_general` has chosen.

use lbfabric_abi::{DropReason, Mode};

use super::{
    dnat, dsr,
    exit::Exit,
    fragments,
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
pub(crate) fn forward(frame: &Frame) -> Result<Exit, DropReason> {
    let scratch = maps::scratch().ok_or(DropReason::Internal)?;
    let exit = match scratch.packet.family {
        Family::Ipv4 => by_mode::<V4>(frame, scratch),
        Family::Ipv6 => by_mode::<V6>(frame, scratch),
    }?;
    maps::count_traffic(
        scratch.service.service,
        scratch.server,
        scratch.packet.length.into(),
    );
    fragments::lead_to_server(scratch);
    Ok(exit)
}

#[inline(always)]
fn by_mode<I: Ip>(frame: &Frame, scratch: &Scratch) -> Result<Exit, DropReason> {
    const DNAT: u8 = Mode::Dnat as u8;
    const DSR: u8 = Mode::Dsr as u8;
    const TUNNEL: u8 = Mode::Tunnel as u8;

    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let backend = maps::backend(scratch.server).ok_or(DropReason::Internal)?;
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
