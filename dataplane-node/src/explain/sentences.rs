//! What a packet meets, in words.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lbfabric_abi::{
    Address, Affinity, Backend, Endpoint, Mode, NextHop, Protocol, RateLimit, RingSlot, Session,
    SessionRecord, TOKEN_UNITS, VipPrefix, VipService,
};
use lbfabric_model::{ObjectKey, ObjectKind};

use super::{
    OTHER_PROTOCOL,
    told::{Choice, Delivery, LimitOf, Match, Packet, Step, Told},
    way::{ip, is_tcp_or_udp},
};
use crate::plan::Desired;

/// What things are called outside the maps.
pub(crate) struct Names<'a> {
    pub(crate) desired: &'a Desired,
    /// Interfaces by their index.
    pub(crate) links: BTreeMap<u32, &'a str>,
}

/// What the servers of a flow's slot, and of the flow, are called; empty where there is none.
pub(super) struct Servers {
    pub(super) current: String,
    pub(super) base: String,
    pub(super) entry: String,
    pub(super) chosen: String,
}

// === impl Names ===

impl Names<'_> {
    pub(super) fn service(&self, id: u32) -> String {
        self.object(ObjectKind::Service, id)
    }

    pub(super) fn pool(&self, id: u32) -> String {
        self.object(ObjectKind::Pool, id)
    }

    /// A server's name; its address, if it left its pool and keeps its flows.
    pub(super) fn server(&self, id: u32, backend: Option<&Backend>) -> String {
        let mut backends = self.desired.pools.values().flat_map(|pool| &pool.backends);
        if let Some(desired) = backends.find(|it| it.id.0 == id) {
            return desired.name.clone();
        }
        let address = backend.and_then(|it| it.address4().or_else(|| it.address6()));
        match address {
            Some(address) => ip(address).to_string(),
            None => format!("server {id}"),
        }
    }

    pub(super) fn hop(&self, hop: &NextHop) -> String {
        let link = match self.links.get(&hop.ifindex) {
            Some(name) => (*name).to_owned(),
            None => format!("interface {}", hop.ifindex),
        };
        let mac = hop.mac.map(|byte| format!("{byte:02x}")).join(":");
        format!("{link} {mac}")
    }

    fn object(&self, kind: ObjectKind, id: u32) -> String {
        let name = self.desired.names.get(&ObjectKey { kind, id });
        match name {
            Some(name) if !name.is_empty() => name.clone(),
            Some(_) | None => id.to_string(),
        }
    }
}

/// A sentence for each step, in the packet's order.
pub(super) fn all(
    packet: &Packet,
    told: &Told,
    servers: &Servers,
    names: &Names<'_>,
) -> Vec<String> {
    let text = Text {
        packet,
        told,
        servers,
        names,
    };
    told.steps.iter().map(|step| text.of(*step)).collect()
}

struct Text<'a> {
    packet: &'a Packet,
    told: &'a Told,
    servers: &'a Servers,
    names: &'a Names<'a>,
}

impl Text<'_> {
    fn of(&self, step: Step) -> String {
        let flow = &self.packet.flow;
        let (client, vip) = (ip(flow.source), ip(flow.destination));
        match step {
            Step::Filtered => format!("{vip} is no VIP: the address filter does not have it"),
            Step::NotVip => format!("{vip} is no VIP"),
            Step::NotServed => format!("{vip} is a VIP, but nothing serves {} there", self.port()),
            Step::OwnAddress => format!(
                "{vip} is the node's own, and no full-NAT session has an answer there: passed"
            ),
            Step::Answer(reverse) => format!(
                "{} is a server's endpoint: the source becomes {}, and the kernel's routing table says the way, or that there is none",
                SocketAddr::new(client, u16::from_be_bytes(flow.source_port_be)),
                match u16::from_be_bytes(reverse.vip_port_be) {
                    0 => ip(reverse.vip).to_string(),
                    port => SocketAddr::new(ip(reverse.vip), port).to_string(),
                }
            ),
            Step::SessionAnswer(session, record) => format!(
                "it is an answer in a full-NAT session: the source becomes {}, the destination {}",
                asked(&session, &record),
                SocketAddr::new(
                    ip(record.client),
                    u16::from_be_bytes(session.client_port_be)
                ),
            ),
            Step::ExactAnswer(session, record) => format!(
                "several VIPs end at this endpoint, and a session has the flow: the source becomes {}",
                asked(&session, &record)
            ),
            Step::UnknownAnswer => {
                "several VIPs end at this endpoint, and no session of this node says which one is answered: passed".to_owned()
            }
            Step::Service(found) => self.service(found),
            Step::Land => "source and destination are the same".to_owned(),
            Step::MartianSource => format!("no packet may come from {client}"),
            Step::VipSource => format!("{client} is a VIP, and no client"),
            Step::Client {
                is_listed,
                is_allowed,
            } => {
                let list = if is_listed { "a list" } else { "no list" };
                let may = if is_allowed { "may" } else { "may not" };
                format!("{list} of the service has {client}, which {may} use it")
            }
            Step::Limit {
                of,
                limit,
                has_room,
            } => limited(of, limit, has_room),
            Step::NotCounted => "limits count new flows, and this packet begins none".to_owned(),
            Step::Choice(choice) => self.choice(choice),
            Step::NotOfPool => format!(
                "{} is dead, or has left the pool, and the ring is about to change",
                self.servers.chosen
            ),
            Step::Clash(other, record) => format!(
                "{} could not tell it from the flow of the same client to {}, which is not over",
                self.servers.chosen,
                asked(&other, &record)
            ),
            Step::NoAddress => format!("{} has no address of the family", self.servers.chosen),
            Step::Unresolved => format!(
                "the next hop to {} is not resolved: its link-layer address is not known",
                self.servers.chosen
            ),
            Step::NoSource => "the node has no address of the family to send from".to_owned(),
            Step::Delivery(delivery) => self.delivery(delivery),
            Step::VipMoved => format!(
                "the node has just given {vip} up, and the connection is not one of its own: it is left to the node that has it"
            ),
            Step::ToPredecessor => format!(
                "the node holds {vip}, and the connection began before it did: the packet goes as it is to the node that held it before"
            ),
        }
    }

    /// The destination's port and protocol.
    fn port(&self) -> String {
        let flow = &self.packet.flow;
        let port = u16::from_be_bytes(flow.destination_port_be);
        if flow.protocol == Protocol::Tcp as u8 {
            format!("tcp port {port}")
        } else if is_tcp_or_udp(flow.protocol) {
            format!("udp port {port}")
        } else {
            "other protocols than tcp and udp".to_owned()
        }
    }

    fn service(&self, found: Match) -> String {
        let service = self.told.service.unwrap_or_default();
        let name = self.names.service(service.service);
        let vip = ip(self.packet.flow.destination);
        let port = self.port();
        let (what, any_protocol) = match found {
            Match::Port => return format!("service {name} serves {port} of {vip}"),
            Match::Range { any_protocol } => (format!("the ports of {vip}"), any_protocol),
            Match::Prefix {
                prefix,
                any_protocol,
            } => (format!("the ports of {}", cidr(prefix)), any_protocol),
        };
        let protocol = if any_protocol { ", any protocol" } else { "" };
        format!("service {name} serves {port}, which is among {what}{protocol}")
    }

    fn choice(&self, choice: Choice) -> String {
        let Servers {
            current,
            base,
            entry,
            chosen,
        } = self.servers;
        let none = |name: &str| match name {
            "" => "no server".to_owned(),
            name => name.to_owned(),
        };
        let (current, base) = (none(current), none(base));
        match choice {
            Choice::NoRing => "the pool has no ring".to_owned(),
            Choice::Slot { number, of } => self.slot(number, of),
            Choice::QuicFirst => {
                "a QUIC connection ID that names a living server of the pool decides before the slot does".to_owned()
            }
            Choice::Steady => format!("the slot is steady: all its flows are on {current}"),
            Choice::Known => format!("the flow table has the flow on {entry}, and it stays there"),
            Choice::Forgotten => format!(
                "the flow table has the flow on {entry}, which does not count: dead, gone to another pool, or silent too long"
            ),
            Choice::Unknown => "the flow table does not have the flow".to_owned(),
            Choice::ToCurrent => format!("a first packet goes to the slot's current server, {current}"),
            Choice::ToBase => format!("what the flow table does not have is on the slot's base server, {base}"),
            Choice::BaseIsDead => format!(
                "the slot's base server, {base}, is dead: the current one, {current}, takes its flows"
            ),
            Choice::AtAdmission if self.told.is_hairpin => {
                "full NAT has no session of the flow: it enters one".to_owned()
            }
            Choice::AtAdmission => format!(
                "full NAT has no session of the flow: it goes to the slot's current server, {current}"
            ),
            Choice::Hairpin => {
                "the client is in the server's own subnet, and would be answered past the node: it is served by full NAT"
                    .to_owned()
            }
            Choice::Session => {
                let port = self.told.session.map_or([0; 2], |it| it.node_port_be);
                format!(
                    "full NAT has a session of the flow, from port {} of the node: it stays on {chosen}",
                    u16::from_be_bytes(port)
                )
            }
            Choice::ExactAtAdmission => {
                "several VIPs end at the servers' endpoints, and no session has the flow: it enters one".to_owned()
            }
            Choice::ExactSession => {
                format!("a session has the flow, for its answers: it stays on {chosen}")
            }
            Choice::NoServer => "there is no server: the pool is empty, or every weight is 0".to_owned(),
        }
    }

    fn slot(&self, number: u32, of: u32) -> String {
        let VipService {
            affinity,
            pool,
            mode,
            ..
        } = self.told.service.unwrap_or_default();
        let pool = self.names.pool(pool);
        let (mode, affinity_text) = (mode_name(mode), affinity_name(affinity));
        let slot = self.told.slot.map(|(_, slot)| slot);
        let servers = if slot.is_some_and(RingSlot::is_changed) {
            let Servers { current, base, .. } = self.servers;
            format!(" (current {current}, base {base})")
        } else {
            String::new()
        };
        let by_protocol =
            affinity != Affinity::Source as u8 && affinity != Affinity::SourceDestination as u8;
        let note = if self.packet.flow.protocol == OTHER_PROTOCOL && by_protocol {
            format!("; that of protocol {OTHER_PROTOCOL}, another number may have another slot")
        } else {
            String::new()
        };
        format!(
            "mode {mode}, affinity {affinity_text}: slot {number} of {of} of pool {pool}{servers}{note}"
        )
    }

    fn delivery(&self, delivery: Delivery) -> String {
        match delivery {
            Delivery::Dnat(to) => format!("the destination becomes {}", endpoint(&to)),
            Delivery::Fullnat(to) => format!(
                "the destination becomes {}; the source an address and port of the node, chosen at admission",
                endpoint(&to)
            ),
            Delivery::Dsr => format!(
                "the packet stays as it is, and goes to the link-layer address of {}",
                self.servers.chosen
            ),
            Delivery::Tunnel { is_gue, from, to } => {
                let by = if is_gue { "GUE" } else { "IP in IP" };
                format!(
                    "the packet goes inside {by}, from {} to {}",
                    ip(from),
                    ip(to)
                )
            }
        }
    }
}

/// The VIP and the port that the client of a session has asked.
fn asked(session: &Session, record: &SessionRecord) -> SocketAddr {
    SocketAddr::new(ip(record.vip), u16::from_be_bytes(session.vip_port_be))
}

fn limited(of: LimitOf, limit: RateLimit, has_room: bool) -> String {
    let whose = match of {
        LimitOf::Client => "the client",
        LimitOf::Service => "the service",
    };
    let room = if has_room {
        "there is room for this one"
    } else {
        "there is no room for this one now"
    };
    let rate = rate(&limit);
    format!("{whose} may have {rate} new flows a second: {room}")
}

fn endpoint(to: &Endpoint) -> String {
    let address = ip(to.address);
    if is_tcp_or_udp(to.protocol) {
        SocketAddr::new(address, u16::from_be_bytes(to.port_be)).to_string()
    } else {
        address.to_string()
    }
}

fn cidr(VipPrefix { address, bits }: VipPrefix) -> String {
    let address = ip(address);
    let bits = match address {
        IpAddr::V4(_) => bits.saturating_sub(Address::BITS - 32),
        IpAddr::V6(_) => bits,
    };
    format!("{address}/{bits}")
}

fn rate(limit: &RateLimit) -> u64 {
    (1_000_000_000 * TOKEN_UNITS)
        .checked_div(limit.interval)
        .unwrap_or_default()
}

fn mode_name(mode: u8) -> &'static str {
    const NAMES: [(Mode, &str); 4] = [
        (Mode::Dnat, "l4-dnat"),
        (Mode::Fullnat, "l4-fullnat"),
        (Mode::Dsr, "l4-dsr"),
        (Mode::Tunnel, "l4-tunnel"),
    ];
    let found = NAMES.iter().find(|(it, _)| *it as u8 == mode);
    found.map_or("unknown", |(_, name)| name)
}

fn affinity_name(affinity: u8) -> &'static str {
    const NAMES: [(Affinity, &str); 4] = [
        (Affinity::FiveTuple, "five-tuple"),
        (Affinity::Source, "source"),
        (Affinity::SourceDestination, "source-destination"),
        (Affinity::QuicCid, "quic-cid"),
    ];
    let found = NAMES.iter().find(|(it, _)| *it as u8 == affinity);
    found.map_or("unknown", |(_, name)| name)
}
