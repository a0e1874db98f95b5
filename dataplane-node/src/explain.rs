//! What the programs would do with a packet, and why: the same decisions as on the eBPF side, from the same maps, with what both
//! sides share in `lbfabric_abi`. Nothing is sent or written. `tests/xdp/explain.rs` holds it against the programs.
//!
//! ```text
//! PacketQuestion ─► Packet ─► way ─► protection ─► choice ─► delivery ─► Told, Outcome ─► sentences ─► Explanation
//!                              └─────── Lookup: the maps ──────┘            Names ──────────┘
//! ```

mod choice;
mod delivery;
mod lookup;
mod protection;
mod sentences;
mod session;
#[cfg(test)]
mod tests;
mod told;
mod way;

use lbfabric_abi::{Flow, RingSlot};
use lbfabric_model::{PacketQuestion, Protocol};
use lbfabric_proto::v1;

use crate::chain::Chain;

pub(crate) use lookup::Lookup;
pub(crate) use sentences::Names;
use told::{Outcome, Packet, Told};

/// Stands for every protocol that is neither TCP nor UDP: one for experiments (RFC 3692 section 2.1).
const OTHER_PROTOCOL: u8 = 253;

/// What the programs would do with a packet at a moment of `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn explain<M: Lookup>(
    question: &PacketQuestion,
    names: &Names<'_>,
    maps: &M,
    monotonic_ns: u64,
) -> Result<v1::Explanation, String> {
    let packet = packet(question);
    let (told, outcome) =
        way::follow(packet, maps, monotonic_ns).map_err(|error| Chain(&error).to_string())?;
    let name = |server: Option<u32>| match server {
        None | Some(RingSlot::NONE) => Ok(String::new()),
        Some(id) => match maps.backend(id) {
            Ok(backend) => Ok(names.server(id, backend.as_ref())),
            Err(error) => Err(Chain(&error).to_string()),
        },
    };
    let slot = told.slot.map(|(_, slot)| slot);
    let servers = sentences::Servers {
        current: name(slot.map(|slot| slot.cur))?,
        base: name(slot.map(RingSlot::base_id))?,
        entry: name(told.entry)?,
        chosen: name(told.server)?,
    };
    let steps = sentences::all(&packet, &told, &servers, names);
    let Told {
        service,
        slot,
        entry: _,
        server: _,
        session: _,
        is_hairpin: _,
        hop,
        steps: _,
    } = told;
    let (verdict, drop_reason) = match outcome {
        Outcome::Leaves(verdict) => (verdict.name(), ""),
        Outcome::Dropped(reason) => ("", reason.name()),
    };
    Ok(v1::Explanation {
        service: service.map_or_else(String::new, |it| names.service(it.service)),
        pool: service.map_or_else(String::new, |it| names.pool(it.pool)),
        slot: slot.map(|(number, _)| number),
        current_server: servers.current,
        base_server: servers.base,
        flow_entry: servers.entry,
        server: servers.chosen,
        next_hop: hop.map_or_else(String::new, |hop| names.hop(&hop)),
        verdict: verdict.to_owned(),
        drop_reason: drop_reason.to_owned(),
        steps,
        proxy: None,
    })
}

fn packet(question: &PacketQuestion) -> Packet {
    let PacketQuestion {
        source,
        destination,
        protocol,
        established,
        request: _,
    } = question;
    let (protocol, ports) = match protocol {
        Protocol::Tcp | Protocol::Udp => (*protocol as u8, [source.port(), destination.port()]),
        Protocol::Any => (OTHER_PROTOCOL, [0; 2]),
    };
    let [source_port_be, destination_port_be] = ports.map(u16::to_be_bytes);
    Packet {
        flow: Flow {
            source: source.ip().into(),
            destination: destination.ip().into(),
            source_port_be,
            destination_port_be,
            protocol,
            zero: [0; 3],
        },
        is_ipv6: destination.is_ipv6(),
        is_syn: protocol == Protocol::Tcp as u8 && !established,
    }
}
