//! How nodes speak BGP, and its secrets.

use super::*;

const SECRET: &str = "hush-hush-hush";

fn speaking(password: Option<&str>) -> v1::FabricSpec {
    let neighbor = v1::BgpNeighborSpec {
        name: "router".into(),
        address: "10.0.0.254".into(),
        asn: 65_020,
        md5_password: password.map(str::to_owned),
        ..v1::BgpNeighborSpec::default()
    };
    v1::FabricSpec {
        nodes: vec![v1::NodeSpec {
            name: "n1".into(),
            bgp: Some(v1::BgpSpec {
                asn: 65_010,
                router_id: "10.0.0.1".into(),
                neighbors: vec![neighbor],
                ..v1::BgpSpec::default()
            }),
            ..v1::NodeSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

fn stored(state: &FabricState) -> v1::BgpNeighborSpec {
    let object = state.object(v1::Kind::Node, "n1").expect("it is stored");
    let Some(v1::object::Spec::Node(node)) = object.spec else {
        panic!("a node is a node");
    };
    node.bgp.expect("it speaks").neighbors.remove(0)
}

/// The secret that the node gets.
fn sent(state: &FabricState) -> Option<Vec<u8>> {
    let facts = NodeFacts {
        name: "n1".into(),
        role: Role::LoadBalancer,
        addresses: vec![],
    };
    let compiled = CompiledFabric::compile(state, None).for_node(&facts);
    let settings = compiled.objects.values().next().expect("settings");
    let decoded = SnapshotObject::decode(&settings.bytes).expect("it is whole");
    let SnapshotBody::Settings(settings) = decoded.body else {
        panic!("settings come first");
    };
    let bgp = settings.bgp.expect("it speaks").expect("it is readable");
    let secret = bgp.neighbors[0].md5_password.secret();
    secret.map(|it| it.as_bytes().to_vec())
}

/// What applying it changes.
fn changes(state: &mut FabricState, index: u64, spec: &v1::FabricSpec) -> Vec<v1::Change> {
    match state.apply(Generation(index), &apply(spec)) {
        Outcome::Applied { changes, .. } => changes,
        Outcome::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn a_neighbors_secret_gets_to_the_node_and_nowhere_else() {
    let mut state = FabricState::default();
    state.apply(Generation(1), &Command::SetHashKey([7; 16]));
    changes(&mut state, 2, &speaking(Some(SECRET)));
    assert_eq!(sent(&state).as_deref(), Some(SECRET.as_bytes()));
    let read = stored(&state);
    assert_eq!((read.md5_password, read.hold_time_secs), (None, 90));
    let restored = FabricState::from_snapshot(state.to_snapshot()).expect("it is whole");
    assert_eq!(sent(&restored).as_deref(), Some(SECRET.as_bytes()));
    let shown = format!("{state:?} {:?}", state.to_snapshot());
    assert!(shown.contains("has_md5_password: true"));
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_secret_stays_where_nothing_is_said_and_goes_where_it_is_empty() {
    let mut state = FabricState::default();
    state.apply(Generation(1), &Command::SetHashKey([7; 16]));
    changes(&mut state, 2, &speaking(Some(SECRET)));
    let changed = changes(&mut state, 3, &speaking(None));
    assert_eq!(changed[0].action(), v1::Action::Unchanged);
    assert!(sent(&state).is_some());
    let changed = changes(&mut state, 4, &speaking(Some("other")));
    let fields: Vec<_> = changed[0]
        .fields
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    assert_eq!(fields, ["bgp.neighbors.router.md5_password"]);
    assert_eq!(sent(&state).as_deref(), Some(&b"other"[..]));
    let changed = changes(&mut state, 5, &speaking(Some("")));
    assert_eq!(changed[0].fields[0].before, "a secret");
    assert_eq!(sent(&state), None);
}
