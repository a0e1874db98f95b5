//! The agent's writer on real maps, with packets meanwhile: rows 34 and 40 of the checklist, and the sweep of the flow table.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use lbfabric_abi::{FLOW_WAYS, FlowBucket, FlowEntry, FlowTick, NextHop, Protocol};
use lbfabric_model::{BackendId, ObjectKey, ObjectKind, digest_of_object, digest_of_whole};
use lbfabric_node::{Kept, MapKeeper};
use lbfabric_proto::v1::{self, node_object::Object};
use nix::time::{ClockId, clock_gettime};
use prost::Message as _;

use super::{
    fabric::{EGRESS, EGRESS_MAC, Family, SERVER_MAC, request},
    kernel::{Action, INGRESS, Kernel, Program, Sizes},
    packets::Packet,
    selection::destination,
};

pub(crate) const SLOTS: u32 = 257;
pub(crate) const BUCKETS: u32 = 4096;
pub(crate) const POOL: u32 = 1;

/// The agent's writer, and what it was sent.
pub(crate) struct Agent {
    pub(crate) keeper: MapKeeper,
    sent: BTreeMap<ObjectKey, Vec<u8>>,
    generation: u64,
    pub(crate) now: Instant,
}

/// A server of a pool: its id, the last byte of its address, and its weight.
pub(crate) type Server = (u32, u8, u32);

impl Agent {
    /// Nothing but settings. `own` are the node's addresses.
    pub(crate) fn bare(kernel: &mut Kernel, own: &[IpAddr]) -> Self {
        let mut agent = Self {
            keeper: kernel.keeper(own),
            sent: BTreeMap::new(),
            generation: 0,
            now: Instant::now(),
        };
        let settings = Object::Settings(v1::NodeSettings {
            hash_key: b"0123456789abcdef".to_vec(),
            source_addresses: Vec::new(),
            ..v1::NodeSettings::default()
        });
        agent.set(ObjectKind::Settings, 0, settings);
        agent
    }

    /// A service of destination NAT with one pool.
    pub(crate) fn new(kernel: &mut Kernel, servers: &[Server]) -> Self {
        Self::serving(kernel, v1::Mode::L4Dnat, servers)
    }

    /// As [`Agent::new`], in another mode.
    pub(crate) fn serving(kernel: &mut Kernel, mode: v1::Mode, servers: &[Server]) -> Self {
        let mut agent = Self::bare(kernel, &[Family::V4.node()]);
        let IpAddr::V4(vip) = Family::V4.vip().ip() else {
            panic!("an IPv4 VIP");
        };
        let service = Object::Service(Box::new(v1::NodeServiceObject {
            vips: vec![vip.octets().to_vec()],
            ports: vec![v1::NodePortRange {
                first: 80,
                last: 80,
            }],
            protocol: v1::Protocol::Tcp.into(),
            mode: mode.into(),
            pool_id: POOL,
            affinity: v1::Affinity::FiveTuple.into(),
            ..v1::NodeServiceObject::default()
        }));
        agent.set(ObjectKind::Service, 1, service);
        agent.set_pool(POOL, servers);
        agent.write();
        agent
    }

    pub(crate) fn set(&mut self, kind: ObjectKind, id: u32, object: Object) {
        self.generation += 1;
        let object = v1::NodeObject {
            generation: self.generation,
            name: String::new(),
            object: Some(object),
        };
        let key = ObjectKey { kind, id };
        self.sent.insert(key, object.encode_to_vec());
        let digests = self.sent.iter();
        let digests = digests.map(|(key, bytes)| (*key, digest_of_object(bytes)));
        let delta = v1::Delta {
            generation: self.generation,
            upserts: vec![v1::EncodedObject {
                key: Some(key.into()),
                object: self.sent[&key].clone(),
            }],
            removals: Vec::new(),
            digest: digest_of_whole(&digests.collect()),
        };
        self.keeper.deliver(delta).unwrap();
    }

    pub(crate) fn set_pool(&mut self, id: u32, servers: &[Server]) {
        let backends = servers.iter().map(|(id, host, weight)| v1::NodeBackend {
            id: *id,
            name: format!("s{host}"),
            ipv4: vec![10, 2, 0, *host],
            ipv6: Vec::new(),
            weight: *weight,
            ..v1::NodeBackend::default()
        });
        let pool = Object::Pool(v1::NodePool {
            slots: SLOTS,
            backends: backends.collect(),
            health_check: Some(v1::HealthCheckSpec {
                interval_ms: 1000,
                timeout_ms: 500,
                rise: 1,
                fall: 1,
                check: Some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec {
                    port: 80,
                })),
            }),
            hold_time_secs: 900,
            dead_after_ms: Some(3_600_000),
        });
        self.set(ObjectKind::Pool, id, pool);
        for (id, ..) in servers {
            self.keeper.note_probe(BackendId(*id), true, self.now);
        }
        self.keeper.reach_all_by(NextHop {
            ifindex: EGRESS,
            source_mac: EGRESS_MAC,
            mac: SERVER_MAC,
        });
    }

    pub(crate) fn write(&mut self) -> Kept {
        let kept = self.keeper.write(self.now).unwrap();
        assert!(kept.refusals.is_empty(), "{:?}", kept.refusals);
        kept
    }
}

/// A packet of the n-th flow.
pub(crate) fn packet(n: u32) -> Packet {
    let [_, a, b, c] = n.to_be_bytes();
    let client = SocketAddr::new(Ipv4Addr::new(198, a, b, c).into(), 40_000);
    request(Family::V4, Protocol::Tcp).from(client)
}

/// The last byte of the address of the server that a packet goes to; no packet is dropped.
pub(crate) fn send(kernel: &Kernel, packet: &Packet) -> u8 {
    let (action, frame) = kernel.run_uncounted(Program::Lb, &packet.build(), INGRESS);
    assert_eq!(action, Action::Redirect);
    let to = destination(Family::V4, &frame);
    assert_eq!(to[..3], [10, 2, 0]);
    to[3]
}

/// How pools change: servers come, go, are drained, get other weights, and fail their check.
fn change(agent: &mut Agent, n: u32) {
    let mut servers: Vec<Server> = (0..12)
        .map(|id| (id, 1 + u8::try_from(id).unwrap(), 100))
        .collect();
    match n % 5 {
        0 => servers.truncate(5 + (n / 5 % 7) as usize),
        1 => servers[(n / 5 % 12) as usize].2 = 0,
        2 => servers[(n / 5 % 12) as usize].2 = 1 + n,
        3 => {
            servers.remove((n / 5 % 12) as usize);
        }
        _ => {}
    }
    agent.now = Instant::now();
    agent.set_pool(POOL, &servers);
    if n % 5 == 4 {
        agent
            .keeper
            .note_probe(BackendId(n / 5 % 12), false, agent.now);
    }
    agent.write();
}

#[test]
fn row_40_a_thousand_changes_of_a_pool_drop_no_packet_and_move_no_flow() {
    const CHANGES: u32 = 1000;
    let mut kernel = Kernel::load_with(Sizes {
        ring_slots: SLOTS,
        flow_buckets: BUCKETS,
        ..Sizes::default()
    });
    let servers: Vec<Server> = (0..12)
        .map(|id| (id, 1 + u8::try_from(id).unwrap(), 100))
        .collect();
    let mut agent = Agent::new(&mut kernel, &servers);
    let done = AtomicBool::new(false);
    let mut flows: Vec<u8> = Vec::new();
    let mut rounds = 0;
    thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for n in 0..CHANGES {
                change(&mut agent, n);
            }
            done.store(true, Ordering::Relaxed);
        });
        // A thread that panics ends the changes as well.
        while !done.load(Ordering::Relaxed) && !changes.is_finished() {
            let n = u32::try_from(flows.len()).unwrap();
            if n < 4000 {
                flows.push(send(&kernel, &packet(n)));
            }
            let known = flows.iter().enumerate().skip(rounds % 16).step_by(16);
            for (n, server) in known {
                let later = packet(u32::try_from(n).unwrap()).established();
                assert_eq!(send(&kernel, &later), *server, "flow {n} has moved");
            }
            rounds += 1;
        }
        changes.join().unwrap();
    });
    let used: std::collections::BTreeSet<u8> = flows.iter().copied().collect();
    assert!(rounds > 100 && used.len() > 10, "{rounds} rounds, {used:?}");
    let counters = agent.keeper.counters().unwrap();
    let hits = counters["flow-hit"];
    assert!(hits > 100, "the flow table was hardly needed: {hits}");
    assert_eq!(counters["flow-evict-live"], 0);
    let dropped = counters
        .iter()
        .filter(|(name, _)| name.starts_with("drop-"));
    assert_eq!(dropped.map(|(_, count)| count).sum::<u64>(), 0);
}

#[test]
fn row_34_old_flows_do_not_reach_a_server_that_has_another_ones_id() {
    let mut kernel = Kernel::load_with(Sizes {
        ring_slots: 2 * SLOTS,
        flow_buckets: BUCKETS,
        ..Sizes::default()
    });
    let mut agent = Agent::new(&mut kernel, &[(1, 1, 100), (2, 2, 100)]);
    // Established flows of both, and all of them in the table: server 2 is about to go.
    let flows: Vec<(u32, u8)> = (0..200).map(|n| (n, send(&kernel, &packet(n)))).collect();
    agent.set_pool(POOL, &[(1, 1, 100), (2, 2, 0)]);
    agent.write();
    for (n, server) in &flows {
        assert_eq!(send(&kernel, &packet(*n).established()), *server);
    }
    assert!(flows.iter().filter(|(_, server)| *server == 2).count() > 50);

    // Its id goes to a server of another pool, and then back into this one, with another address.
    agent.set_pool(POOL, &[(1, 1, 100)]);
    agent.set_pool(POOL + 1, &[(2, 77, 100)]);
    agent.write();
    for (n, _) in &flows {
        assert_eq!(send(&kernel, &packet(*n).established()), 1);
    }
    agent.set_pool(POOL + 1, &[]);
    agent.set_pool(POOL, &[(1, 1, 100), (2, 88, 100)]);
    agent.write();
    for (n, _) in &flows {
        assert_eq!(send(&kernel, &packet(*n).established()), 1, "flow {n}");
    }
    let new: Vec<u8> = (1000..1200).map(|n| send(&kernel, &packet(n))).collect();
    assert!(new.contains(&88), "new flows do reach it");
}

/// Long after the hold time of its pool, as they are in no other table.
#[test]
fn a_server_that_left_keeps_its_connections_of_full_nat() {
    let mut kernel = Kernel::load_with(Sizes {
        ring_slots: SLOTS,
        flow_buckets: BUCKETS,
        ..Sizes::default()
    });
    let servers = [(1, 1, 100), (2, 2, 100)];
    let mut agent = Agent::serving(&mut kernel, v1::Mode::L4Fullnat, &servers);
    let flows: Vec<(u32, u8)> = (0..50).map(|n| (n, send(&kernel, &packet(n)))).collect();
    assert!(flows.iter().any(|(_, server)| *server == 2));
    agent.set_pool(POOL, &servers[..1]);
    agent.write();
    for _ in 0..3 {
        agent.now += Duration::from_mins(20);
        agent.write();
        for (n, server) in &flows {
            assert_eq!(
                send(&kernel, &packet(*n).established()),
                *server,
                "flow {n}"
            );
        }
    }
}

#[test]
fn a_sweep_frees_what_counts_no_more_and_nothing_else() {
    const TAGS: [u32; 5] = [11, 12, 13, 14, 15];
    let mut kernel = Kernel::load_with(Sizes {
        ring_slots: SLOTS,
        flow_buckets: BUCKETS,
        ..Sizes::default()
    });
    let mut agent = Agent::new(&mut kernel, &[(1, 1, 100), (2, 2, 100), (3, 3, 100)]);
    agent.write();
    let ticks_ago = |ticks: u64| {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        let ns = Duration::from(now).as_nanos();
        let ns = u64::try_from(ns).unwrap() + (FlowTick::NS << 15);
        FlowTick::at(ns - ticks * FlowTick::NS)
    };
    let idle = u64::from(FlowTick::idle_of_ms(900_000));
    let [live, first, silent, dead, unknown] = TAGS;
    let mut entries = [FlowEntry::FREE; FLOW_WAYS];
    entries[1] = FlowEntry::new(live, 1, ticks_ago(1), false);
    entries[2] = FlowEntry::new(first, 2, ticks_ago(idle - 5), true);
    entries[4] = FlowEntry::new(silent, 1, ticks_ago(idle + 5), false);
    entries[5] = FlowEntry::new(dead, 60, ticks_ago(1), false);
    entries[7] = FlowEntry::new(unknown, 0x00ff_fff0, ticks_ago(1), false);
    let places = [0, 1, BUCKETS / 2, BUCKETS - 1];
    for place in places {
        let mut flows = kernel.array::<FlowBucket>("FLOWS");
        flows.set(place, FlowBucket { entries }, 0).unwrap();
    }
    let named = agent.keeper.sweep();
    assert_eq!(named, [BackendId(1), BackendId(2)].into());
    let flows = kernel.array::<FlowBucket>("FLOWS");
    let mut wanted = [FlowEntry::FREE; FLOW_WAYS];
    wanted[1..3].copy_from_slice(&entries[1..3]);
    for bucket in 0..BUCKETS {
        let left = flows.get(&bucket, 0).unwrap().entries;
        let wanted = if places.contains(&bucket) {
            wanted
        } else {
            [FlowEntry::FREE; FLOW_WAYS]
        };
        assert_eq!(left, wanted, "bucket {bucket}");
    }
}
