//! Any sequence of desired states, under write faults and restarts: no VIP entry ever leads to something that is not written,
//! and once faults heal the maps are exactly the desired ones, compared with a direct reading of the desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use lbfabric_abi::{Address, Endpoint, EndpointPrefix, NextHop, RingSlot, VipService};
use lbfabric_model::{
    BackendId, Mode, ObjectKey, ObjectKind, PoolId, PortRange, ServiceId,
    maglev::{self, Entry},
    snapshot::{NodePool, NodeService},
};
use proptest::prelude::*;

use super::*;
use crate::{
    maps::fake::{FakeMaps, FaultKind, FaultyMaps},
    plan::{
        Desired, Health, HealthView,
        tests::{able, pool_with_check, service, settings},
    },
};

/// One desired state and what happens while it is brought about.
#[derive(Clone, Debug)]
struct Step {
    desired: Desired,
    health: HealthView,
    faults: Vec<Option<FaultKind>>,
    restart: bool,
}

fn any_pool(id: u32) -> impl Strategy<Value = NodePool> {
    let servers = prop::collection::btree_set(id * 10..id * 10 + 4, 0..4);
    let slots = prop::sample::select(vec![7u32, 11, 13]);
    (servers, slots, prop::collection::vec(0u16..3, 4)).prop_map(|(ids, slots, weights)| {
        let ids: Vec<u32> = ids.into_iter().collect();
        let mut pool = pool_with_check(&ids);
        pool.slots = slots;
        for (backend, weight) in pool.backends.iter_mut().zip(weights) {
            backend.weight = weight;
        }
        pool
    })
}

fn any_service(id: u32) -> impl Strategy<Value = NodeService> {
    let mode = prop::sample::select(vec![Mode::Dnat, Mode::Fullnat, Mode::Dsr, Mode::Tunnel]);
    let ports = prop::sample::select(vec![
        vec![(80, 80)],
        vec![(1, 30)],
        vec![(10, 20), (25, 25)],
        vec![(3, 9), (17, 40)],
    ]);
    (mode, ports, 0u32..4).prop_map(move |(mode, ports, pool)| {
        let vip = format!("203.0.113.{id}");
        NodeService {
            pool: PoolId(pool),
            ..service(mode, &[&vip], &ports)
        }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let pools: Vec<_> = (0..4).map(|id| prop::option::of(any_pool(id))).collect();
    let services: Vec<_> = (0..4).map(|id| prop::option::of(any_service(id))).collect();
    let health = prop::collection::vec(
        prop_oneof![
            3 => Just(Health::Up),
            1 => Just(Health::Down("x".to_owned())),
            1 => Just(Health::Unknown)
        ],
        40,
    );
    let fault = prop_oneof![Just(FaultKind::Absent), Just(FaultKind::Unknown)];
    let faults = prop::collection::vec(prop::option::weighted(0.2, fault), 0..60);
    (pools, services, health, faults, any::<bool>()).prop_map(
        |(pools, services, health, faults, restart)| {
            let pools = (0..)
                .zip(pools)
                .filter_map(|(id, pool)| Some((PoolId(id), pool?)));
            let services = (0..)
                .zip(services)
                .filter_map(|(id, service)| Some((ServiceId(id), service?)));
            let health = (0..)
                .zip(health)
                .map(|(id, health)| (BackendId(id), health));
            Step {
                desired: Desired {
                    settings: Some(settings()),
                    pools: pools.collect(),
                    services: services.collect(),
                    ..Desired::default()
                },
                health: HealthView(health.collect()),
                faults,
                restart,
            }
        },
    )
}

/// What must hold after every single write.
fn check_always(content: &Observed) {
    let entries: Vec<&VipService> = content
        .vip_ports
        .values()
        .chain(content.vip_ranges.values())
        .collect();
    for entry in &entries {
        assert!(entry.ring_slots > 0);
        for index in entry.ring_start..entry.ring_start + entry.ring_slots {
            let slot = content
                .slot(index)
                .expect("a VIP entry leads to an unwritten slot");
            assert_eq!(slot.cur, slot.base);
            assert!(
                slot.cur == RingSlot::NONE || content.backends.contains_key(&BackendId(slot.cur)),
                "a VIP entry leads to server {}, which is not written",
                slot.cur
            );
        }
        for other in &entries {
            let same = (entry.ring_start, entry.ring_slots) == (other.ring_start, other.ring_slots);
            let apart = entry.ring_start + entry.ring_slots <= other.ring_start
                || other.ring_start + other.ring_slots <= entry.ring_start;
            assert!(same || apart, "two rings overlap: {entry:?} {other:?}");
        }
    }
}

/// While a service stays on its pool with destination NAT, every server of its ring has its answers rewritten. `kept` is
/// such a service, by id, with its pool.
fn check_answers(content: &Observed, kept: Option<(ServiceId, PoolId)>) {
    let Some((service, pool)) = kept else { return };
    let Some(ring) = content.pools.get(&pool) else {
        return;
    };
    let entries = content
        .vip_ports
        .values()
        .chain(content.vip_ranges.values());
    let mut of_service = entries.filter(|entry| entry.service == service.0);
    if !of_service.any(|e| e.ring_start == ring.start && e.mode == Mode::Dnat as u8) {
        return;
    }
    for server in content.servers_of(*ring) {
        let address = Address::from_ipv4(content.backends[&server].ipv4);
        let ports = content.reverse_ports.keys().map(|key| key.address);
        let ranges = content.reverse_ranges.keys().map(|key| key.data.address);
        assert!(
            ports.chain(ranges).any(|answered| answered == address),
            "nobody rewrites the answers of server {server}"
        );
    }
}

/// The one service with destination NAT, if there is exactly one: then no other contends for its servers' answers.
fn only_dnat(desired: &Desired) -> Option<(ServiceId, PoolId)> {
    let mut dnat = desired
        .services
        .iter()
        .filter(|(_, service)| service.mode == Mode::Dnat);
    let (id, service) = dnat.next()?;
    dnat.next().is_none().then_some((*id, service.pool))
}

/// The service that the program would find: the exact port first, then the longest prefix.
fn lookup(content: &Observed, vip: IpAddr, port: u16) -> Option<VipService> {
    let address = Address::from(vip);
    if let Some(entry) = content.vip_ports.get(&Endpoint::new(address, port, 6)) {
        return Some(*entry);
    }
    let matches = content.vip_ranges.iter().filter(|(key, _)| {
        let bits = key.bits - EndpointPrefix::PORT_AT;
        let mask = u16::MAX.checked_shl(16 - bits).unwrap_or(0);
        let base = u16::from_be_bytes(key.data.port_be);
        key.data.address == address && key.data.protocol == 6 && base & mask == port & mask
    });
    matches
        .max_by_key(|(key, _)| key.bits)
        .map(|(_, entry)| *entry)
}

fn expected_ring(pool: &NodePool, health: &HealthView, before: &BTreeSet<BackendId>) -> Vec<u32> {
    let is_up = |id: BackendId| match &health.0[&id] {
        Health::Up => true,
        Health::Down(_) => false,
        Health::Unknown => before.contains(&id),
    };
    let weighted: Vec<_> = pool.backends.iter().filter(|b| b.weight > 0).collect();
    let up: Vec<_> = weighted.iter().copied().filter(|b| is_up(b.id)).collect();
    let members = if up.is_empty() { weighted } else { up };
    let entries: Vec<Entry<'_>> = members
        .iter()
        .map(|b| Entry {
            id: b.id.0,
            name: &b.name,
            weight: b.weight,
        })
        .collect();
    maglev::ring(&entries, pool.slots)
}

/// The maps against the desired state.
fn check_final(content: &Observed, step: &Step, outcome: &Reconciled) {
    let refused = |kind, id| outcome.refusals.contains_key(&ObjectKey { kind, id });
    for id in 0..4u32 {
        let vip: IpAddr = format!("203.0.113.{id}").parse().unwrap();
        let wanted = step
            .desired
            .services
            .get(&ServiceId(id))
            .filter(|_| !refused(ObjectKind::Service, id));
        for port in 1..=100u16 {
            let found = lookup(content, vip, port);
            let serves = |range: &PortRange| (range.first..=range.last).contains(&port);
            let expected = wanted.filter(|service| service.ports.iter().any(serves));
            assert_eq!(
                found.map(|f| f.service),
                expected.map(|_| id),
                "port {port}"
            );
            if let (Some(found), Some(expected)) = (found, expected) {
                let ring = content.pools[&expected.pool];
                assert_eq!(
                    (found.ring_start, found.ring_slots),
                    (ring.start, ring.slots)
                );
                assert_eq!(found.mode, expected.mode as u8);
            }
        }
        assert_eq!(
            content.vip_addresses.contains(&Address::from(vip)),
            wanted.is_some()
        );
    }
    let mut servers = BTreeSet::new();
    for (id, pool) in &step.desired.pools {
        if refused(ObjectKind::Pool, id.0) {
            assert!(!content.pools.contains_key(id));
            continue;
        }
        let ring = content.pools[id];
        let slots: Vec<u32> = (ring.start..ring.start + ring.slots)
            .map(|index| content.slot(index).unwrap().cur)
            .collect();
        // What unprobed servers count as depends on the ring before; the ring itself must be a fixed point of the rule.
        assert_eq!(
            slots,
            expected_ring(pool, &step.health, &content.servers_of(ring))
        );
        servers.extend(pool.backends.iter().map(|backend| backend.id));
    }
    assert_eq!(
        content.backends.keys().copied().collect::<BTreeSet<_>>(),
        servers
    );
    let dnat = |service: u32| {
        step.desired
            .services
            .get(&ServiceId(service))
            .is_some_and(|s| s.mode == Mode::Dnat)
            && !refused(ObjectKind::Service, service)
    };
    let answers = content
        .reverse_ports
        .values()
        .chain(content.reverse_ranges.values());
    assert!(answers.into_iter().all(|reverse| dnat(reverse.service)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn faults_heal_into_the_desired_maps(
        steps in prop::collection::vec(any_step(), 1..6),
        capacity in prop::sample::select(vec![20u32, 40, 200]),
    ) {
        let kept = Arc::new(Mutex::new(None));
        let watched = kept.clone();
        let maps = FakeMaps::new(capacity, move |content: &Observed| {
            check_always(content);
            check_answers(content, *watched.lock().unwrap());
        });
        let faulty = |faults| FaultyMaps { inner: maps.clone(), faults, faults_seen: 0 };
        let mut reconciler = Reconciler::new(faulty(Vec::new()));
        let next_hops: BTreeMap<IpAddr, NextHop> = BTreeMap::new();
        let local = able();
        for step in &steps {
            if step.restart {
                reconciler = Reconciler::new(faulty(Vec::new()));
            }
            *kept.lock().unwrap() = only_dnat(&step.desired);
            reconciler.maps_mut().faults.clone_from(&step.faults);
            let inputs = PlanInputs {
                desired: &step.desired,
                health: &step.health,
                next_hops: &next_hops,
                local: &local,
                settings_refusal: None,
            };
            let mut failures = 0;
            let outcome = loop {
                match reconciler.reconcile(&inputs) {
                    Ok(outcome) => break outcome,
                    Err(error @ ReconcileError::Restless { .. }) => panic!("{error}"),
                    Err(_) => failures += 1,
                }
                prop_assert!(failures <= step.faults.len());
            };
            let content = maps.content.lock().unwrap().clone();
            check_final(&content, step, &outcome);
            if capacity == 200 {
                let pool_refused = outcome.refusals.keys().any(|key| key.kind == ObjectKind::Pool);
                prop_assert!(!pool_refused, "there is room: {:?}", outcome.refusals);
            }
        }
    }
}

#[test]
fn every_injected_fault_is_met() {
    let maps = FakeMaps::new(64, check_always);
    let faults = vec![Some(FaultKind::Unknown), Some(FaultKind::Absent)];
    let mut reconciler = Reconciler::new(FaultyMaps {
        inner: maps,
        faults,
        faults_seen: 0,
    });
    let desired = Desired {
        settings: Some(settings()),
        ..Desired::default()
    };
    let inputs = PlanInputs {
        desired: &desired,
        health: &HealthView::default(),
        next_hops: &BTreeMap::new(),
        local: &able(),
        settings_refusal: None,
    };
    assert!(reconciler.reconcile(&inputs).is_err());
    assert!(reconciler.reconcile(&inputs).is_err());
    let outcome = reconciler.reconcile(&inputs).unwrap();
    assert_eq!(
        (outcome.writes, reconciler.maps().faults_seen),
        (0, 2),
        "the second fault's write had happened"
    );
}
