//! Any specification is either refused with paths or understood in full, and what was understood survives every encoding.

use lbfabric_proto::{internal::v1 as internal, v1};
use proptest::prelude::*;
use prost::Message as _;

use crate::{
    Apply, Command, CompiledFabric, Document, FabricState, Generation, Mode, NodeFacts, ObjectKey,
    Outcome, Role, Service, digest_of_whole,
    snapshot::{NodeService, SnapshotBody, SnapshotObject},
};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[a-d]", 1 => "[a-c-]{0,2}|\\PC{0,4}"]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u8..8).prop_map(|n| format!("10.0.0.{n}")),
        4 => (0u8..8).prop_map(|n| format!("fd00::{n}")),
        1 => "[0-9.:a-f]{0,12}",
    ]
}

fn vip() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => (0u8..8).prop_map(|n| format!("192.0.2.{n}")),
        5 => (0u8..8).prop_map(|n| format!("2001:db8::{n}")),
        2 => prefix(),
        1 => address(),
    ]
}

/// A prefix, often with bits set behind it.
fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0u8..8, 24u8..33).prop_map(|(n, bits)| format!("192.0.2.{}/{bits}", n << 4)),
        3 => (0u8..4, 0u8..130).prop_map(|(n, bits)| format!("2001:db8:{n}::/{bits}")),
        1 => (0u8..34).prop_map(|bits| format!("0.0.0.0/{bits}")),
        1 => "[0-9.:a-f]{0,12}/[0-9]{0,3}",
    ]
}

fn port() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => (1u16..).prop_map(|n| n.to_string()),
        3 => (1u16.., 1u16..).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => Just("any".to_owned()),
        1 => "[0-9-]{0,6}",
    ]
}

fn backend() -> impl Strategy<Value = v1::BackendSpec> {
    (
        name(),
        prop::collection::vec(address(), 0..3),
        prop::option::of(prop_oneof![0u32..300, any::<u32>()]),
        prop_oneof![4 => Just(String::new()), 2 => "[0-3a-c]{2}", 1 => "\\PC{0,18}"],
    )
        .prop_map(
            |(name, addresses, weight, quic_server_id)| v1::BackendSpec {
                name,
                addresses,
                weight,
                quic_server_id,
            },
        )
}

fn health_check() -> impl Strategy<Value = v1::HealthCheckSpec> {
    (0u32..70_000, 0u32..70_000, 0u32..70_000, 0u32..12, 0u32..12).prop_map(
        |(port, interval_ms, timeout_ms, rise, fall)| v1::HealthCheckSpec {
            check: (port % 7 != 0)
                .then_some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port })),
            interval_ms,
            timeout_ms,
            rise,
            fall,
        },
    )
}

fn pool() -> impl Strategy<Value = v1::PoolSpec> {
    (
        name(),
        prop::collection::vec(backend(), 0..4),
        prop::option::weighted(0.2, health_check()),
        prop_oneof![9 => 0u32..4, 1 => any::<u32>()],
        prop_oneof![9 => 0u32..=32_400, 1 => any::<u32>()],
        prop::option::of(prop_oneof![9 => 0u32..=3_600_000, 1 => any::<u32>()]),
    )
        .prop_map(
            |(name, backends, health_check, max_backends, hold_time_secs, dead_after_ms)| {
                v1::PoolSpec {
                    name,
                    backends,
                    health_check,
                    max_backends,
                    hold_time_secs,
                    dead_after_ms,
                }
            },
        )
}

fn service() -> impl Strategy<Value = v1::ServiceSpec> {
    (
        name(),
        prop::collection::vec(vip(), 0..3),
        prop::collection::vec(port(), 0..3),
        (0i32..5, 0i32..6, 0i32..6),
        name(),
        prop_oneof![9 => Just(0u32), 1 => any::<u32>()],
        options(),
    )
        .prop_map(
            |(name, vips, ports, (protocol, mode, affinity), pool, backend_port, options)| {
                v1::ServiceSpec {
                    name,
                    vips,
                    ports,
                    protocol,
                    mode,
                    pool,
                    affinity,
                    backend_port,
                    ..options
                }
            },
        )
}

/// What a service may leave out.
fn options() -> impl Strategy<Value = v1::ServiceSpec> {
    let number = || prop_oneof![2 => Just(0u32), 2 => 1u32..9_000_000, 1 => any::<u32>()];
    let tunnel =
        (0i32..4, number(), 0i32..4).prop_map(|(encapsulation, gue_port, outer_source)| {
            v1::TunnelSpec {
                encapsulation,
                gue_port,
                outer_source,
            }
        });
    let limits = [number(), number(), number(), number()].prop_map(|[a, b, c, d]| v1::LimitsSpec {
        new_flows_per_second: a,
        new_flow_burst: b,
        source_new_flows_per_second: c,
        source_new_flow_burst: d,
    });
    let sources = || prop::collection::vec(prop_oneof![3 => prefix(), 1 => vip()], 0..3);
    (
        prop::option::weighted(0.2, tunnel),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, limits),
        sources(),
        sources(),
    )
        .prop_map(
            |(tunnel, clamp_mss, client_address_option, limits, allow_sources, deny_sources)| {
                v1::ServiceSpec {
                    tunnel,
                    clamp_mss,
                    client_address_option,
                    limits,
                    allow_sources,
                    deny_sources,
                    ..v1::ServiceSpec::default()
                }
            },
        )
}

/// A specification of anything at all.
fn wild_fabric() -> impl Strategy<Value = v1::FabricSpec> {
    (
        prop::collection::vec(pool(), 0..4),
        prop::collection::vec(service(), 0..4),
        prop::collection::vec((name(), prop::collection::vec(address(), 0..3)), 0..2),
    )
        .prop_map(|(pools, services, nodes)| v1::FabricSpec {
            pools,
            services,
            nodes: nodes
                .into_iter()
                .map(|(name, source_addresses)| v1::NodeSpec {
                    name,
                    source_addresses,
                })
                .collect(),
        })
}

/// A pool without mistakes: every server has both families.
fn sound_pool(at: usize) -> impl Strategy<Value = v1::PoolSpec> {
    let backend = (0u8..6, prop::option::of(0u32..=65_535));
    let backends = prop::collection::vec(backend, 0..4);
    let health_check = prop::option::of((1u32..=65_535, 100u32..60_000));
    let keeping = (0u32..=32_400, prop::option::of(0u32..=3_600_000));
    (backends, health_check, keeping).prop_map(move |(backends, health_check, keeping)| {
        v1::PoolSpec {
            name: format!("p{at}"),
            backends: (0..)
                .zip(backends)
                .map(|(i, (address, weight))| v1::BackendSpec {
                    name: format!("s{i}"),
                    addresses: vec![
                        format!("10.{at}.{i}.{address}"),
                        format!("fd00:{at}:{i}::{address}"),
                    ],
                    weight,
                    quic_server_id: format!("{at:02x}{i:02X}"),
                })
                .collect(),
            health_check: health_check.map(|(port, interval_ms)| v1::HealthCheckSpec {
                check: Some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port })),
                interval_ms,
                ..Default::default()
            }),
            max_backends: 0,
            hold_time_secs: keeping.0,
            dead_after_ms: keeping.1,
        }
    })
}

/// A service without mistakes, if the pool is there: no two of them share a VIP.
fn sound_service(at: usize, pools: usize) -> impl Strategy<Value = v1::ServiceSpec> {
    let ports = prop::collection::btree_set(1u16..60_000, 1..4);
    let kind = (0i32..4, 1i32..5, 0i32..5, any::<[bool; 4]>());
    (ports, 0u16..5, kind, sound_options(), 0..pools).prop_map(
        move |(
            ports,
            width,
            (protocol, mode, affinity, [prefix, every, mss, toa]),
            options,
            pool,
        )| {
            let any = protocol == 3 && mode >= 3;
            let protocol = if protocol == 3 && !any { 2 } else { protocol };
            let tcp = protocol < 2;
            v1::ServiceSpec {
                name: format!("v{at}"),
                vips: vec![
                    format!("192.0.2.{}{}", at << 4, if prefix { "/28" } else { "" }),
                    format!("2001:db8:{at}::{}", if every { "/48" } else { "" }),
                ],
                ports: match ports.len() {
                    _ if any || every => vec!["any".to_owned()],
                    1 => ports
                        .iter()
                        .map(|port| format!("{port}-{}", port + width))
                        .collect(),
                    _ => ports.iter().map(u16::to_string).collect(),
                },
                protocol,
                mode,
                pool: format!("p{pool}"),
                affinity: if affinity == 4 && protocol != 2 {
                    1
                } else {
                    affinity
                },
                clamp_mss: mss && tcp,
                client_address_option: toa && tcp && mode == 2,
                tunnel: options.tunnel.filter(|_| mode == 4),
                limits: options.limits.filter(|_| !any),
                ..options
            }
        },
    )
}

/// What any service may have, but for its mode and protocol.
fn sound_options() -> impl Strategy<Value = v1::ServiceSpec> {
    let tunnel = (any::<bool>(), 0u32..65_536, 0i32..3).prop_map(|(gue, port, outer_source)| {
        v1::TunnelSpec {
            encapsulation: if gue { 2 } else { 1 },
            gue_port: if gue { port } else { 0 },
            outer_source,
        }
    });
    let limits = (1u32..=10_000_000, 0u32..=10_000_000).prop_map(|(rate, burst)| v1::LimitsSpec {
        new_flows_per_second: rate,
        new_flow_burst: burst,
        source_new_flows_per_second: burst,
        source_new_flow_burst: burst / 2,
    });
    let sources = prop::collection::btree_set((0u8..16, 20u8..33), 0..6);
    (prop::option::of(tunnel), prop::option::of(limits), sources).prop_map(
        |(tunnel, limits, sources)| {
            // Bit 4 is in the prefix of every length.
            let text = |(n, bits): &(u8, u8)| format!("10.0.{}.0/{bits}", n << 4);
            let (allow, deny): (Vec<_>, Vec<_>) = sources.iter().partition(|(n, _)| n % 2 == 0);
            v1::ServiceSpec {
                tunnel,
                limits,
                allow_sources: allow.into_iter().map(text).collect(),
                deny_sources: deny.into_iter().map(text).collect(),
                ..v1::ServiceSpec::default()
            }
        },
    )
}

/// A specification without mistakes.
fn sound_fabric() -> impl Strategy<Value = v1::FabricSpec> {
    const POOLS: usize = 3;
    const SERVICES: usize = 4;
    let pools: Vec<_> = (0..POOLS).map(sound_pool).collect();
    let services: Vec<_> = (0..SERVICES).map(|at| sound_service(at, POOLS)).collect();
    (pools, services, 0..=SERVICES).prop_map(|(pools, mut services, kept)| {
        services.truncate(kept);
        v1::FabricSpec {
            pools,
            services,
            nodes: vec![],
        }
    })
}

fn fabric() -> impl Strategy<Value = v1::FabricSpec> {
    let spoilt = (sound_fabric(), wild_fabric()).prop_map(|(mut sound, wild)| {
        sound.pools.extend(wild.pools);
        sound.services.extend(wild.services);
        sound.nodes.extend(wild.nodes);
        sound
    });
    prop_oneof![2 => sound_fabric(), 2 => spoilt, 1 => wild_fabric()]
}

/// The valid objects of a specification, which is what a user has after mending every mistake by deleting the object.
fn valid(spec: &v1::FabricSpec) -> Document {
    match Document::parse(spec) {
        Ok(document) => document,
        Err(invalid) => {
            assert!(!invalid.violations.is_empty());
            invalid.valid
        }
    }
}

/// Does the path lead to something in a specification of this size?
fn leads_somewhere(path: &str, spec: &v1::FabricSpec) -> bool {
    let Some((field, rest)) = path.split_once('[') else {
        return matches!(path, "pools" | "services" | "nodes");
    };
    let length = match field {
        "pools" => spec.pools.len(),
        "services" => spec.services.len(),
        "nodes" => spec.nodes.len(),
        _ => return false,
    };
    let index = rest.split(']').next().and_then(|i| i.parse::<usize>().ok());
    index.is_some_and(|i| i < length)
}

proptest! {
    #[test]
    fn every_mistake_has_a_path_and_a_reason(spec in fabric()) {
        for violation in FabricState::default().violations(&spec, false) {
            prop_assert!(leads_somewhere(&violation.path, &spec), "{violation}");
            prop_assert!(!violation.reason.is_empty());
        }
    }

    #[test]
    fn no_mistake_means_that_apply_works(spec in fabric(), prune in any::<bool>()) {
        let mut state = FabricState::default();
        if state.violations(&spec, prune).is_empty() {
            let document = Document::parse(&spec).expect("it has no mistake");
            let command = Command::Apply(Apply { document, prune, expected_generation: None });
            let outcome = state.apply(Generation(3), &command);
            prop_assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        }
    }

    #[test]
    fn the_sound_is_accepted(spec in sound_fabric()) {
        prop_assert_eq!(FabricState::default().violations(&spec, false), vec![]);
    }

    #[test]
    fn what_was_understood_is_written_as_it_is_read(spec in fabric()) {
        let document = valid(&spec);
        let command = Command::Apply(Apply { document, prune: false, expected_generation: None });
        let bytes = internal::Command::from(&command).encode_to_vec();
        let proto = internal::Command::decode(bytes.as_slice()).unwrap();
        match Command::try_from(proto) {
            Ok(again) => prop_assert_eq!(internal::Command::from(&again), internal::Command::from(&command)),
            // Only the whole shows that a name stands twice.
            Err(violations) => prop_assert!(
                violations.iter().all(|v| v.reason.contains("twice")), "{violations:?}"
            ),
        }
    }

    #[test]
    fn random_histories_keep_the_state_sound(
        history in prop::collection::vec((fabric(), any::<bool>()), 1..12),
    ) {
        let mut state = FabricState::default();
        state.apply(Generation(1), &Command::SetHashKey([1; 16]));
        let facts = NodeFacts { name: "n".into(), role: Role::LoadBalancer, addresses: vec![] };
        let mut compiled = CompiledFabric::compile(&state, None);
        let mut held = compiled.for_node(&facts).held();
        for (index, (spec, prune)) in (2..).zip(history) {
            let apply = |document, prune| Command::Apply(Apply { document, prune, expected_generation: None });
            state.apply(Generation(index * 2), &apply(valid(&v1::FabricSpec { services: vec![], ..spec.clone() }), false));
            let services = apply(valid(&spec), prune);
            let before = state.to_snapshot();
            if let Outcome::Refused(_) = state.apply(Generation(index * 2 + 1), &services) {
                prop_assert_eq!(&before, &state.to_snapshot());
            }
            // The state is one that may be applied as a whole, and a snapshot of it is the same state.
            let restored = FabricState::from_snapshot(state.to_snapshot()).unwrap();
            prop_assert_eq!(restored.to_snapshot(), state.to_snapshot());
            let all = whole(&state);
            prop_assert_eq!(state.violations(&all, true), vec![]);
            // A node that follows the deltas holds what a node that starts afresh gets.
            let next = CompiledFabric::compile(&state, Some(&compiled));
            let snapshot = next.for_node(&facts);
            let delta = snapshot.delta(&held);
            for upsert in &delta.upserts {
                check_decoded(&state, &upsert.object)?;
                let key = ObjectKey::try_from(upsert.key.unwrap()).unwrap();
                held.insert(key, crate::digest_of_object(&upsert.object));
            }
            for removal in &delta.removals {
                held.remove(&ObjectKey::try_from(*removal).unwrap());
            }
            let afresh = CompiledFabric::compile(&state, None).for_node(&facts);
            prop_assert_eq!(&held, &afresh.held());
            prop_assert_eq!(delta.digest, digest_of_whole(&held));
            compiled = next;
        }
    }

    #[test]
    fn what_was_understood_is_shown_with_defaults_and_stays_the_same(spec in sound_fabric()) {
        let document = valid(&spec);
        let shown = document.to_spec();
        let again = Document::parse(&shown).map_err(|invalid| invalid.violations);
        prop_assert_eq!(again.as_ref().map(Document::to_spec), Ok(shown));
        prop_assert_eq!(again, Ok(document));
    }

    #[test]
    fn any_bytes_of_a_snapshot_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = SnapshotObject::decode(&bytes);
        prop_assert!(read.is_ok() || read.is_err_and(|e| !e.to_string().is_empty()));
    }
}

/// A node reads of a pool or service what the state holds.
fn check_decoded(state: &FabricState, bytes: &[u8]) -> Result<(), TestCaseError> {
    let object = SnapshotObject::decode(bytes).unwrap();
    match object.body {
        SnapshotBody::Pool(pool) => {
            let mut pools = state.pools().map(|stored| &stored.pool);
            let stored = pools
                .find(|pool| pool.name.as_str() == object.name)
                .unwrap();
            prop_assert_eq!(pool.flow_keeping, stored.flow_keeping);
            let ids = pool.backends.iter().map(|b| b.quic_server_id);
            prop_assert!(ids.eq(stored.backends.iter().map(|b| b.quic_server_id)));
        }
        SnapshotBody::Service(NodeService {
            vips,
            ports,
            protocol,
            mode,
            affinity,
            pool,
            backend_port,
            tunnel,
            clamp_mss,
            client_address_option,
            limits,
            source_rules,
            exact_state,
        }) => {
            let mut services = state.services().map(|stored| &stored.service);
            let stored = services.find(|s| s.name.as_str() == object.name).unwrap();
            prop_assert!(mode == Mode::Dnat || !exact_state);
            let read = Service {
                name: stored.name.clone(),
                vips,
                ports,
                protocol,
                mode,
                pool: state
                    .pools()
                    .find(|p| p.id == pool)
                    .unwrap()
                    .pool
                    .name
                    .clone(),
                affinity,
                backend_port,
                tunnel,
                clamp_mss,
                client_address_option,
                limits,
                source_rules,
            };
            prop_assert_eq!(&read, stored);
        }
        SnapshotBody::Settings(_) | SnapshotBody::ServerVips(_) => {}
    }
    Ok(())
}

fn whole(state: &FabricState) -> v1::FabricSpec {
    let mut spec = v1::FabricSpec::default();
    for object in state.objects(v1::Kind::Unspecified) {
        match object.spec.expect("stored objects have a specification") {
            v1::object::Spec::Service(service) => spec.services.push(service),
            v1::object::Spec::Pool(pool) => spec.pools.push(pool),
            v1::object::Spec::Node(node) => spec.nodes.push(node),
        }
    }
    spec
}
