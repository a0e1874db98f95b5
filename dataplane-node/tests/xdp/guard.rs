//! Protection: who may use a service, and how many new flows it takes. Rows 33 and 35 of the checklist.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::Key;
use lbfabric_abi::{
    FLOW_WAYS, FlowBucket, FlowKey, Guard, Mode, Protocol, RateLimit, RingSlot, SOURCE_TOKEN_SETS,
    SourcePrefix, SourceTokens, VipService,
};

use super::{
    fabric::{
        CASES, FLOW_KEY, Fabric, Family, OTHER_SERVER, RING_SLOTS, RING_START, SERVER, SERVICE,
        request, service,
    },
    kernel::{Action, FLOW_BUCKETS, INGRESS, Program},
    packets::Packet,
    selection::flow,
};

/// A bucket to which no token comes back while a test runs.
fn only(burst: u32) -> RateLimit {
    let interval = RateLimit::new(1, 1).interval * 600;
    RateLimit {
        interval,
        depth: interval * u64::from(burst),
    }
}

fn guarded(mode: Mode, guard: Guard) -> Fabric {
    let mut fabric = Fabric::new(mode);
    fabric.guard(guard);
    let service = VipService {
        flags: VipService::GUARDED,
        guard: SERVICE,
        ..service(mode)
    };
    for (family, protocol) in CASES {
        fabric.serve(family.vip(), protocol, service);
    }
    fabric
}

fn open() -> Guard {
    Guard {
        others: SourcePrefix::ALLOWED,
        ..Guard::default()
    }
}

impl Fabric {
    fn guard(&mut self, guard: Guard) {
        self.kernel
            .hash::<u32, Guard>("GUARDS")
            .insert(SERVICE, guard, 0)
            .unwrap();
    }

    /// A rule on a prefix, with its length in the family's own bits.
    fn rule(&mut self, prefix: &str, rule: u32) {
        let (address, bits) = prefix.split_once('/').unwrap();
        let address: IpAddr = address.parse().unwrap();
        let before = SourcePrefix::ADDRESS_AT + if address.is_ipv4() { 96 } else { 0 };
        let key = Key::new(
            before + bits.parse::<u32>().unwrap(),
            SourcePrefix::new(SERVICE, address.into()),
        );
        self.kernel
            .trie::<SourcePrefix, u32>("SOURCE_RULES")
            .insert(&key, rule, 0)
            .unwrap();
    }

    fn counter_of(&self, packet: &Packet) -> &'static str {
        self.lb(&packet.build()).counter.unwrap()
    }

    fn is_let_through(&self, packet: &Packet) -> bool {
        let (action, _) = self
            .kernel
            .run_uncounted(Program::Lb, &packet.build(), INGRESS);
        action == Action::Redirect
    }
}

/// A SYN, or another flow's first UDP packet, from a port.
fn first(family: Family, protocol: Protocol, port: u16) -> Packet {
    request(family, protocol).from(SocketAddr::new(family.client().ip(), port))
}

fn from(packet: Packet, address: IpAddr) -> Packet {
    let port = packet.source.port();
    packet.from(SocketAddr::new(address, port))
}

#[test]
fn the_longest_prefix_decides_who_may_come() {
    const A: u32 = SourcePrefix::ALLOWED;
    const D: u32 = SourcePrefix::DENIED;
    let rules = [
        ("198.51.100.0/24", D),
        ("198.51.100.128/25", A),
        ("198.51.100.130/32", D),
        ("2001:db8:c::/48", D),
        ("2001:db8:c::8/125", A),
    ];
    for others in [A, D] {
        let mut fabric = guarded(Mode::Dnat, Guard { others, ..open() });
        for (prefix, rule) in rules {
            fabric.rule(prefix, rule);
        }
        let clients = [
            ("198.51.100.7", D),
            ("198.51.100.129", A),
            ("198.51.100.130", D),
            ("198.51.101.7", others),
            ("2001:db8:c::7", D),
            ("2001:db8:c::9", A),
            ("2001:db8:d::9", others),
        ];
        for (client, rule) in clients {
            let client: IpAddr = client.parse().unwrap();
            let family = if client.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            };
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let packet = from(request(family, protocol), client);
                // Established flows have no right to stay.
                for packet in [packet.clone(), packet.established()] {
                    let expected = if rule == A { "l4-dnat" } else { "drop-denied" };
                    assert_eq!(fabric.counter_of(&packet), expected, "{client} {others}");
                }
            }
        }
    }
}

#[test]
fn all_addresses_of_one_family_are_not_those_of_the_other() {
    let mut fabric = guarded(
        Mode::Dsr,
        Guard {
            others: SourcePrefix::DENIED,
            ..open()
        },
    );
    fabric.rule("::/0", SourcePrefix::ALLOWED);
    let [v4, v6] = [Family::V4, Family::V6].map(|it| request(it, Protocol::Tcp));
    assert_eq!(fabric.counter_of(&v6), "l4-dsr");
    assert_eq!(fabric.counter_of(&v4), "drop-denied");
    fabric.rule("0.0.0.0/0", SourcePrefix::ALLOWED);
    fabric.rule("::/0", SourcePrefix::DENIED);
    assert_eq!(fabric.counter_of(&v6), "drop-denied");
    assert_eq!(fabric.counter_of(&v4), "l4-dsr");
}

#[test]
fn a_service_takes_its_burst_of_new_flows_and_all_packets_of_those() {
    for mode in [Mode::Dnat, Mode::Fullnat, Mode::Dsr, Mode::Tunnel] {
        let mut fabric = guarded(
            mode,
            Guard {
                flows: only(3),
                ..open()
            },
        );
        for (family, protocol) in CASES {
            fabric
                .kernel
                .array::<u64>("SERVICE_TOKENS")
                .set(SERVICE, 0, 0)
                .unwrap();
            for port in 1000..1003 {
                let packet = first(family, protocol, port);
                assert!(fabric.is_let_through(&packet), "{mode:?} {packet:?}");
            }
            for port in 1003..1010 {
                let packet = first(family, protocol, port);
                assert_eq!(fabric.counter_of(&packet), "drop-service-limit");
            }
            for port in 1000..1003 {
                let packet = first(family, protocol, port).established();
                assert!(fabric.is_let_through(&packet), "{mode:?} {packet:?}");
            }
            // TCP packets that are no SYN are never counted.
            let stray = first(family, Protocol::Tcp, 2000).established();
            assert_ne!(fabric.counter_of(&stray), "drop-service-limit");
        }
    }
}

#[test]
fn a_client_has_its_own_limit_and_does_not_use_up_the_service() {
    for (family, protocol) in CASES {
        let guard = Guard {
            flows: only(6),
            source_flows: only(2),
            ..open()
        };
        let fabric = guarded(Mode::Dsr, guard);
        let counters = |client: IpAddr| -> Vec<&str> {
            (1000..1004)
                .map(|port| fabric.counter_of(&from(first(family, protocol, port), client)))
                .collect()
        };
        let client = |n: u8| match family {
            Family::V4 => IpAddr::from([198, 51, 100, n]),
            Family::V6 => format!("2001:db8:c::{n:x}").parse().unwrap(),
        };
        let two = ["l4-dsr", "l4-dsr", "drop-source-limit", "drop-source-limit"];
        for n in 1..4 {
            let mut expected = two.to_vec();
            if protocol == Protocol::Udp {
                // The two that are known by now come through again.
                assert_eq!(counters(client(n)), expected);
                expected = two.to_vec();
            } else {
                assert_eq!(counters(client(n)), expected);
                expected = vec!["drop-source-limit"; 4];
            }
            assert_eq!(counters(client(n)), expected, "{family:?} {protocol:?}");
        }
        let late = from(first(family, protocol, 1000), client(9));
        assert_eq!(fabric.counter_of(&late), "drop-service-limit");
    }
}

#[test]
fn tokens_come_back() {
    let fabric = guarded(
        Mode::Dsr,
        Guard {
            flows: RateLimit::new(20, 1),
            ..open()
        },
    );
    let packet = request(Family::V4, Protocol::Tcp);
    let start = Instant::now();
    let mut taken = 0;
    while taken < 4 {
        if fabric.is_let_through(&packet) {
            taken += 1;
        }
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    // The first one was there; three took a twentieth of a second each.
    assert!(
        start.elapsed() >= Duration::from_millis(145),
        "{:?}",
        start.elapsed()
    );
}

/// Row 33: a flood of SYNs from everywhere, through the limits of a service in a slot that has just changed.
#[test]
fn row_33_live_flows_do_not_notice_a_flood_of_syns() {
    const BURST: u32 = 1_000;
    let mut fabric = guarded(
        Mode::Dnat,
        Guard {
            flows: only(BURST),
            source_flows: only(2),
            ..open()
        },
    );
    let live: Vec<Packet> = (1..=32)
        .map(|port| first(Family::V4, Protocol::Tcp, port).established())
        .collect();
    let mut rings = fabric.kernel.array::<RingSlot>("RINGS");
    for slot in RING_START..RING_START + RING_SLOTS {
        let changed = RingSlot::changed(OTHER_SERVER, SERVER);
        rings.set(slot, changed, 0).unwrap();
    }
    for packet in &live {
        assert_eq!(fabric.counter_of(packet), "l4-dnat");
    }
    let (mut through, mut flood) = (0, 0u32);
    for n in 0..20_000u32 {
        let client = IpAddr::from(Ipv4Addr::from(
            0x0b00_0000 + n.wrapping_mul(0x9e37) % 0x00ff_ffff,
        ));
        let syn = from(request(Family::V4, Protocol::Tcp), client);
        through += u32::from(fabric.is_let_through(&syn));
        flood += 1;
        if n % 500 == 0 {
            for packet in &live {
                assert!(fabric.is_let_through(packet));
            }
        }
    }
    assert_eq!(through, BURST, "of {flood}");
    // Nobody who was on the former server has moved.
    assert!(fabric.traffic("BACKEND_COUNTERS", SERVER).0 >= 32 * 40);
    let entries = fabric.kernel.array::<FlowBucket>("FLOWS");
    let entries = entries.iter().flat_map(|it| it.unwrap().entries);
    let kept = entries
        .filter(|it| !it.is_free() && !it.is_syn_only())
        .count();
    assert_eq!(kept, 32, "entries of live flows");
}

/// The place of a client's token bucket.
fn token_set(client: IpAddr) -> u32 {
    let client = SourcePrefix::new(SERVICE, client.into());
    let hash = FLOW_KEY.hash6(client.address.words(), [client.guard, 0, 0, 0], 0, 0);
    u32::try_from(hash & u64::from(SOURCE_TOKEN_SETS - 1)).unwrap()
}

/// Clients that all fall on one set, as nobody could choose them who does not know the key.
#[test]
fn a_flood_of_clients_does_not_wash_away_one_at_its_limit() {
    let mut fabric = guarded(
        Mode::Dsr,
        Guard {
            source_flows: only(3),
            ..open()
        },
    );
    let greedy = Family::V4.client().ip();
    for port in 1..=3 {
        assert!(fabric.is_let_through(&first(Family::V4, Protocol::Tcp, port)));
    }
    let others = (0x0b00_0000u32..).map(|n| IpAddr::from(Ipv4Addr::from(n)));
    let others = others.filter(|it| token_set(*it) == token_set(greedy));
    for client in others.take(40) {
        let packet = from(first(Family::V4, Protocol::Tcp, 9), client);
        assert_eq!(fabric.counter_of(&packet), "l4-dsr");
        let packet = first(Family::V4, Protocol::Tcp, 9);
        assert_eq!(fabric.counter_of(&packet), "drop-source-limit");
    }
    let sets = fabric.kernel.array::<SourceTokens>("SOURCE_TOKENS");
    let used = sets
        .iter()
        .filter(|it| *it.as_ref().unwrap() != SourceTokens::default());
    assert_eq!(used.count(), 1);
}

/// Row 35: flows that all meet in one bucket for somebody who guesses a key spread over the whole table, as its key is
/// another one.
#[test]
fn row_35_flows_that_were_chosen_to_collide_do_not() {
    let guessed = FlowKey([0; 5]);
    let mut fabric = Fabric::new(Mode::Dnat);
    let mut rings = fabric.kernel.array::<RingSlot>("RINGS");
    for slot in RING_START..RING_START + RING_SLOTS {
        rings
            .set(slot, RingSlot::changed(OTHER_SERVER, SERVER), 0)
            .unwrap();
    }
    let packets = (0..u32::MAX).map(|n| {
        let client = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + (n >> 14)));
        let port = u16::try_from(n & 0x3fff).unwrap() + 1024;
        request(Family::V4, Protocol::Tcp).from(SocketAddr::new(client, port))
    });
    let chosen: Vec<Packet> = packets
        .filter(|it| flow(it).place(&guessed).bucket(FLOW_BUCKETS - 1) == 0)
        .take(200)
        .collect();
    for packet in &chosen {
        assert!(fabric.is_let_through(packet));
    }
    let buckets = fabric.kernel.array::<FlowBucket>("FLOWS");
    let filled: BTreeSet<usize> = buckets
        .iter()
        .enumerate()
        .filter(|(_, it)| it.as_ref().unwrap().entries.iter().any(|it| !it.is_free()))
        .map(|(n, _)| n)
        .collect();
    assert!(
        filled.len() > FLOW_BUCKETS as usize * 3 / 4,
        "{} buckets",
        filled.len()
    );
    assert!(chosen.len() > FLOW_WAYS);
}
