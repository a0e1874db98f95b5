//! Full NAT: towards the server the node takes the client's place, and the server the VIP's. Both directions have an
//! exact entry, made together:
//!
//! ```text
//! NAT_FORWARD   C:c -> V:v   =>   L:l, backend id, S's port     what the client sends
//! NAT_REVERSE   S:s -> L:l   =>   C:c, V:v                      what the server answers
//! ```
//!
//! A port of the node belongs to the flow that has the reverse entry. Either table may forget: a lost forward entry is made
//! again from the ports that the flow would try first, where its reverse entry still stands; a lost reverse entry is made
//! again from the forward one, or, where another flow has taken the port meanwhile, the flow gets a new one.

use core::num::NonZeroU32;

use lbfabric_abi::{
    Address, Backend, DropReason, Flow, NAT_PORT_TRIES, NatForward, NatReverse, NextProgram,
    RingSlot, SOURCES_MAX, Settings, Verdict,
};

use super::{
    aligned::Aligned,
    clamp, dnat,
    exit::{Exit, Step},
    fit, fragments,
    frame::Frame,
    headers::Headers,
    ip::Ip,
    maps::{self, Inserted},
    packet::{Family, Packet, Scratch},
    rewrite::{self, Rewritten},
    route,
    v4::V4,
    v6::V6,
};

/// The distance between the candidates that a flow tries: a prime above their number, so that none comes twice.
const STEP: u32 = 1_000_003;
/// As a count.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
const SOURCES: u32 = SOURCES_MAX as u32;
const _: () = assert!(STEP > SOURCES << 16);

/// Sends a client's packet to its server, from an address and port of the node.
#[inline(always)]
pub(crate) fn forward(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    // Nothing is written for a packet that goes no further.
    if !fit::may_hop(scratch) {
        return Step::Next(NextProgram::TooBig);
    }
    let mut entry = Aligned(NatForward::default());
    if let Err(reason) = enter(scratch, &mut entry) {
        return Step::Drop(reason);
    }
    send_on(frame, scratch, &entry)
}

/// Sends a packet of a flow that has an entry, if it fits the way. By itself: what makes entries needs the stack.
#[inline(never)]
fn send_on(frame: &Frame, scratch: &mut Scratch, entry: &Aligned<NatForward>) -> Step {
    let Some(backend) = maps::backend(entry.backend) else {
        return Step::Drop(DropReason::Internal);
    };
    if !fit::has_room(frame, scratch, backend) {
        return Step::Next(NextProgram::TooBig);
    }
    let packet = &scratch.packet;
    let outcome = match packet.family {
        Family::Ipv4 => send::<V4>(frame, packet, entry, backend),
        Family::Ipv6 => send::<V6>(frame, packet, entry, backend),
    };
    if outcome.is_ok() {
        maps::count_traffic(scratch.service.service, entry.backend, packet.length.into());
        fragments::lead_through_node(scratch, entry);
    }
    outcome.into()
}

/// Finds the flow's entry, or makes one for a packet that may go on.
#[inline(always)]
fn enter(scratch: &Scratch, entry: &mut Aligned<NatForward>) -> Result<(), DropReason> {
    if known(&scratch.packet, entry)? {
        return Ok(());
    }
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    admit(scratch, settings, entry)
}

#[inline(always)]
fn send<I: Ip>(
    frame: &Frame,
    packet: &Packet,
    entry: &NatForward,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    let (server, hop) = dnat::server::<I>(backend)?;
    let headers = Headers::<I>::of(frame, packet)?;
    let new = Rewritten {
        source: I::of(&entry.source),
        destination: server,
        ports: ports(entry.source_port_be, entry.backend_port_be),
    };
    rewrite::flow(frame, &headers, &new, 1)?;
    rewrite::link(frame, hop)?;
    Ok(Exit::send(
        Verdict::Fullnat,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

/// Sends a server's answer to its client, from the VIP.
#[inline(always)]
pub(crate) fn answer(frame: &Frame) -> Result<Exit, DropReason> {
    let scratch = maps::scratch().ok_or(DropReason::Internal)?;
    let packet = &scratch.packet;
    let Some(reverse) = maps::nat_reverse(&packet.flow) else {
        let is_of_vip = scratch.otherwise == Verdict::PassNotServed as u32;
        return Ok(Exit::pass(if is_of_vip {
            Verdict::PassNotServed
        } else {
            Verdict::PassNotVip
        }));
    };
    let mut client = Aligned(packet.flow);
    client.source = reverse.client;
    client.source_port_be = reverse.client_port_be;
    client.destination = reverse.vip;
    client.destination_port_be = reverse.vip_port_be;
    // Looked up for its use to be seen, too: the table forgets what is not used, and this flow is.
    let forward = maps::nat_forward(&client);
    if let Some(forward) = forward
        && packet.is_syn_ack
    {
        clamp::accepted_from(frame, packet, &client, forward.backend);
    }
    let exit = match packet.family {
        Family::Ipv4 => send_back::<V4>(frame, packet, reverse),
        Family::Ipv6 => send_back::<V6>(frame, packet, reverse),
    }?;
    let (source, destination) = (reverse.vip, reverse.client);
    fragments::lead_to_client(scratch, Verdict::FullnatAnswer, source, destination);
    Ok(exit)
}

#[inline(always)]
fn send_back<I: Ip>(
    frame: &Frame,
    packet: &Packet,
    reverse: &NatReverse,
) -> Result<Exit, DropReason> {
    let headers = Headers::<I>::of(frame, packet)?;
    let new = Rewritten {
        source: I::of(&reverse.vip),
        destination: I::of(&reverse.client),
        ports: ports(reverse.vip_port_be, reverse.client_port_be),
    };
    route::send(frame, &headers, &new, Verdict::FullnatAnswer)
}

/// Both ports, as they stand in a header.
#[inline(always)]
const fn ports([a, b]: [u8; 2], [c, d]: [u8; 2]) -> u32 {
    u32::from_ne_bytes([a, b, c, d])
}

/// Finds the entry of a flow that is known and still has its server and its port.
#[inline(never)]
fn known(packet: &Packet, entry: &mut Aligned<NatForward>) -> Result<bool, DropReason> {
    let Some(found) = maps::nat_forward(&packet.flow) else {
        return Ok(false);
    };
    entry.0 = *found;
    if let Some(server) = maps::backend(entry.backend).and_then(|it| address(packet.family, it)) {
        let mut back = answers(packet, server, entry.backend_port_be);
        back.destination = entry.source;
        back.destination_port_be = entry.source_port_be;
        let client = client(packet, 0);
        // Looked up first, as it is nearly always there; that also keeps it in use while the client alone is sending.
        let holds = match maps::nat_reverse(&back) {
            Some(owner) => is_same(owner, &client),
            None => claim(&back, &client)?,
        };
        if holds {
            return Ok(true);
        }
    }
    maps::nat_forward_remove(&packet.flow);
    Ok(false)
}

/// Chooses a server, an address and a port for a flow, and writes both entries.
#[inline(never)]
fn admit(
    scratch: &Scratch,
    settings: &Settings,
    entry: &mut Aligned<NatForward>,
) -> Result<(), DropReason> {
    let Scratch {
        packet,
        service,
        server: id,
        ..
    } = scratch;
    let id = *id;
    if id == RingSlot::NONE {
        return Err(DropReason::NoBackend);
    }
    let backend = maps::backend(id).ok_or(DropReason::Internal)?;
    let server = address(packet.family, backend).ok_or(DropReason::NoBackendAddress)?;
    let hop = match packet.family {
        Family::Ipv4 => &backend.hop4,
        Family::Ipv6 => &backend.hop6,
    };
    if !hop.is_resolved() {
        return Err(DropReason::NextHopUnresolved);
    }
    entry.backend = id;
    entry.backend_port_be = dnat::port_or(
        service.backend_port_be,
        u16::from_ne_bytes(packet.flow.destination_port_be),
    )
    .to_ne_bytes();

    let candidates = Candidates::new(settings, packet)?;
    let client = client(packet, service.service);
    let mut back = answers(packet, server, entry.backend_port_be);
    for attempt in 0..NAT_PORT_TRIES {
        (back.destination, back.destination_port_be) = candidates.get(settings, attempt);
        if claim(&back, &client)? {
            entry.source = back.destination;
            entry.source_port_be = back.destination_port_be;
            return record(packet, entry, &back);
        }
    }
    Err(DropReason::NatPortsExhausted)
}

/// Writes the forward entry of a flow that has its port. Another CPU may have done the same a moment ago with another
/// port: then its entry holds, and ours is given back.
#[inline(always)]
fn record(
    packet: &Packet,
    entry: &mut Aligned<NatForward>,
    back: &Aligned<Flow>,
) -> Result<(), DropReason> {
    match maps::nat_forward_insert(&packet.flow, entry) {
        Some(Inserted::New) => Ok(()),
        Some(Inserted::Exists) => {
            if let Some(winner) = maps::nat_forward(&packet.flow) {
                if winner.source_port_be != back.destination_port_be
                    || winner.source.words() != back.destination.words()
                    || winner.backend != entry.backend
                {
                    maps::nat_reverse_remove(back);
                }
                entry.0 = *winner;
            }
            Ok(())
        }
        None => {
            maps::nat_reverse_remove(back);
            Err(DropReason::NatTableFull)
        }
    }
}

/// Takes the node's port that `back` answers to, unless another client's flow has it.
#[inline(always)]
fn claim(back: &Aligned<Flow>, client: &Aligned<NatReverse>) -> Result<bool, DropReason> {
    match maps::nat_reverse_insert(back, client) {
        Some(Inserted::New) => Ok(true),
        Some(Inserted::Exists) => {
            Ok(maps::nat_reverse(back).is_some_and(|owner| is_same(owner, client)))
        }
        None => Err(DropReason::NatTableFull),
    }
}

/// Whether two entries lead to the same flow.
#[inline(always)]
fn is_same(a: &NatReverse, b: &NatReverse) -> bool {
    let ports = |it: &NatReverse| {
        let ([a, b], [c, d]) = (it.client_port_be, it.vip_port_be);
        u64::from(u32::from_ne_bytes([a, b, c, d]))
    };
    // One comparison in the end: each branch here would double what the verifier has to follow.
    difference(&a.client, &b.client) | difference(&a.vip, &b.vip) | (ports(a) ^ ports(b)) == 0
}

/// Zero if two addresses are the same.
#[inline(always)]
fn difference(a: &Address, b: &Address) -> u64 {
    let ([a, b], [c, d]) = (V6::of(a), V6::of(b));
    (a ^ c) | (b ^ d)
}

/// Where a flow's answers go.
#[inline(always)]
fn client(packet: &Packet, service: u32) -> Aligned<NatReverse> {
    Aligned(NatReverse {
        client: packet.flow.source,
        vip: packet.flow.destination,
        client_port_be: packet.flow.source_port_be,
        vip_port_be: packet.flow.destination_port_be,
        service,
    })
}

/// The server's answers to a flow, before it is known where the node takes them.
#[inline(always)]
fn answers(packet: &Packet, server: Address, server_port_be: [u8; 2]) -> Aligned<Flow> {
    Aligned(Flow {
        source: server,
        destination: Address([0; 16]),
        source_port_be: server_port_be,
        destination_port_be: [0; 2],
        protocol: packet.flow.protocol,
        zero: [0; 3],
    })
}

#[inline(always)]
fn address(family: Family, backend: &Backend) -> Option<Address> {
    match family {
        Family::Ipv4 => backend.address4(),
        Family::Ipv6 => backend.address6(),
    }
}

/// All addresses and ports that the node sends from, counted through as one row.
struct Candidates {
    family: Family,
    start: u32,
    ports: NonZeroU32,
    count: NonZeroU32,
}

impl Candidates {
    #[inline(always)]
    fn new(settings: &Settings, packet: &Packet) -> Result<Self, DropReason> {
        let sources = match packet.family {
            Family::Ipv4 => settings.source4_count,
            Family::Ipv6 => settings.source6_count,
        };
        let sources = NonZeroU32::new(sources.min(SOURCES)).ok_or(DropReason::NoSourceAddress)?;
        let ports = NonZeroU32::new(settings.nat_port_count.min(1 << 16))
            .ok_or(DropReason::NatPortsExhausted)?;
        let count = ports.saturating_mul(sources);
        // Of the whole flow, whatever the affinity: one client's flows must not all begin at one port.
        let start = packet.flow.hash(&settings.ring_key) as u32 % count;
        Ok(Self {
            family: packet.family,
            start,
            ports,
            count,
        })
    }

    #[inline(always)]
    fn get(&self, settings: &Settings, attempt: u32) -> (Address, [u8; 2]) {
        let at = (self.start + attempt * STEP) % self.count;
        // The remainder holds by construction; written out, the verifier sees it too.
        let source = (at / self.ports) as usize % SOURCES_MAX;
        let address = match self.family {
            Family::Ipv4 => Address::from_ipv4(settings.source4[source]),
            Family::Ipv6 => Address(settings.source6[source]),
        };
        #[expect(clippy::cast_possible_truncation, reason = "ports end at 65535")]
        let port = (settings.nat_port_first + at % self.ports) as u16;
        (address, port.to_be_bytes())
    }
}
