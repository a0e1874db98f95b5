use super::*;
use crate::{
    Apply, CompiledFabric, Delete, Document, NodeFacts, ObjectRef, Prefix, RefusalKind, Role,
    SecretKey, digest_of_whole,
    snapshot::{ServerVips, SnapshotBody, SnapshotObject},
};

mod announcements;
mod bgp;
mod certificates;
mod engine;
mod l4_features;
mod leases;
mod routes;

fn backend(name: &str, addresses: &[&str]) -> v1::BackendSpec {
    v1::BackendSpec {
        name: name.into(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ..v1::BackendSpec::default()
    }
}

fn pool(name: &str, backends: Vec<v1::BackendSpec>) -> v1::PoolSpec {
    v1::PoolSpec {
        name: name.into(),
        backends,
        ..v1::PoolSpec::default()
    }
}

fn service(name: &str, vip: &str, port: &str, mode: v1::Mode, pool: &str) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: name.into(),
        vips: vec![vip.into()],
        ports: vec![port.into()],
        mode: mode.into(),
        pool: pool.into(),
        ..Default::default()
    }
}

/// A pool of two servers and a service of each family-neutral kind.
fn fabric() -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![pool(
            "web",
            vec![
                backend("s1", &["10.0.0.1", "fd00::1"]),
                backend("s2", &["10.0.0.2", "fd00::2"]),
            ],
        )],
        services: vec![
            service("web", "192.0.2.1", "80", v1::Mode::L4Fullnat, "web"),
            service("dsr", "2001:db8::1", "8000-8099", v1::Mode::L4Dsr, "web"),
        ],
        nodes: vec![v1::NodeSpec {
            name: "n1".into(),
            source_addresses: vec!["10.0.0.9".into()],
            ..v1::NodeSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

fn apply(spec: &v1::FabricSpec) -> Command {
    apply_with(spec, false, None)
}

fn apply_with(spec: &v1::FabricSpec, prune: bool, expected: Option<u64>) -> Command {
    Command::Apply(Apply {
        document: Document::parse(spec).expect("the specification is valid"),
        prune,
        expected_generation: expected.map(Generation),
    })
}

fn delete(refs: &[(v1::Kind, &str)]) -> Command {
    Command::Delete(Delete {
        refs: refs
            .iter()
            .map(|(kind, name)| ObjectRef {
                kind: *kind,
                name: (*name).into(),
            })
            .collect(),
        expected_generation: None,
    })
}

fn actions(outcome: &Outcome) -> Vec<(String, v1::Action)> {
    let Outcome::Applied { changes, .. } = outcome else {
        panic!("refused: {outcome:?}")
    };
    changes
        .iter()
        .map(|c| (c.r#ref.clone().unwrap().name, c.action()))
        .collect()
}

fn refusal(outcome: Outcome) -> (RefusalKind, Vec<String>) {
    let Outcome::Refused(refusal) = outcome else {
        panic!("applied: {outcome:?}")
    };
    let paths = refusal.violations.into_iter().map(|v| v.path).collect();
    (refusal.kind, paths)
}

fn loaded() -> FabricState {
    let mut state = FabricState::default();
    state.apply(Generation(1), &Command::SetHashKey([7; 16]));
    state.apply(Generation(5), &apply(&fabric()));
    state
}

#[test]
fn an_object_keeps_the_generation_of_its_last_change() {
    let mut state = loaded();
    assert_eq!(state.generation(), Generation(5));
    let unchanged = state.apply(Generation(6), &apply(&fabric()));
    assert!(
        actions(&unchanged)
            .iter()
            .all(|(_, a)| *a == v1::Action::Unchanged)
    );
    assert_eq!(state.generation(), Generation(5));
    let mut spec = fabric();
    spec.pools[0].backends[1].weight = Some(0);
    let outcome = state.apply(Generation(9), &apply(&spec));
    let Outcome::Applied {
        generation,
        changes,
    } = outcome
    else {
        panic!()
    };
    assert_eq!(generation, Generation(9));
    assert_eq!(
        changes[0].fields,
        [v1::FieldChange {
            path: "backends.s2.weight".into(),
            before: "100".into(),
            after: "0".into(),
        }]
    );
    assert_eq!(state.object(v1::Kind::Pool, "web").unwrap().generation, 9);
    assert_eq!(
        state.object(v1::Kind::Service, "web").unwrap().generation,
        5
    );
}

#[test]
fn the_preview_is_what_apply_says_and_changes_nothing() {
    let state = loaded();
    let mut spec = fabric();
    spec.services[0].ports = vec!["81".into()];
    let preview = state.preview(&apply(&spec));
    assert_eq!(
        actions(&preview),
        actions(&state.clone().apply(Generation(9), &apply(&spec)))
    );
    assert_eq!(state.to_snapshot(), loaded().to_snapshot());
}

#[test]
fn every_mistake_is_told_with_its_path() {
    let mut spec = fabric();
    spec.services[0].vips = vec!["127.0.0.1".into()];
    spec.services[1].ports = vec!["0".into()];
    spec.services[1].mode = 0;
    spec.services
        .push(service("a", "192.0.2.2", "80", v1::Mode::L4Fullnat, "nope"));
    spec.pools[0].backends[0].addresses.push("fd00::3".into());
    spec.pools
        .push(pool("only4", vec![backend("s", &["10.0.0.3"])]));
    spec.services
        .push(service("b", "2001:db8::2", "80", v1::Mode::L4Dnat, "only4"));
    let mut paths: Vec<_> = FabricState::default()
        .violations(&spec, false)
        .into_iter()
        .map(|v| v.path)
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "pools[0].backends[0].addresses[2]",
            "pools[1].backends[0].addresses",
            "services[0].vips[0]",
            "services[1].mode",
            "services[1].ports[0]",
            "services[2].pool",
        ]
    );
}

#[test]
fn an_endpoint_belongs_to_one_service() {
    let mut state = loaded();
    let mut spec = fabric();
    spec.services = vec![service(
        "other",
        "192.0.2.1",
        "70-90",
        v1::Mode::L4Dsr,
        "web",
    )];
    let (kind, paths) = refusal(state.apply(Generation(6), &apply(&spec)));
    assert_eq!(
        (kind, paths),
        (RefusalKind::Invalid, vec!["services[0].vips[0]".into()])
    );
    spec.services[0].protocol = v1::Protocol::Udp.into();
    actions(&state.apply(Generation(7), &apply(&spec)));
}

#[test]
fn overlaps_behind_a_long_range_are_found() {
    let mut spec = fabric();
    spec.services = vec![
        service("wide", "192.0.2.1", "1-60000", v1::Mode::L4Dsr, "web"),
        service("low", "192.0.2.1", "60001", v1::Mode::L4Dsr, "web"),
        service("in", "192.0.2.1", "500", v1::Mode::L4Dsr, "web"),
    ];
    let violations = FabricState::default().violations(&spec, false);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].path, "services[2].vips[0]");
}

#[test]
fn pools_in_use_stay() {
    let mut state = loaded();
    let before = state.to_snapshot();
    let (kind, paths) = refusal(state.apply(
        Generation(6),
        &delete(&[(v1::Kind::Service, "web"), (v1::Kind::Pool, "web")]),
    ));
    assert_eq!(
        (kind, paths),
        (RefusalKind::InUse, vec!["refs[1].name".into()])
    );
    let (kind, _) = refusal(state.apply(Generation(7), &delete(&[(v1::Kind::Node, "n9")])));
    assert_eq!(kind, RefusalKind::NotFound);
    assert_eq!(state.to_snapshot(), before);
    let all = [
        (v1::Kind::Service, "web"),
        (v1::Kind::Service, "dsr"),
        (v1::Kind::Pool, "web"),
        (v1::Kind::Pool, "web"),
    ];
    assert_eq!(actions(&state.apply(Generation(8), &delete(&all))).len(), 3);
    assert_eq!(state.objects(v1::Kind::Unspecified).len(), 1);
}

#[test]
fn pruning_leaves_what_is_named() {
    let mut state = loaded();
    let mut spec = fabric();
    spec.services.truncate(1);
    let outcome = state.apply(Generation(6), &apply_with(&spec, true, Some(5)));
    assert!(actions(&outcome).contains(&("dsr".into(), v1::Action::Delete)));
    assert!(state.object(v1::Kind::Service, "dsr").is_none());
    let (kind, _) = refusal(state.apply(Generation(7), &apply_with(&spec, true, Some(5))));
    assert_eq!(kind, RefusalKind::Stale);
}

#[test]
fn a_pool_keeps_its_size_and_a_moved_server_gets_a_new_id() {
    let mut state = loaded();
    let mut spec = fabric();
    spec.pools[0].max_backends = 64;
    let (_, paths) = refusal(state.apply(Generation(6), &apply(&spec)));
    assert_eq!(paths, ["pools[0].max_backends"]);
    let ids = |state: &FabricState| state.pools().next().unwrap().backend_ids.clone();
    let before = ids(&state);
    let mut spec = fabric();
    spec.pools[0].backends[0].addresses = vec!["10.0.0.7".into(), "fd00::7".into()];
    actions(&state.apply(Generation(7), &apply(&spec)));
    assert_ne!(ids(&state)[0], before[0]);
    assert_eq!(ids(&state)[1], before[1]);
}

#[test]
fn a_snapshot_restores_the_state() {
    let mut state = loaded();
    let mut restored = FabricState::from_snapshot(state.to_snapshot()).unwrap();
    let mut spec = fabric();
    spec.pools
        .push(pool("more", vec![backend("s9", &["10.0.0.99"])]));
    for state in [&mut state, &mut restored] {
        actions(&state.apply(Generation(8), &apply(&spec)));
    }
    assert_eq!(state.to_snapshot(), restored.to_snapshot());
}

#[test]
fn commands_survive_the_log() {
    use lbfabric_proto::internal::v1::Command as ProtoCommand;
    for command in [
        apply_with(&fabric(), true, Some(3)),
        delete(&[(v1::Kind::Pool, "web")]),
        Command::SetHashKey([9; 16]),
        Command::AddTicketKey {
            period: 7,
            secret: SecretKey::new([9; 32]),
        },
    ] {
        let proto = ProtoCommand::from(&command);
        assert_eq!(Command::try_from(proto).unwrap(), command);
    }
    assert!(Command::try_from(ProtoCommand::default()).is_err());
}

#[test]
fn nodes_get_what_differs() {
    let mut state = FabricState::default();
    let facts = NodeFacts {
        name: "n1".into(),
        role: Role::LoadBalancer,
        addresses: vec![],
    };
    let empty = CompiledFabric::compile(&state, None).for_node(&facts);
    assert!(empty.objects.is_empty());
    state.apply(Generation(1), &Command::SetHashKey([7; 16]));
    state.apply(Generation(5), &apply(&fabric()));
    let first = CompiledFabric::compile(&state, None);
    let snapshot = first.for_node(&facts);
    let delta = snapshot.delta(&empty.held());
    assert_eq!(delta.upserts.len(), 4);
    for upsert in &delta.upserts {
        SnapshotObject::decode(&upsert.object).unwrap();
    }
    let settings = SnapshotObject::decode(&delta.upserts[0].object).unwrap();
    let SnapshotBody::Settings(settings) = settings.body else {
        panic!("settings come first: {settings:?}")
    };
    assert_eq!(
        settings.sources,
        ["10.0.0.9".parse::<std::net::IpAddr>().unwrap()]
    );
    state.apply(Generation(9), &delete(&[(v1::Kind::Service, "dsr")]));
    let second = CompiledFabric::compile(&state, Some(&first)).for_node(&facts);
    let delta = second.delta(&snapshot.held());
    assert_eq!((delta.upserts.len(), delta.removals.len()), (0, 1));
    assert_eq!(delta.digest, digest_of_whole(&second.held()));
    assert!(second.delta(&second.held()).upserts.is_empty());
}

#[test]
fn servers_get_the_vips_they_answer_for() {
    let compiled = CompiledFabric::compile(&loaded(), None);
    let vips = |address: &str| {
        let snapshot = compiled.for_node(&NodeFacts {
            name: "s".into(),
            role: Role::Server,
            addresses: vec![address.parse().unwrap()],
        });
        let object = snapshot.objects.into_values().next().unwrap();
        match SnapshotObject::decode(&object.bytes).unwrap().body {
            SnapshotBody::ServerVips(ServerVips { vips, .. }) => vips,
            other => panic!("{other:?}"),
        }
    };
    let vip = "2001:db8::1".parse::<std::net::IpAddr>().unwrap();
    assert_eq!(vips("10.0.0.1"), [Prefix::from(vip)]);
    assert!(vips("10.0.0.77").is_empty());
}

#[test]
fn nodes_get_the_keys_of_tickets_and_their_order() {
    let mut state = loaded();
    let facts = NodeFacts {
        name: "n1".into(),
        role: Role::LoadBalancer,
        addresses: vec![],
    };
    for period in 1..4u8 {
        let command = Command::AddTicketKey {
            period: period.into(),
            secret: SecretKey::new([period; 32]),
        };
        let before = state.generation();
        let objects_before = state.objects_generation();
        state.apply(Generation(before.0 + 1), &command);
        assert_eq!(state.generation(), Generation(before.0 + 1));
        // The second one of a period is none.
        state.apply(Generation(before.0 + 2), &command);
        assert_eq!(state.generation(), Generation(before.0 + 1));
        assert_eq!(state.objects_generation(), objects_before);
    }
    let state = FabricState::from_snapshot(state.to_snapshot()).unwrap();
    let snapshot = CompiledFabric::compile(&state, None).for_node(&facts);
    let settings = snapshot.objects.values().next().unwrap();
    let settings = SnapshotObject::decode(&settings.bytes).unwrap();
    let SnapshotBody::Settings(settings) = settings.body else {
        panic!("settings come first: {settings:?}")
    };
    let keys = settings.ticket_keys.iter().map(|key| key.secret()[0]);
    assert_eq!(keys.collect::<Vec<_>>(), [2, 3, 1]);
}

#[test]
fn keys_that_controllers_renew_make_nobodys_expectation_stale() {
    let mut state = loaded();
    let rotation = Command::AddTicketKey {
        period: 1,
        secret: SecretKey::new([1; 32]),
    };
    state.apply(Generation(6), &rotation);
    assert_eq!(state.generation(), Generation(6));
    let mut state = FabricState::from_snapshot(state.to_snapshot()).unwrap();
    assert_eq!(state.objects_generation(), Generation(5));
    let told = |outcome| match outcome {
        Outcome::Applied { generation, .. } => generation,
        Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
    };
    // An answer without a change tells what may be expected, too.
    assert_eq!(told(state.preview(&apply(&fabric()))), Generation(5));
    let again = state.apply(Generation(7), &apply(&fabric()));
    assert_eq!(told(again), Generation(5));
    let mut spec = fabric();
    spec.pools[0].backends[1].weight = Some(0);
    let changed = state.apply(Generation(8), &apply_with(&spec, false, Some(5)));
    assert_eq!(told(changed), Generation(8));
    // What users change makes it stale.
    let late = state.apply(Generation(9), &apply_with(&fabric(), false, Some(5)));
    assert_eq!(refusal(late).0, RefusalKind::Stale);
    // A snapshot of a controller that did not tell them apart.
    let mut old = state.to_snapshot();
    old.objects_generation = 0;
    let old = FabricState::from_snapshot(old).unwrap();
    assert_eq!(old.objects_generation(), state.generation());
}
