//! Pools that routes and names of servers go to.

use super::*;

/// A service of the engine, one of whose routes names a pool, and another one that pool and one more.
fn routed(first: &str, second: &str) -> v1::FabricSpec {
    let route = |name: &str, forward| v1::RouteSpec {
        name: name.to_owned(),
        forward: Some(forward),
        ..v1::RouteSpec::default()
    };
    let part = |pool: &str| v1::SplitSpec {
        pool: pool.to_owned(),
        weight: None,
    };
    let one = v1::RouteForwardSpec {
        pool: first.to_owned(),
        ..v1::RouteForwardSpec::default()
    };
    let both = v1::RouteForwardSpec {
        split: vec![part(first), part(second)],
        ..v1::RouteForwardSpec::default()
    };
    let routes = vec![route("one", one), route("both", both)];
    v1::FabricSpec {
        pools: vec![pool("web", vec![]), pool("a", vec![]), pool("b", vec![])],
        services: vec![v1::ServiceSpec {
            proxy: Some(v1::ProxySpec {
                routes,
                ..v1::ProxySpec::default()
            }),
            ..service("e", "198.51.100.7", "80", v1::Mode::L7Reverse, "web")
        }],
        ..v1::FabricSpec::default()
    }
}

fn paths(spec: &v1::FabricSpec) -> Vec<String> {
    let violations = FabricState::default().violations(spec, false);
    violations.into_iter().map(|v| v.path).collect()
}

#[test]
fn pools_of_routes_have_to_be_there() {
    assert_eq!(paths(&routed("a", "b")), Vec::<String>::new());
    let route = |rest: &str| format!("services[0].proxy.routes{rest}");
    let missing = [
        route("[0].forward.pool"),
        route("[1].forward.split[0].pool"),
        route("[1].forward.split[1].pool"),
    ];
    assert_eq!(paths(&routed("c", "d")), missing);
    // A service with another mistake is told of them as well.
    let mut spec = routed("c", "b");
    spec.services[0].clamp_mss = true;
    let expected = [&["services[0].clamp_mss".to_owned()], &missing[..2]].concat();
    assert_eq!(paths(&spec), expected);
}

#[test]
fn pools_of_routes_stay_as_long_as_routes_name_them() {
    let mut state = FabricState::default();
    state.apply(Generation(1), &apply(&routed("a", "b")));
    let going = |names: &[&str]| {
        let refs: Vec<_> = names.iter().map(|name| (v1::Kind::Pool, *name)).collect();
        delete(&refs)
    };
    let refused = refusal(state.apply(Generation(2), &going(&["a"])));
    assert_eq!(
        refused,
        (RefusalKind::InUse, vec!["refs[0].name".to_owned()])
    );
    // Nor are they pruned away.
    let mut spec = routed("a", "b");
    spec.pools.pop();
    assert_eq!(
        state.violations(&spec, true).len(),
        1,
        "the split has one of them"
    );
    let mut spec = routed("a", "b");
    spec.services[0].proxy.as_mut().unwrap().routes.pop();
    state.apply(Generation(3), &apply(&spec));
    let gone = [("b".to_owned(), v1::Action::Delete)];
    assert_eq!(actions(&state.apply(Generation(4), &going(&["b"]))), gone);
}

#[test]
fn nodes_are_told_the_pools_of_routes_in_order() {
    let mut state = FabricState::default();
    state.apply(Generation(1), &Command::SetHashKey([7; 16]));
    state.apply(Generation(2), &apply(&routed("b", "a")));
    let facts = NodeFacts {
        name: "n".to_owned(),
        role: Role::LoadBalancer,
        addresses: vec![],
    };
    let snapshot = CompiledFabric::compile(&state, None).for_node(&facts);
    let proxies = snapshot.objects.values().filter_map(|object| {
        let object = SnapshotObject::decode(&object.bytes).unwrap();
        if let SnapshotBody::Proxy(proxy) = object.body {
            Some(proxy)
        } else {
            None
        }
    });
    let told: Vec<_> = proxies.map(|proxy| proxy.route_pools).collect();
    let id = |name: &str| {
        state
            .pools()
            .find(|it| it.pool.name.as_str() == name)
            .unwrap()
            .id
    };
    assert_eq!(told, [vec![id("b"), id("a")]]);
}

#[test]
fn servers_of_routes_answer_clients_for_one_kind_of_service_too() {
    let with = |mode: v1::Mode| {
        let mut spec = routed("a", "b");
        spec.pools[1].backends = vec![backend("s", &["192.0.2.1"])];
        spec.services[0].mode = v1::Mode::L7Transparent.into();
        let other = service("d", "198.51.100.8", "80", mode, "a");
        spec.services.push(other);
        paths(&spec)
    };
    let refused = with(v1::Mode::L4Dnat);
    assert!(
        refused.contains(&"services[0].pool".to_owned()),
        "{refused:?}"
    );
    assert_eq!(with(v1::Mode::L4Fullnat), Vec::<String>::new());
}

/// A service that passes TLS through, with a name for each of these pools.
fn named(pools: &[&str]) -> v1::FabricSpec {
    let route = |(n, pool): (usize, &&str)| v1::SniRouteSpec {
        names: vec![format!("{n}.example")],
        pool: (*pool).to_owned(),
    };
    let mut spec = routed("a", "b");
    spec.services[0].proxy = Some(v1::ProxySpec {
        carries: v1::Carries::TlsPassthrough.into(),
        sni: Some(v1::SniSpec {
            routes: pools.iter().enumerate().map(route).collect(),
            ..v1::SniSpec::default()
        }),
        ..v1::ProxySpec::default()
    });
    spec
}

#[test]
fn pools_of_names_have_to_be_there_and_stay() {
    let field = |n| format!("services[0].proxy.sni.routes[{n}].pool");
    assert_eq!(paths(&named(&["a", "c", "b", "d"])), [field(1), field(3)]);
    let mut broken = named(&["c"]);
    broken.services[0].clamp_mss = true;
    let expected = ["services[0].clamp_mss".to_owned(), field(0)];
    assert_eq!(paths(&broken), expected);

    let mut state = FabricState::default();
    state.apply(Generation(1), &apply(&named(&["b", "b", "web"])));
    let refused = refusal(state.apply(Generation(2), &delete(&[(v1::Kind::Pool, "b")])));
    assert_eq!(refused.0, RefusalKind::InUse);
    let gone = delete(&[(v1::Kind::Pool, "a")]);
    let gone = actions(&state.apply(Generation(3), &gone));
    assert_eq!(gone, [("a".to_owned(), v1::Action::Delete)]);
}

#[test]
fn names_are_for_tls_that_is_passed_through() {
    for (carries, protocol) in [
        (v1::Carries::Http, v1::Protocol::Tcp),
        (v1::Carries::Tcp, v1::Protocol::Tcp),
        (v1::Carries::Unspecified, v1::Protocol::Udp),
    ] {
        let mut spec = named(&["a"]);
        spec.services[0].protocol = protocol.into();
        spec.services[0].proxy.as_mut().unwrap().carries = carries.into();
        assert_eq!(paths(&spec), ["services[0].proxy.sni"], "{carries:?}");
    }
}
