//! What must become of a frame: the reference's word on a small fabric with a service of each mode, ranges, and routes.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use lbfabric_abi::{Affinity, Flow, Mode, slot_of};

use super::{
    fabric::{Family, OTHER_SERVER, RING_KEY, RING_SLOTS, SERVER},
    nat_flows::{Ends, NatFlows},
    reference::{Odd, Seen, What, is_martian, read},
};

/// Where the first fragment went, or what is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    Pass,
    Drop,
    /// Back to whom it came from, as an ICMP message about it, or its answer.
    Back,
    /// To a server.
    Server(Mode, u32),
    /// To a server from this address of the node.
    Node(SocketAddr, u32),
    /// To a client, from this VIP; which of the two kinds of answers.
    Client {
        from: SocketAddr,
        to: SocketAddr,
        is_dnat: bool,
    },
}

/// What must become of a frame. Rarely more than one thing: where the kernel's tables may have forgotten.
pub(crate) struct Expected {
    pub(crate) seen: Option<Seen>,
    pub(crate) ways: Vec<(&'static str, Way)>,
}

type Key = (IpAddr, IpAddr, u32, u8);

/// The fabric, and what it remembers.
#[derive(Default)]
pub(crate) struct Reference {
    /// Where first fragments went: when, and as which of all.
    leads: HashMap<Key, (Instant, u64, Way)>,
    led: u64,
    pub(crate) nat: NatFlows,
}

/// Ports of the VIPs, by mode; each protocol has them.
pub(crate) const PORTS: [(u16, Mode); 4] = [
    (80, Mode::Dnat),
    (81, Mode::Fullnat),
    (82, Mode::Dsr),
    (83, Mode::Tunnel),
];
/// A range by DNAT, whose ports stay.
pub(crate) const RANGE: std::ops::Range<u16> = 0x4000..0x5000;
/// Where the servers of the DNAT service on port 80 listen.
pub(crate) const DNAT_PORT: u16 = 8080;

/// Fragments follow for fifteen seconds, as long as so few packets are under way that none is forgotten.
const CERTAIN: Duration = Duration::from_secs(5);
const FORGOTTEN: Duration = Duration::from_secs(16);
/// A quarter of what the program remembers of fragments: the kernel gives up what is old, and not quite in order.
const LEADS_CERTAIN: u64 = 4096;
/// What becomes of flows that full NAT has no room for.
pub(crate) const NO_ROOM: [&str; 2] = ["drop-nat-ports-exhausted", "drop-nat-table-full"];

/// The server in a ring slot.
pub(crate) fn ring() -> Vec<u32> {
    let servers = [SERVER, OTHER_SERVER];
    servers
        .into_iter()
        .cycle()
        .take(RING_SLOTS as usize)
        .collect()
}

pub(crate) fn family(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

pub(crate) fn server(id: u32, family: Family) -> IpAddr {
    if id == SERVER {
        family.server().ip()
    } else {
        family.other_server().ip()
    }
}

/// The server's port for one of the VIP's.
pub(crate) const fn server_port(destination: u16) -> u16 {
    match destination {
        80 => DNAT_PORT,
        other => other,
    }
}

impl Reference {
    pub(crate) fn expect(&self, frame: &[u8]) -> Expected {
        let seen = match read(frame) {
            Ok(seen) => seen,
            Err(odd) => {
                let names = match odd {
                    Odd::NotIp => vec!["pass-not-ip"],
                    Odd::Arp => vec!["pass-arp"],
                    Odd::Short => vec!["pass-not-vip"],
                    // Nobody asks for the version of what concerns nobody.
                    Odd::Version => vec!["pass-not-ip", "pass-not-vip"],
                };
                let ways = names.into_iter().map(|name| (name, Way::Pass)).collect();
                return Expected { seen: None, ways };
            }
        };
        let ways = self.ways(frame, &seen);
        Expected {
            seen: Some(seen),
            ways,
        }
    }

    fn ways(&self, frame: &[u8], seen: &Seen) -> Vec<(&'static str, Way)> {
        let family = family(seen.destination);
        let is_vip = seen.destination == family.vip().ip();
        let otherwise = if is_vip {
            "pass-not-served"
        } else {
            "pass-not-vip"
        };
        let pass = vec![(otherwise, Way::Pass)];
        match seen.what {
            What::Broken(reason) if is_vip => vec![(reason, Way::Drop)],
            What::Other(protocol) if protocol == icmp(family) && seen.identification.is_none() => {
                control(frame, seen, is_vip)
            }
            What::Broken(_) | What::Other(_) => pass,
            What::Later(protocol) => self.follow(seen, protocol, is_vip),
            What::Ports(protocol, source, destination) => {
                let from = SocketAddr::new(seen.source, source);
                let to = SocketAddr::new(seen.destination, destination);
                if is_vip && let Some(mode) = mode(destination) {
                    return self.serve(frame, seen, mode, (from, to, protocol));
                }
                if to.ip() == family.node() {
                    self.answer((from, to, protocol), seen, otherwise)
                } else if !is_vip && let Some(vip) = answered(from) {
                    let way = Way::Client {
                        from: vip,
                        to,
                        is_dnat: true,
                    };
                    Self::sent(way, seen)
                } else {
                    pass
                }
            }
        }
    }

    fn serve(
        &self,
        frame: &[u8],
        seen: &Seen,
        mode: Mode,
        (from, to, protocol): (SocketAddr, SocketAddr, u8),
    ) -> Vec<(&'static str, Way)> {
        if frame[0] & 1 != 0 {
            return vec![("drop-martian", Way::Drop)];
        }
        if from.ip() == to.ip() {
            return vec![("drop-land", Way::Drop)];
        }
        if is_martian(from.ip()) {
            return vec![("drop-martian", Way::Drop)];
        }
        let flow = Flow {
            source: from.ip().into(),
            destination: to.ip().into(),
            source_port_be: from.port().to_be_bytes(),
            destination_port_be: to.port().to_be_bytes(),
            protocol,
            zero: [0; 3],
        };
        let hash = flow.affinity_hash(&RING_KEY, Affinity::FiveTuple as u8);
        let id = ring()[slot_of(hash, RING_SLOTS) as usize];
        // A server that gets its own packet would answer itself.
        let is_hairpin = mode == Mode::Dnat && from.ip() == server(id, family(from.ip()));
        if mode == Mode::Fullnat || is_hairpin {
            if let Some(node) = self.nat.node(&(from, to, protocol)) {
                return Self::sent(Way::Node(node, id), seen);
            }
            // Port 0: not known yet.
            let node = SocketAddr::new(family(from.ip()).node(), 0);
            let mut ways = Self::sent(Way::Node(node, id), seen);
            if self.nat.is_crowded() {
                ways.extend(NO_ROOM.map(|name| (name, Way::Drop)));
            }
            return ways;
        }
        Self::sent(Way::Server(mode, id), seen)
    }

    /// A packet to the node's own address.
    fn answer(
        &self,
        answer: Ends,
        seen: &Seen,
        otherwise: &'static str,
    ) -> Vec<(&'static str, Way)> {
        let passes = (otherwise, Way::Pass);
        let Some((client, vip, is_certain)) = self.nat.client(&answer) else {
            return vec![passes];
        };
        let way = Way::Client {
            from: vip,
            to: client,
            is_dnat: false,
        };
        let mut ways = Self::sent(way, seen);
        if !is_certain {
            ways.push(passes);
        }
        ways
    }

    fn follow(&self, seen: &Seen, protocol: u8, is_vip: bool) -> Vec<(&'static str, Way)> {
        let without = if is_vip {
            ("drop-fragment", Way::Drop)
        } else {
            ("pass-not-vip", Way::Pass)
        };
        let Some((made, number, way)) = key(seen, protocol).and_then(|key| self.leads.get(&key))
        else {
            return vec![without];
        };
        let mut ways = if made.elapsed() > FORGOTTEN {
            Vec::new()
        } else {
            Self::sent(*way, seen)
        };
        if made.elapsed() > CERTAIN || self.led - number > LEADS_CERTAIN {
            ways.push(without);
        }
        ways
    }

    /// The names under which a packet goes this way.
    fn sent(way: Way, seen: &Seen) -> Vec<(&'static str, Way)> {
        match way {
            Way::Pass => vec![("pass-not-served", way)],
            Way::Drop | Way::Back => unreachable!("no fragment goes ahead there"),
            Way::Server(Mode::Dsr, _) => vec![("l4-dsr", way)],
            Way::Server(Mode::Tunnel, _) if is_too_big(seen) => {
                told(seen, "icmp-too-big", "drop-too-big")
            }
            Way::Server(Mode::Tunnel, _) => vec![("l4-tunnel", way)],
            Way::Client { .. } if seen.ttl <= 1 => vec![("drop-ttl-expired", Way::Drop)],
            _ if seen.ttl <= 1 => told(seen, "icmp-time-exceeded", "drop-ttl-expired"),
            Way::Server(..) => vec![("l4-dnat", way)],
            Way::Node(..) => vec![("l4-fullnat", way)],
            // Which of them, the routing table says.
            Way::Client { is_dnat, .. } => {
                let name = if is_dnat {
                    "l4-dnat-answer"
                } else {
                    "l4-fullnat-answer"
                };
                vec![
                    (name, way),
                    ("pass-to-route", way),
                    ("drop-no-route", Way::Drop),
                ]
            }
        }
    }

    /// Takes notice of where a frame went: `way` with the node's port if there is one.
    pub(crate) fn went(&mut self, frame: &[u8], seen: &Seen, way: Way) {
        let What::Ports(protocol, source, destination) = seen.what else {
            if let What::Other(protocol) = seen.what {
                self.lead(seen, protocol, way);
            }
            return;
        };
        self.lead(seen, protocol, way);
        let from = SocketAddr::new(seen.source, source);
        let to = SocketAddr::new(seen.destination, destination);
        let ends = (from, to, protocol);
        let flags = match protocol {
            6 => frame.get(seen.l4 + 13).copied().unwrap_or(0),
            _ => 0,
        };
        match way {
            Way::Node(node, id) => {
                let port = server_port(destination);
                let server = SocketAddr::new(server(id, family(from.ip())), port);
                self.nat.forwarded(ends, node, server, flags);
            }
            Way::Client { is_dnat: false, .. } => self.nat.answered(&ends, flags),
            Way::Pass => self.nat.passed(&ends),
            Way::Client { is_dnat: true, .. } | Way::Drop | Way::Back | Way::Server(..) => {}
        }
    }

    fn lead(&mut self, seen: &Seen, protocol: u8, way: Way) {
        let is_vip = seen.destination == family(seen.destination).vip().ip();
        // What is not for a VIP passes in any case, unless it is an answer.
        let is_led = match way {
            Way::Drop | Way::Back => false,
            Way::Pass => is_vip,
            Way::Server(..) | Way::Node(..) | Way::Client { .. } => true,
        };
        if is_led && let Some(key) = key(seen, protocol) {
            self.led += 1;
            self.leads.insert(key, (Instant::now(), self.led, way));
        }
    }
}

/// The control protocol of a version of IP.
const fn icmp(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 58,
    }
}

/// A packet of it. Whatever a generated one quotes, it is nothing that the node knows.
fn control(frame: &[u8], seen: &Seen, is_vip: bool) -> Vec<(&'static str, Way)> {
    let not_served = ("pass-not-served", Way::Pass);
    let is_discovery = seen.source.is_ipv6() && matches!(frame.get(seen.l4), Some(135 | 136));
    if is_discovery && seen.end - seen.l4 >= 8 {
        return vec![("pass-nd", Way::Pass)];
    }
    if !is_vip {
        return vec![("pass-not-vip", Way::Pass)];
    }
    if seen.end - seen.l4 < 8 {
        return vec![("drop-truncated", Way::Drop)];
    }
    let (asks, errors, header) = match family(seen.source) {
        Family::V4 => (8, [3, 11, 12, 12], 20),
        Family::V6 => (128, [1, 2, 3, 4], 40),
    };
    let kind = frame[seen.l4];
    if errors.contains(&kind) {
        // Unless it is about a packet of another protocol.
        return vec![("drop-bad-quote", Way::Drop), not_served];
    }
    let is_plain = seen.l4 - seen.ip == header;
    if kind == asks && is_plain && !is_martian(seen.source) && seen.source != seen.destination {
        vec![("icmp-echo-reply", Way::Back)]
    } else {
        vec![not_served]
    }
}

/// Whether a packet, which came over a link of 1500 bytes, is too long to go on inside another one.
fn is_too_big(seen: &Seen) -> bool {
    let outer = if seen.source.is_ipv4() { 20 } else { 40 };
    (1500 - outer + 1..=1500).contains(&(seen.end - seen.ip))
}

/// What becomes of a packet that cannot go on. Nobody is told of fragments but the first, and of no more than so many.
fn told(seen: &Seen, tells: &'static str, drops: &'static str) -> Vec<(&'static str, Way)> {
    if matches!(seen.what, What::Later(_)) {
        return vec![(drops, Way::Drop)];
    }
    vec![(tells, Way::Back), ("drop-icmp-rate-limit", Way::Drop)]
}

fn key(seen: &Seen, protocol: u8) -> Option<Key> {
    let protocol = if seen.source.is_ipv4() { protocol } else { 0 };
    Some((
        seen.source,
        seen.destination,
        seen.identification?,
        protocol,
    ))
}

fn mode(port: u16) -> Option<Mode> {
    let single = PORTS.iter().find(|(single, _)| *single == port);
    let range = RANGE.contains(&port).then_some(Mode::Dnat);
    single.map(|(_, mode)| *mode).or(range)
}

/// The VIP that a server's endpoint answers for, by DNAT.
fn answered(from: SocketAddr) -> Option<SocketAddr> {
    let family = family(from.ip());
    let is_server = [SERVER, OTHER_SERVER]
        .iter()
        .any(|id| server(*id, family) == from.ip());
    let port = match from.port() {
        DNAT_PORT => 80,
        port if RANGE.contains(&port) => port,
        _ => return None,
    };
    is_server.then(|| SocketAddr::new(family.vip().ip(), port))
}
