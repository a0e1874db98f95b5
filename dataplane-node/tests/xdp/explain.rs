//! Row 47: what the agent says of a packet is what the programs do with it. Random packets are explained, sent, and compared,
//! while pools, checks, affinities and ways change.

use std::{
    collections::BTreeMap,
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use etherparse::{EtherType, IpNumber};
use lbfabric_abi::{FLOW_WAYS, FlowBucket, FlowEntry, Protocol, RingSlot};
use lbfabric_proto::v1;

use super::{
    explained_fabric::{Fabric, addresses, server_of},
    generator::Random,
    kernel::{INGRESS, Kernel, Program, Sizes},
    network::in_network,
    packets::{NODE_MAC, Packet, ROUTER_MAC, ethernet, ipv4, ipv6},
    reference::{What, read},
};

const PACKETS: usize = 20_000;
/// A change comes after as many packets, on average.
const PACKETS_PER_CHANGE: usize = 25;

const RINGS: u32 = 4096;
/// Of them, with the rings of the first pools.
const RINGS_IN_USE: usize = 600;
const FLOW_BUCKETS: usize = 256;

/// What every run has to reach, or it has shown nothing: names of counters, and words of sentences.
const REACHED: [&str; 37] = [
    "pass-not-vip",
    "pass-not-served",
    "l4-dnat",
    "l4-fullnat",
    "l4-dsr",
    "l4-tunnel",
    "drop-martian",
    "drop-land",
    "drop-no-backend",
    "drop-no-backend-address",
    "drop-next-hop-unresolved",
    "drop-denied",
    "drop-source-limit",
    "drop-service-limit",
    "l4-dnat-answer",
    "which may not use it",
    "begins none",
    "all its flows are on",
    "it stays there",
    "which does not count",
    "does not have the flow",
    "a first packet goes to",
    "is on the slot's base server",
    "is dead: the current one",
    "has no session of the flow",
    "inside GUE",
    "inside IP in IP",
    "any protocol",
    "which is among the ports of 203.0.114.0/28",
    "the node's own",
    "has a session of the flow",
    "in the server's own subnet",
    "drop-exact-state-clash",
    "no session has the flow: it enters one",
    "a session has the flow, for its answers",
    "a session has the flow: the source becomes",
    "which one is answered: passed",
];

/// Whatever else it may be.
const OTHER: u8 = 253;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    from: SocketAddr,
    to: SocketAddr,
    protocol: u8,
    is_established: bool,
}

impl Question {
    fn random(random: &mut Random) -> Self {
        let is_ipv4 = random.one_in(2);
        let protocol = random.pick(&[6, 6, 6, 17, 17, OTHER]);
        let port = random.pick(&[80, 80, 81, 95, 89, 53, 5000, 5999, 6000, 22]);
        let mut from = SocketAddr::new(
            client(random, is_ipv4),
            1024 + u16::from(random.byte()) % 64,
        );
        let mut to = SocketAddr::new(vip(random, is_ipv4), port);
        if random.one_in(8) {
            // To several VIPs at one port of the servers, from few ports, so that they are met again.
            to = SocketAddr::new(exact_vip(random, is_ipv4), 70);
            from.set_port(1024 + u16::from(random.byte()) % 2);
        }
        match random.below(24) {
            0 => to.set_ip(odd(random, is_ipv4)),
            1 => from.set_ip(odd(random, is_ipv4)),
            2 => {
                let n = u32::try_from(random.below(6)).unwrap();
                let server = 8 * random.pick(&[1, 2, 7]) + n;
                let [v4, v6] = addresses(server);
                if let Some(address) = if is_ipv4 { v4 } else { v6 } {
                    from = SocketAddr::new(address, random.pick(&[8080, 5000, 5100, 8070, 9]));
                    to = SocketAddr::new(client(random, is_ipv4), 1024);
                }
            }
            3 => from.set_ip(to.ip()),
            _ => {}
        }
        if protocol == OTHER {
            (from, to) = (SocketAddr::new(from.ip(), 0), SocketAddr::new(to.ip(), 0));
        }
        Self {
            from,
            to,
            protocol,
            is_established: protocol == 6 && random.one_in(2),
        }
    }

    fn spec(&self) -> v1::PacketQuestion {
        let protocol = match self.protocol {
            6 => v1::Protocol::Tcp,
            17 => v1::Protocol::Udp,
            _ => v1::Protocol::Any,
        };
        v1::PacketQuestion {
            source: self.from.to_string(),
            destination: self.to.to_string(),
            protocol: protocol.into(),
            established: self.is_established,
            request: None,
        }
    }

    fn frame(&self) -> Vec<u8> {
        let protocol = match self.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return self.bare_frame(),
        };
        let packet = Packet::new(protocol, self.from, self.to);
        if self.is_established {
            packet.established().build()
        } else {
            packet.build()
        }
    }

    /// Of a protocol without ports.
    fn bare_frame(&self) -> Vec<u8> {
        const PAYLOAD: [u8; 30] = [7; 30];
        let number = IpNumber(self.protocol);
        let (kind, header) = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = ipv4(number, from.octets(), to.octets(), PAYLOAD.len());
                header.header_checksum = header.calc_header_checksum();
                (EtherType::IPV4, header.to_bytes().to_vec())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = ipv6(number, from.octets(), to.octets(), PAYLOAD.len());
                (EtherType::IPV6, header.to_bytes().to_vec())
            }
            mixed => panic!("not one family: {mixed:?}"),
        };
        let link = ethernet(ROUTER_MAC, NODE_MAC, kind);
        [link, header, PAYLOAD.to_vec()].concat()
    }
}

/// One of a few, so that flows are met again.
fn client(random: &mut Random, is_ipv4: bool) -> IpAddr {
    let (net, n) = (random.pick(&[1, 2, 3, 4]), random.byte() % 16);
    if random.one_in(8) {
        // Beside the servers of the first pools, or one of them.
        return if is_ipv4 {
            Ipv4Addr::new(10, 2, net, n).into()
        } else {
            Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, net.into(), n.into()).into()
        };
    }
    if is_ipv4 {
        Ipv4Addr::new(198, 51, net, n).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, net.into(), n.into()).into()
    }
}

fn vip(random: &mut Random, is_ipv4: bool) -> IpAddr {
    let n = random.pick(&[10, 10, 10, 26, 27]);
    let in_prefix = random.pick(&[0, 5, 15, 16, 200, 255]);
    match (is_ipv4, random.one_in(3)) {
        (true, false) => Ipv4Addr::new(203, 0, 113, n).into(),
        (true, true) => Ipv4Addr::new(203, 0, 114, in_prefix).into(),
        (false, false) => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, n.into()).into(),
        (false, true) => Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, in_prefix.into()).into(),
    }
}

fn exact_vip(random: &mut Random, is_ipv4: bool) -> IpAddr {
    let n = random.pick(&[40, 41]);
    if is_ipv4 {
        Ipv4Addr::new(203, 0, 113, n).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, n.into()).into()
    }
}

/// An address that packets rarely have.
fn odd(random: &mut Random, is_ipv4: bool) -> IpAddr {
    let v4 = [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.5",
        "240.1.2.3",
        "203.0.113.26",
        "203.0.115.1",
        "10.1.0.1",
        "10.1.0.2",
    ];
    let v6 = [
        "::",
        "::1",
        "ff02::1",
        "2001:db8:f::1a",
        "2001:db8:f::99",
        "::ffff:203.0.113.10",
        "fd00:1::1",
        "fd00:1::2",
    ];
    let text = if is_ipv4 {
        random.pick(&v4)
    } else {
        random.pick(&v6)
    };
    text.parse().unwrap()
}

/// What a packet came to.
struct Outcome {
    counter: &'static str,
    frame: Vec<u8>,
}

struct Run {
    kernel: Kernel,
    fabric: Fabric,
    counters: BTreeMap<&'static str, u64>,
    reached: BTreeMap<String, usize>,
}

impl Run {
    fn send(&mut self, frame: &[u8]) -> Outcome {
        let (_, frame) = self.kernel.run_uncounted(Program::Lb, frame, INGRESS);
        let counters = self.fabric.agent.keeper.counters().unwrap();
        let moved: Vec<&'static str> = counters
            .iter()
            .filter(|(name, count)| {
                !name.starts_with("flow-") && self.counters.get(*name) != Some(*count)
            })
            .map(|(name, _)| *name)
            .collect();
        let [counter] = moved[..] else {
            panic!("not one counter moved: {moved:?}");
        };
        self.counters = counters;
        Outcome { counter, frame }
    }

    /// Puts into rings and flow table what the agent leaves there for a moment only, if ever: slots with a base server that is
    /// dead, and flows of servers that are dead, of other pools, or not there.
    fn disturb(&mut self, random: &mut Random) {
        let mut server = || 8 + u32::try_from(random.below(56)).unwrap();
        let slots: Vec<_> = (0..4)
            .map(|_| RingSlot::changed(server(), server()))
            .collect();
        let servers: Vec<_> = (0..FLOW_WAYS).map(|_| server()).collect();
        let mut rings = self.kernel.array::<RingSlot>("RINGS");
        for slot in slots {
            let index = u32::try_from(random.below(RINGS_IN_USE)).unwrap();
            rings.set(index, slot, 0).unwrap();
        }
        let mut flows = self.kernel.array::<FlowBucket>("FLOWS");
        let place = u32::try_from(random.below(FLOW_BUCKETS)).unwrap();
        let mut bucket = flows.get(&place, 0).unwrap();
        for (entry, server) in bucket.entries.iter_mut().zip(servers) {
            if !entry.is_free() {
                *entry = FlowEntry::new(entry.tag(), server, entry.tick(), entry.is_syn_only());
            }
        }
        flows.set(place, bucket, 0).unwrap();
    }

    /// Asks, sends, and compares.
    fn check(&mut self, question: &Question) -> Result<(), String> {
        let answer = self.fabric.agent.keeper.explain(&question.spec())?;
        let Outcome { counter, frame } = self.send(&question.frame());
        let said = [&answer.verdict, &answer.drop_reason].map(String::as_str);
        let is_right = match said {
            // The kernel's routing table decides, and the answer says so.
            ["l4-dnat-answer", ""] => {
                ["l4-dnat-answer", "pass-to-route", "drop-no-route"].contains(&counter)
            }
            [verdict, ""] => verdict == counter,
            ["", reason] => reason == counter,
            _ => false,
        };
        let wrong = |what: &str| Err(format!("{what}: {counter}\n{answer:#?}"));
        if !is_right {
            return wrong("verdict");
        }
        let sent_by = ["l4-dnat", "l4-fullnat", "l4-dsr", "l4-tunnel"];
        if sent_by.contains(&counter) {
            let mac = frame[..6].iter().map(|byte| format!("{byte:02x}"));
            let mac = mac.collect::<Vec<_>>().join(":");
            let id = server_of(&frame[..6]).ok_or("no server's link-layer address")?;
            let names: Vec<String> = addresses(id)
                .into_iter()
                .flatten()
                .map(|it| it.to_string())
                .chain([format!("s{id}")])
                .collect();
            if !names.contains(&answer.server) || answer.next_hop != format!("interface 77 {mac}") {
                return wrong("server or next hop");
            }
            let last = answer.steps.last().cloned().unwrap_or_default();
            if !last.contains(&becomes(counter, &frame)) {
                return wrong("what becomes of it");
            }
        } else if !answer.next_hop.is_empty() {
            return wrong("it goes nowhere");
        }
        let said = said.into_iter().filter(|text| !text.is_empty());
        *self.reached.entry(said.collect()).or_default() += 1;
        for words in REACHED {
            if answer.steps.iter().any(|step| step.contains(words)) {
                *self.reached.entry(words.to_owned()).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// What the frame says that the packet has become, as the last sentence has it.
fn becomes(counter: &str, frame: &[u8]) -> String {
    let seen = read(frame).unwrap();
    match (counter, seen.what) {
        ("l4-tunnel", _) => format!("from {} to {}", seen.source, seen.destination),
        ("l4-dsr", _) => "the packet stays as it is".to_owned(),
        (_, What::Ports(_, _, port)) => {
            format!(
                "the destination becomes {}",
                SocketAddr::new(seen.destination, port)
            )
        }
        (_, other) => panic!("{counter}: {other:?}"),
    }
}

#[test]
fn row_47_the_explanation_is_what_the_programs_do() {
    let seed = env::var("EXPLAIN_SEED").map_or(1, |text| text.parse().unwrap());
    in_network(move |_network| {
        let mut kernel = Kernel::load_with(Sizes {
            ring_slots: RINGS,
            flow_buckets: u32::try_from(FLOW_BUCKETS).unwrap(),
            ..Sizes::default()
        });
        let fabric = Fabric::new(&mut kernel);
        let counters = fabric.agent.keeper.counters().unwrap();
        let mut run = Run {
            kernel,
            fabric,
            counters,
            reached: BTreeMap::new(),
        };
        let mut random = Random(seed);
        for n in 0..PACKETS {
            if random.one_in(PACKETS_PER_CHANGE) {
                run.fabric.change(&mut random);
            }
            run.disturb(&mut random);
            let question = Question::random(&mut random);
            let mut checked = run.check(&question);
            if let Err(why) = &checked
                && (why.contains("-limit") || why.contains("-clash"))
            {
                // A token may have come back between the question and the packet, or another flow's time have run out.
                checked = run.check(&question);
            }
            if let Err(why) = checked {
                panic!("packet {n} of seed {seed}: {question:?}: {why}");
            }
        }
        for name in REACHED {
            assert!(
                run.reached.contains_key(name),
                "{name} was never reached: {:#?}",
                run.reached
            );
        }
    });
}
