//! Refusals, ring membership and order, by example; `reconciler` has the property test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use lbfabric_abi::{
    Backend, Encapsulation, FlowKey, FlowTick, NextHop, OuterSource, Reverse, RingSlot, VipFlags,
    VipService,
};
use lbfabric_model::{
    Affinity, BackendId, Check, FlowKeeping, HealthCheck, Labels, Limits, Mode, ObjectKey,
    ObjectKind, PoolId, PortRange, Ports, Prefix, Protocol, ServiceId, SourceRules, Tunnel,
    snapshot::{NodeBackend, NodePool, NodeService, NodeSettings},
};

mod client_address;
mod distribution;
mod exact_state;
mod flow_keeping;
mod protection;
mod shortcut;
mod vips;

use super::*;
use crate::maps::fake::Content;

/// A pool whose servers have these ids, one address of each family, and no health check.
pub(crate) fn pool(ids: &[u32]) -> NodePool {
    let backends = ids.iter().map(|id| NodeBackend {
        id: BackendId(*id),
        name: format!("s{id}"),
        ipv4: Some(std::net::Ipv4Addr::from(0x0a00_0000 + id)),
        ipv6: Some(std::net::Ipv6Addr::from(0xfd00 << 112 | u128::from(*id))),
        weight: 1,
        quic_server_id: None,
    });
    NodePool {
        slots: 13,
        backends: backends.collect(),
        health_check: None,
        flow_keeping: FlowKeeping::default(),
    }
}

/// As [`pool`], probed.
pub(crate) fn pool_with_check(ids: &[u32]) -> NodePool {
    NodePool {
        health_check: Some(HealthCheck {
            check: Check::Tcp { port: 80 },
            interval_ms: 1000,
            timeout_ms: 500,
            rise: 2,
            fall: 3,
        }),
        ..pool(ids)
    }
}

/// A service of pool 1.
pub(crate) fn service(mode: Mode, vips: &[&str], ports: &[(u16, u16)]) -> NodeService {
    NodeService {
        vips: vips.iter().map(|vip| prefix(vip)).collect(),
        ports: Ports::Ranges(
            ports
                .iter()
                .map(|(first, last)| PortRange::new(*first, *last).unwrap())
                .collect(),
        ),
        protocol: Protocol::Tcp,
        mode,
        affinity: Affinity::FiveTuple,
        pool: PoolId(1),
        backend_port: None,
        tunnel: (mode == Mode::Tunnel).then(Tunnel::default),
        clamp_mss: false,
        client_address_option: false,
        limits: Limits::default(),
        source_rules: SourceRules::default(),
        exact_state: false,
    }
}

/// An address, or a prefix.
pub(crate) fn prefix(text: &str) -> Prefix {
    match text.split_once('/') {
        None => Prefix::from(text.parse::<IpAddr>().unwrap()),
        Some((address, bits)) => {
            Prefix::new(address.parse().unwrap(), bits.parse().unwrap()).unwrap()
        }
    }
}

pub(crate) fn settings() -> NodeSettings {
    NodeSettings {
        ticket_keys: Vec::new(),
        cookie_key: None,
        hash_key: *b"0123456789abcdef",
        sources: Vec::new(),
        labels: Labels::default(),
        is_drained: false,
        bgp: None,
    }
}

/// A node that can do everything.
pub(crate) fn able() -> Local {
    Local {
        sources4: vec![std::net::Ipv4Addr::new(192, 0, 2, 1)],
        sources6: vec!["2001:db8::1".parse().unwrap()],
        nat_ports: NatPorts::beside(32768, 60999),
        is_known4: true,
        is_known6: true,
    }
}

struct Case {
    desired: Desired,
    observed: Content,
    health: HealthView,
    next_hops: BTreeMap<IpAddr, Way>,
    local: Local,
    start: Instant,
    /// Seconds since `start`.
    secs: u64,
    in_table: Option<BTreeSet<BackendId>>,
    /// Counts with `in_table`.
    in_sessions: BTreeSet<BackendId>,
    memory: Memory,
}

impl Case {
    fn new(pools: &[(u32, NodePool)], services: &[(u32, NodeService)]) -> Self {
        let desired = Desired {
            settings: Some(settings()),
            pools: pools
                .iter()
                .map(|(id, pool)| (PoolId(*id), pool.clone()))
                .collect(),
            services: services
                .iter()
                .map(|(id, service)| (ServiceId(*id), service.clone()))
                .collect(),
            ..Desired::default()
        };
        Self {
            desired,
            observed: Content::empty(1 << 17, 8, 8),
            health: HealthView::default(),
            next_hops: BTreeMap::new(),
            local: able(),
            start: Instant::now(),
            secs: 0,
            in_table: None,
            in_sessions: BTreeSet::new(),
            memory: Memory::default(),
        }
    }

    fn plan(&mut self) -> Plan {
        let inputs = Inputs {
            desired: &self.desired,
            observed: &self.observed.observed,
            rings: &self.observed,
            health: &self.health,
            next_hops: &self.next_hops,
            local: &self.local,
            settings_refusal: None,
            now: self.start + Duration::from_secs(self.secs),
            in_table: self.in_table.as_ref(),
            in_sessions: self.in_table.is_some().then_some(&self.in_sessions),
            flow_key: FlowKey([1, 2, 3, 4, 5]),
        };
        plan(&inputs, &mut self.memory)
    }

    fn run(&mut self) -> Plan {
        let plan = self.plan();
        for op in &plan.ops {
            self.observed.apply(op, |_| {});
        }
        plan
    }

    fn ring(&self) -> BTreeSet<BackendId> {
        self.observed.servers_of(self.observed.pools[&PoolId(1)])
    }

    /// The check of a server fails from now on.
    fn fail(&mut self, id: u32) {
        let since = self.start + Duration::from_secs(self.secs);
        let reason = "refused".to_owned();
        self.set_health(id, Health::Down { reason, since });
    }

    fn set_health(&mut self, id: u32, health: Health) {
        self.health.0.insert(BackendId(id), health);
    }
}

fn refusal(plan: &Plan, kind: ObjectKind, id: u32) -> &str {
    plan.refusals
        .get(&ObjectKey { kind, id })
        .map_or("", String::as_str)
}

fn ids(ids: &[u32]) -> BTreeSet<BackendId> {
    ids.iter().copied().map(BackendId).collect()
}

#[test]
fn a_second_plan_has_nothing_to_do() {
    let web = service(
        Mode::Dnat,
        &["203.0.113.1", "2001:db8:1::1"],
        &[(80, 80), (8000, 8099)],
    );
    let mut case = Case::new(&[(1, pool(&[1, 2, 3]))], &[(7, web)]);
    let first = case.run();
    assert!(first.refusals.is_empty(), "{:?}", first.refusals);
    assert_eq!(case.plan().ops, []);
    assert_eq!(case.observed.vip_ports.len(), 2);
    assert_eq!(case.observed.reverse_ports.len(), 6);
    let settings = case.observed.settings.unwrap();
    let halves = [*b"01234567", *b"89abcdef"].map(u64::from_le_bytes);
    assert_eq!(settings.ring_key, FlowKey::expand(halves));
    assert_eq!((settings.source4_count, settings.source6_count), (1, 1));
}

#[test]
fn answers_are_in_place_before_and_until_after_their_vip() {
    let web = service(Mode::Dnat, &["203.0.113.1"], &[(80, 80)]);
    let mut case = Case::new(&[(1, pool(&[1]))], &[(7, web)]);
    let position = |ops: &[MapOp], wanted: fn(&MapOp) -> bool| ops.iter().position(wanted).unwrap();
    let ops = case.run().ops;
    let reverse = position(&ops, |op| matches!(op, MapOp::PutReversePort(..)));
    let vip = position(&ops, |op| matches!(op, MapOp::PutVipPort(..)));
    let ring = position(&ops, |op| matches!(op, MapOp::PutPool(..)));
    let backend = position(&ops, |op| matches!(op, MapOp::PutBackend(..)));
    assert!(backend < reverse && reverse < ring && ring < vip);
    case.desired.services.clear();
    case.desired.pools.clear();
    let ops = case.run().ops;
    let vip = position(&ops, |op| matches!(op, MapOp::RemoveVipPort(..)));
    let reverse = position(&ops, |op| matches!(op, MapOp::RemoveReversePort(..)));
    let ring = position(&ops, |op| matches!(op, MapOp::RemovePool(..)));
    let backend = position(&ops, |op| matches!(op, MapOp::ClearBackend(..)));
    assert!(vip < reverse && reverse < ring && ring < backend);
}

#[test]
fn only_slots_that_differ_are_written() {
    let web = service(Mode::Dsr, &["203.0.113.1"], &[(80, 80)]);
    let mut case = Case::new(&[(1, pool_with_check(&[1, 2, 3]))], &[(7, web)]);
    for id in 1..=3 {
        case.set_health(id, Health::Up);
    }
    case.run();
    let before = case.observed.slots.clone();
    case.fail(2);
    let ops = case.run().ops;
    let lost = before
        .iter()
        .filter(|slot| **slot == Some(RingSlot::steady(2)))
        .count();
    let [MapOp::PutSlots(written)] = &ops[..] else {
        panic!("nothing but slots is written: {ops:?}");
    };
    let count = written.len();
    assert!(count >= lost && count < 13, "{count} {lost}");
    assert_eq!(case.ring(), ids(&[1, 3]));
}

#[test]
fn without_a_healthy_server_all_with_a_weight_are_used() {
    let mut with_drained = pool_with_check(&[1, 2, 3]);
    with_drained.backends[2].weight = 0;
    let mut case = Case::new(&[(1, with_drained)], &[]);
    for id in 1..=3 {
        case.fail(id);
    }
    assert_eq!(case.run().panics, [PoolId(1)].into());
    assert_eq!(case.ring(), ids(&[1, 2]));
    case.set_health(2, Health::Up);
    assert!(case.run().panics.is_empty());
    assert_eq!(case.ring(), ids(&[2]));
    for backend in &mut case.desired.pools.get_mut(&PoolId(1)).unwrap().backends {
        backend.weight = 0;
    }
    case.run();
    assert_eq!(case.ring(), ids(&[]));
}

#[test]
fn unprobed_servers_are_what_they_were_before() {
    let mut case = Case::new(&[(1, pool_with_check(&[1, 2, 3]))], &[]);
    case.set_health(1, Health::Up);
    case.set_health(2, Health::Up);
    case.fail(3);
    case.run();
    assert_eq!(case.ring(), ids(&[1, 2]));
    // An agent that starts again knows nothing: the ring stays until a probe says otherwise.
    case.health = HealthView::default();
    assert_eq!(case.plan().ops, []);
    case.fail(2);
    case.run();
    assert_eq!(case.ring(), ids(&[1]));
    // A new server waits for its first probe.
    case.set_health(1, Health::Up);
    case.desired
        .pools
        .insert(PoolId(1), pool_with_check(&[1, 2, 3, 4]));
    case.run();
    assert_eq!(case.ring(), ids(&[1]));
    case.set_health(4, Health::Up);
    case.run();
    assert_eq!(case.ring(), ids(&[1, 4]));
}

#[test]
fn a_refused_service_holds_back_no_other() {
    let mut case = Case::new(
        &[
            (1, pool(&[1])),
            (
                2,
                NodePool {
                    slots: 1 << 18,
                    ..pool(&[2])
                },
            ),
        ],
        &[
            (1, service(Mode::Fullnat, &["203.0.113.1"], &[(80, 80)])),
            (2, service(Mode::Dsr, &["203.0.113.2"], &[(80, 80)])),
            (
                3,
                NodeService {
                    pool: PoolId(2),
                    ..service(Mode::Dsr, &["203.0.113.3"], &[(80, 80)])
                },
            ),
            (
                4,
                NodeService {
                    pool: PoolId(9),
                    ..service(Mode::Dsr, &["203.0.113.4"], &[(80, 80)])
                },
            ),
            (6, service(Mode::Tunnel, &["2001:db8:1::1"], &[(80, 80)])),
            (7, service(Mode::Dnat, &["203.0.113.7"], &[(80, 90)])),
            (
                8,
                NodeService {
                    backend_port: NonZeroU16::new(85),
                    ..service(Mode::Dnat, &["203.0.113.8"], &[(443, 443)])
                },
            ),
        ],
    );
    case.local = Local::default();
    let plan = case.run();
    let service = |id| refusal(&plan, ObjectKind::Service, id);
    assert!(service(1).contains("no IPv4 address"), "{}", service(1));
    assert_eq!(service(2), "");
    assert!(service(3).contains("its pool is refused"), "{}", service(3));
    assert!(refusal(&plan, ObjectKind::Pool, 2).contains("262144 slots"));
    assert!(service(4).contains("has not been sent"), "{}", service(4));
    assert!(service(6).contains("l4-tunnel"), "{}", service(6));
    assert_eq!(service(7), "");
    assert!(
        service(8).contains("belong to service id 7"),
        "{}",
        service(8)
    );
    let carried: BTreeSet<u32> = case
        .observed
        .vip_ports
        .values()
        .chain(case.observed.vip_ranges.values())
        .map(|entry| entry.service)
        .collect();
    assert_eq!(carried, [2, 7].into());
    // With addresses and ports the node can do more.
    case.local = able();
    let plan = case.run();
    assert_eq!(refusal(&plan, ObjectKind::Service, 1), "");
    assert_eq!(refusal(&plan, ObjectKind::Service, 6), "");
    case.local.nat_ports = None;
    let plan = case.run();
    assert!(refusal(&plan, ObjectKind::Service, 1).contains("ip_local_port_range"));
}

#[test]
fn what_a_service_asks_for_reaches_its_entries() {
    let tunnel = Tunnel {
        encapsulation: Encapsulation::Gue,
        gue_port: NonZeroU16::new(6081),
        outer_source: OuterSource::Fixed,
    };
    let whole = NodeService {
        tunnel: Some(tunnel),
        clamp_mss: true,
        ..service(Mode::Tunnel, &["203.0.113.1"], &[(80, 80)])
    };
    let usual = service(Mode::Tunnel, &["203.0.113.2"], &[(80, 80)]);
    let clamped = NodeService {
        clamp_mss: true,
        ..service(Mode::Dnat, &["203.0.113.3"], &[(80, 80)])
    };
    let mut case = Case::new(&[(1, pool(&[1]))], &[(1, whole), (2, usual), (3, clamped)]);
    let plan = case.run();
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    let entry = |id| {
        let mut entries = case.observed.vip_ports.values();
        *entries.find(|it| it.service == id).unwrap()
    };
    let all = VipService::GUE | VipService::OUTER_SOURCE_FIXED | VipService::CLAMP_MSS;
    assert_eq!((entry(1).flags, entry(1).gue_port_be), (all, [0x17, 0xc1]));
    assert_eq!((entry(2).flags, entry(2).gue_port_be), (0, [0, 0]));
    assert_eq!(entry(3).flags, VipService::CLAMP_MSS);
    let answers = case.observed.reverse_ports.values();
    let flags: Vec<u16> = answers.map(|it| it.flags).collect();
    assert_eq!(flags, [Reverse::CLAMP_MSS]);
}

#[test]
fn freed_ring_space_is_given_out_one_plan_later() {
    let large = |ids: &[u32]| NodePool {
        slots: 65_537,
        ..pool(ids)
    };
    let web = service(Mode::Dsr, &["203.0.113.1"], &[(80, 80)]);
    let mut case = Case::new(&[(1, large(&[1]))], &[(7, web.clone())]);
    case.run();
    let moved = NodeService {
        pool: PoolId(2),
        ..web
    };
    case.desired.pools = BTreeMap::from([(PoolId(2), large(&[2]))]);
    case.desired.services = BTreeMap::from([(ServiceId(7), moved)]);
    let first = case.run();
    assert!(refusal(&first, ObjectKind::Pool, 2).contains("largest free piece"));
    let second = case.run();
    assert!(second.refusals.is_empty(), "{:?}", second.refusals);
    assert_eq!(case.observed.vip_ports.len(), 1);
}

#[test]
fn a_resolved_next_hop_reaches_the_server_entry() {
    let mut case = Case::new(&[(1, pool(&[1]))], &[]);
    case.run();
    assert!(!case.observed.backends[&BackendId(1)].hop4.is_resolved());
    let hop = NextHop {
        ifindex: 4,
        source_mac: [1; 6],
        mac: [2; 6],
    };
    let way = Way {
        hop,
        mtu: 1400,
        host_bits: 8,
    };
    case.next_hops.insert("10.0.0.1".parse().unwrap(), way);
    let ops = case.run().ops;
    assert_eq!(ops.len(), 1);
    let entry = case.observed.backends[&BackendId(1)];
    assert_eq!((entry.hop4, entry.mtu4, entry.host_bits4), (hop, 1400, 8));
    assert_eq!((entry.hop6, entry.mtu6), (NextHop::default(), 0));
}

#[test]
fn a_vip_answers_echo_while_some_server_of_it_is_healthy() {
    let vip = "203.0.113.1";
    let web = service(Mode::Dnat, &[vip], &[(80, 80)]);
    let mut other = service(Mode::Dsr, &[vip], &[(443, 443)]);
    other.pool = PoolId(2);
    let pools = [(1, pool_with_check(&[1, 2])), (2, pool_with_check(&[3]))];
    let mut case = Case::new(&pools, &[(7, web), (8, other)]);
    let address = lbfabric_abi::Address::from(vip.parse::<IpAddr>().unwrap());
    let echo = |case: &mut Case| {
        case.run();
        case.observed.vip_addresses[&address] == VipFlags::KNOWN | VipFlags::ECHO
    };
    for id in 1..=3 {
        case.set_health(id, Health::Up);
    }
    assert!(echo(&mut case));
    case.fail(1);
    case.fail(2);
    assert!(echo(&mut case), "the other service");
    case.fail(3);
    assert!(!echo(&mut case), "all are down, though all are used");
    assert_eq!(case.observed.vip_addresses[&address], VipFlags::KNOWN);
    assert_eq!(case.plan().ops, []);
    case.set_health(3, Health::Up);
    assert!(echo(&mut case));
}
