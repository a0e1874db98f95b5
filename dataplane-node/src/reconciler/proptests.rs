//! Any sequence of desired states, under write faults and restarts: no VIP entry ever leads to something that is not written,
//! and once faults heal the maps are exactly the desired ones, compared with a direct reading of the desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lbfabric_abi::{Address, Backend, Endpoint, EndpointPrefix, FlowKey, RingSlot, VipService};
use lbfabric_model::{
    BackendId, Limits, Mode, ObjectKey, ObjectKind, PoolId, PortRange, Ports, RateLimit, ServiceId,
    SourceRules,
    maglev::{self, Entry},
    snapshot::{NodePool, NodeService},
};
use proptest::prelude::*;

use super::*;
use crate::{
    maps::fake::{Content, FakeMaps, FaultKind, FaultyMaps},
    plan::{
        Desired, Health, HealthView,
        tests::{able, pool_with_check, prefix, service, settings},
    },
};
mod checks;

use checks::{check_always, check_answers, check_final, check_flows, only_dnat};

/// One desired state and what happens while it is brought about.
#[derive(Clone, Debug)]
struct Step {
    desired: Desired,
    health: HealthView,
    faults: Vec<Option<FaultKind>>,
    restart: bool,
    /// Seconds since the step before.
    secs: u64,
    /// Servers whose flows the program writes into the table beforehand.
    flows: BTreeSet<BackendId>,
}

/// One moment for all cases, to which times in generated values refer.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn down() -> Health {
    Health::Down {
        reason: "x".to_owned(),
        since: start(),
    }
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
    let rest = (0u32..4, any::<bool>(), any_limits(), any_rules());
    (mode, ports, rest).prop_map(move |(mode, ports, (pool, wide, limits, source_rules))| {
        let (vip, prefix) = (format!("203.0.113.{id}"), format!("198.18.{id}.0/24"));
        let mut service = NodeService {
            pool: PoolId(pool),
            limits,
            source_rules,
            ..service(mode, &[&vip, &prefix], &ports)
        };
        if mode == Mode::Dnat {
            // With several VIPs it needs the state of each flow.
            service.exact_state = wide;
            service.vips.truncate(1 + usize::from(wide));
        } else if wide {
            service.ports = Ports::Any;
        }
        service
    })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let number = || (1u32..5).prop_map(|it| NonZeroU32::new(it).unwrap());
    let limit = || {
        let limit = (number(), number());
        prop::option::of(limit.prop_map(|(per_second, burst)| RateLimit { per_second, burst }))
    };
    (limit(), limit()).prop_map(|(new_flows, source_new_flows)| Limits {
        new_flows,
        source_new_flows,
    })
}

fn any_rules() -> impl Strategy<Value = SourceRules> {
    let all = ["10.0.0.0/8", "10.1.0.0/16", "::/0", "0.0.0.0/0"].map(prefix);
    let rule = prop::sample::select(vec![None, None, Some(true), Some(false)]);
    prop::collection::vec(rule, all.len()).prop_map(move |rules| {
        let of = |wanted| {
            let rules = rules.iter().zip(all);
            let chosen = rules.filter(|(rule, _)| **rule == Some(wanted));
            chosen.map(|(_, prefix)| prefix).collect()
        };
        SourceRules {
            allow: of(true),
            deny: of(false),
        }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let pools: Vec<_> = (0..4).map(|id| prop::option::of(any_pool(id))).collect();
    let services: Vec<_> = (0..4).map(|id| prop::option::of(any_service(id))).collect();
    let health = prop::collection::vec(
        prop_oneof![
            3 => Just(Health::Up),
            1 => Just(down()),
            1 => Just(Health::Unknown)
        ],
        40,
    );
    let fault = prop_oneof![
        Just(FaultKind::Absent),
        Just(FaultKind::Half),
        Just(FaultKind::Unknown)
    ];
    let faults = prop::collection::vec(prop::option::weighted(0.2, fault), 0..60);
    let flows = prop::collection::btree_set((0u32..40).prop_map(BackendId), 0..6);
    let secs = prop::sample::select(vec![0u64, 5, 11, 20, 400, 1000]);
    (
        pools,
        services,
        health,
        faults,
        any::<bool>(),
        (secs, flows),
    )
        .prop_map(
            |(pools, services, health, faults, restart, (secs, flows))| {
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
                    secs,
                    flows,
                }
            },
        )
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
        let maps = FakeMaps::new(capacity, move |content: &Content| {
            check_always(content);
            check_answers(content, *watched.lock().unwrap());
        });
        let faulty = |faults| FaultyMaps { inner: maps.clone(), faults, faults_seen: 0 };
        let mut reconciler = Reconciler::new(faulty(Vec::new()), FlowKey([1; 5]));
        let mut now = start();
        let mut failed = BTreeSet::new();
        let next_hops: BTreeMap<IpAddr, Way> = BTreeMap::new();
        let local = able();
        for step in &steps {
            if step.restart {
                reconciler = Reconciler::new(faulty(Vec::new()), FlowKey([2; 5]));
            }
            now += Duration::from_secs(step.secs);
            maps.flows.lock().unwrap().extend(&step.flows);
            let flows = maps.flows.lock().unwrap().clone();
            let down = step.health.0.iter().filter(|(_, health)| matches!(health, Health::Down { .. }));
            failed.extend(down.map(|(id, _)| *id));
            let before = maps.content.lock().unwrap().clone();
            *kept.lock().unwrap() = only_dnat(&step.desired);
            reconciler.maps_mut().faults.clone_from(&step.faults);
            let inputs = PlanInputs {
                desired: &step.desired,
                health: &step.health,
                next_hops: &next_hops,
                local: &local,
                settings_refusal: None,
                now,
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
            check_flows(&before, &content, &flows, &failed);
            prop_assert!(outcome.wake_at.is_none_or(|at| at > now));
            let again = reconciler.reconcile(&inputs).unwrap();
            prop_assert_eq!(again.writes, 0);
            prop_assert_eq!(&again.wake_at, &outcome.wake_at);
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
    let maps = FaultyMaps {
        inner: maps,
        faults,
        faults_seen: 0,
    };
    let mut reconciler = Reconciler::new(maps, FlowKey([1; 5]));
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
        now: start(),
    };
    assert!(reconciler.reconcile(&inputs).is_err());
    assert!(reconciler.reconcile(&inputs).is_err());
    let outcome = reconciler.reconcile(&inputs).unwrap();
    assert_eq!(
        (outcome.writes, reconciler.maps().faults_seen),
        (2, 2),
        "the settings, which the second fault's write had put there, are not written again; the filter's two words are"
    );
}
