//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo requests to VIPs are answered here; errors about packets of services are
//! taken to whoever has sent those, with the packet that they quote as its sender knows it.
//!
//! ```text
//! to a VIP, quotes V -> C              to the server of the flow C -> V      about answers
//! to a node's address, L -> S          to the client                         about full NAT's packets, and tunnels'
//! to a client, quotes C -> S           to the client                         about destination NAT's packets
//! ```

mod echo;
mod family;
mod quote;
pub(super) mod to_client;
mod to_server;
mod translate;
mod tunnelled;

pub(crate) use family::Icmp;
use lbfabric_abi::{DropReason, NextProgram, Settings, Verdict};
use quote::{Quote, Unreadable};

use super::{
    bytes::load1,
    exit::{Exit, Step},
    frame::Frame,
    headers::Headers,
    maps, own,
    packet::{Family, Packet, Scratch},
    v4::V4,
    v6::V6,
};

/// Bytes of the header, of either version.
pub(crate) const HEADER: usize = 8;

/// Decides on a packet of either protocol. What is of no concern passes to the kernel.
#[inline(always)]
pub(crate) fn handle(frame: &Frame) -> Step {
    let (Some(scratch), Some(settings)) = (maps::scratch(), maps::settings()) else {
        return Step::Drop(DropReason::Internal);
    };
    match scratch.packet.family {
        Family::Ipv4 => by_family::<V4>(frame, scratch, settings),
        Family::Ipv6 => by_family::<V6>(frame, scratch, settings),
    }
}

/// Whom a packet is for: flags of a VIP, zero for all others, and one of the node's own addresses. One word, for the sake of
/// the stack; and no option, as where that is none the compiler spills whatever a register holds.
#[derive(Clone, Copy)]
struct Destination(u32);

impl Destination {
    const OWN: u32 = 1 << 31;

    #[inline(always)]
    fn of(packet: &Packet, settings: &Settings) -> Self {
        let address = &packet.flow.destination;
        let own = own::is_source(settings, packet.family, address);
        let flags = match maps::vip_flags(address) {
            Some(flags) => flags,
            // The node's own addresses are in no prefix.
            None if own => 0,
            None => maps::prefix_flags(address).unwrap_or(0),
        };
        Self(flags & !Self::OWN | u32::from(own) * Self::OWN)
    }

    #[inline(always)]
    const fn is_own(self) -> bool {
        self.0 & Self::OWN != 0
    }

    #[inline(always)]
    const fn is_vip(self) -> bool {
        self.0 & !Self::OWN != 0
    }

    /// What a packet is counted as that is of no concern.
    #[inline(always)]
    const fn otherwise(self) -> Verdict {
        if self.is_vip() {
            Verdict::PassNotServed
        } else {
            Verdict::PassNotVip
        }
    }

    #[inline(always)]
    const fn pass(self) -> Step {
        Step::Leave(Exit::pass(self.otherwise()))
    }

    /// Drops what can only be for a VIP.
    #[inline(always)]
    const fn refuse(self, reason: DropReason) -> Step {
        if self.is_vip() && !self.is_own() {
            Step::Drop(reason)
        } else {
            self.pass()
        }
    }
}

// The parts are functions of their own for the sake of the stack: together they do not fit.
#[inline(never)]
fn by_family<I: Icmp>(frame: &Frame, scratch: &mut Scratch, settings: &Settings) -> Step {
    let packet = &scratch.packet;
    let destination = Destination::of(packet, settings);
    if packet.payload() < HEADER as u64 {
        return destination.refuse(DropReason::Truncated);
    }
    let Ok(headers) = Headers::<I>::without_ports(frame, packet) else {
        return Step::Drop(DropReason::Internal);
    };
    // SAFETY: `Headers` are whole in the frame.
    let kind = unsafe { load1::<0>(headers.l4) } as u8;
    if I::is_error(kind) {
        return error::<I>(frame, scratch, &headers, destination);
    }
    if I::is_neighbor_discovery(kind) {
        return Step::Next(NextProgram::Neighbor);
    }
    // What the node itself is asked, it answers itself.
    if kind == I::ECHO_REQUEST && destination.is_vip() && !destination.is_own() {
        return echo::answer(frame, packet, &headers, destination.0);
    }
    destination.pass()
}

/// What is for the node, or for a client, another program looks at.
#[inline(always)]
fn error<I: Icmp>(
    frame: &Frame,
    scratch: &mut Scratch,
    headers: &Headers<I>,
    destination: Destination,
) -> Step {
    if destination.is_own() || !destination.is_vip() {
        scratch.otherwise = destination.otherwise() as u32;
        return Step::Next(NextProgram::IcmpToClient);
    }
    match Quote::read(frame, &scratch.packet, headers) {
        // Who sent a packet gets the errors about it.
        Ok(quote) if quote.source == headers.destination => {
            to_server::from_client(frame, scratch, headers, &quote).into()
        }
        Ok(_) | Err(Unreadable::Truncated) => Step::Drop(DropReason::BadQuote),
        Err(Unreadable::Protocol) => destination.pass(),
    }
}

impl Packet {
    /// How many bytes follow the network header.
    #[inline(always)]
    fn payload(&self) -> u64 {
        let header = u64::from(self.l4_at.wrapping_sub(self.ip_at));
        u64::from(self.length).saturating_sub(header)
    }
}
