//! Services of the API as the engine has them, and what is said of connections to them.

use std::{collections::BTreeMap, time::Duration};

use lbfabric_model::{PacketQuestion, ServiceId};
use lbfabric_proto::v1;

use super::super::{
    proptests::{WATCHING, fabric, told},
    routes::RouteTables,
    transparent::Surroundings,
    wanted::Wanted,
};
use super::*;

const CLIENT: &str = "198.51.100.7:40000";
const VIP: &str = "203.0.113.1:80";

fn backend(name: &str, address: &str, weight: u32) -> v1::BackendSpec {
    v1::BackendSpec {
        name: name.to_owned(),
        addresses: vec![address.to_owned()],
        weight: Some(weight),
        ..v1::BackendSpec::default()
    }
}

/// The pools `b`, which is the service's, and `a`, with a server that is drained.
fn spec(proxy: v1::ProxySpec) -> v1::FabricSpec {
    let mut spec = fabric(proxy);
    spec.pools[0].backends = vec![backend("a1", "192.0.2.1", 1), backend("a2", "192.0.2.2", 0)];
    spec.pools[1].backends = vec![
        backend("b1", "192.0.2.11", 1),
        backend("b2", "192.0.2.12", 1),
    ];
    spec
}

fn question(request: Option<v1::RequestQuestion>) -> PacketQuestion {
    let spec = v1::PacketQuestion {
        source: CLIENT.to_owned(),
        destination: VIP.to_owned(),
        request,
        ..v1::PacketQuestion::default()
    };
    PacketQuestion::parse(&spec, "packet").expect("a sound question")
}

fn asked(host: &str, path: &str, method: &str, headers: &[(&str, &str)]) -> v1::RequestQuestion {
    let header = |(name, value): &(&str, &str)| v1::HeaderSpec {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    v1::RequestQuestion {
        host: host.to_owned(),
        path: path.to_owned(),
        method: method.to_owned(),
        headers: headers.iter().map(header).collect(),
        ..v1::RequestQuestion::default()
    }
}

/// What is said of a connection, and of the request over it.
fn said(proxy: v1::ProxySpec, request: Option<v1::RequestQuestion>) -> v1::Explanation {
    let desired = told(&spec(proxy)).expect("the API takes it");
    let around = Surroundings {
        subnets: &[],
        own: &[],
        local_ports: (32_768, 60_999),
    };
    let (health, before) = (HealthView::default(), BTreeMap::new());
    let wanted = Wanted::new(&desired, &health, &before, None, around);
    let engine = Engine::start(1, Duration::ZERO).expect("a thread");
    let question = question(request);
    let (key, part) = wanted
        .parts
        .iter()
        .find(|(_, part)| part.listen.contains(&question.destination))
        .expect("it is served");
    let id = ServiceId(key.id);
    let mut tables = RouteTables::default();
    let table = part.behaviour.table(id, &mut tables).expect("it is sound");
    let ways = (table, part.behaviour.sni().expect("the same"));
    let config = part.behaviour.config(None, None, ways, &WATCHING);
    let mut told = Told::of(&desired.proxies[&id], "web", &question);
    let asked = Asked {
        question: &question,
        desired: &desired,
        health: &health,
        engine: &engine,
        key: *key,
    };
    asked.connection(&part.behaviour, &config, &mut told);
    told.explanation("web".to_owned())
}

fn routes() -> v1::ProxySpec {
    let route = |name: &str, when: v1::RouteMatchSpec| v1::RouteSpec {
        name: name.to_owned(),
        r#match: Some(when),
        ..v1::RouteSpec::default()
    };
    let below = |prefix: &str| v1::RouteMatchSpec {
        path_prefix: prefix.to_owned(),
        ..v1::RouteMatchSpec::default()
    };
    let canary = v1::RouteMatchSpec {
        headers: vec![v1::FieldMatchSpec {
            name: "X-Canary".to_owned(),
            ..v1::FieldMatchSpec::default()
        }],
        ..below("/api")
    };
    let forward = v1::RouteForwardSpec {
        pool: "a".to_owned(),
        rewrite: Some(v1::RewriteSpec {
            path_prefix: "/".to_owned(),
            ..v1::RewriteSpec::default()
        }),
        ..v1::RouteForwardSpec::default()
    };
    let redirect = v1::RouteRedirectSpec {
        host: "new.example".to_owned(),
        ..v1::RouteRedirectSpec::default()
    };
    v1::ProxySpec {
        routes: vec![
            route("canary", canary),
            v1::RouteSpec {
                forward: Some(forward),
                allow_methods: vec!["GET".to_owned()],
                rate_limits: vec!["slow".to_owned()],
                ..route("api", below("/api"))
            },
            v1::RouteSpec {
                redirect: Some(redirect),
                ..route("old", below("/old"))
            },
        ],
        rate_limits: vec![v1::RequestRateSpec {
            name: "slow".to_owned(),
            requests: 1,
            per_ms: 600_000,
            ..v1::RequestRateSpec::default()
        }],
        ..v1::ProxySpec::default()
    }
}

fn has_step(said: &v1::Explanation, step: &str) -> bool {
    said.steps.iter().any(|it| it.contains(step))
}

#[test]
fn a_request_goes_by_its_route() {
    let request = asked("shop.example", "/api/items?q", "GET", &[]);
    let said = said(routes(), Some(request));
    let proxy = said.proxy.clone().expect("the engine has it");
    assert_eq!(
        (&*proxy.route, &*proxy.target, &*said.pool),
        ("api", "/items?q", "a")
    );
    for step in [
        "service web serves tcp port 80 of 203.0.113.1 in mode l7-reverse, and carries http",
        "route canary is passed by: no field x-canary is as it must be",
        "for another host or path: old",
        "route api has it",
        "the server is asked for /items?q",
        "pool a, by round-robin: 1 of 2 servers take requests",
        "sees the node's address; its answer goes back over the client's connection, from 203.0.113.1:80",
    ] {
        assert!(has_step(&said, step), "{step}\n{said:#?}");
    }
    let servers = proxy.servers.iter();
    let servers: Vec<_> = servers
        .map(|it| (&*it.name, &*it.address, &*it.state, it.candidate))
        .collect();
    assert_eq!(
        servers,
        [
            ("a1", "192.0.2.1:80", "takes requests", true),
            ("a2", "192.0.2.2:80", "draining: weight 0", false),
        ]
    );
}

#[test]
fn what_would_refuse_a_request_is_told() {
    for (request, status, route, step) in [
        (
            asked("a.example", "/api", "PUT", &[]),
            405,
            "api",
            "route api refuses it with 405: `allow_methods` does not have its method",
        ),
        (
            asked("a.example", "/old/x", "GET", &[]),
            302,
            "old",
            "route old answers by itself: 302, to http://new.example/old/x",
        ),
        (
            asked("a.example", "/../x", "GET", &[]),
            400,
            "",
            "the service refuses it with 400: path-leaves-root",
        ),
        (
            asked("a.example", "/", "GET", &[("Content-Length", "x")]),
            400,
            "",
            "the request is refused before any route is looked for: 400",
        ),
    ] {
        let said = said(routes(), Some(request));
        let proxy = said.proxy.clone().unwrap();
        assert_eq!((proxy.status, &*proxy.route), (status, route), "{said:#?}");
        assert!(has_step(&said, step), "{step}\n{said:#?}");
        assert_eq!(proxy.servers, []);
    }
    let denied = v1::ProxySpec {
        deny_sources: vec!["198.51.100.0/24".to_owned()],
        ..routes()
    };
    let said = said(denied, Some(asked("a.example", "/api", "GET", &[])));
    assert!(
        has_step(
            &said,
            "the service refuses it with 403: `deny_sources` has the client"
        ),
        "{said:#?}"
    );
}

#[test]
fn without_a_request_only_the_connection_is_told() {
    let with_routes = said(routes(), None);
    assert!(
        has_step(&with_routes, "ask with `--host`"),
        "{with_routes:#?}"
    );
    assert_eq!(with_routes.pool, "");
    let without = said(v1::ProxySpec::default(), None);
    assert_eq!(without.pool, "b");
    let rest = said(routes(), Some(asked("a.example", "/", "GET", &[])));
    assert_eq!(rest.pool, "b");
    assert!(has_step(&rest, "no route is for it"), "{rest:#?}");
}

#[test]
fn a_hash_says_which_server_it_is() {
    let proxy = v1::ProxySpec {
        balancing: Some(v1::BalancingSpec {
            algorithm: v1::BalancingAlgorithm::Hash.into(),
            hash: Some(v1::HashSpec {
                on: Some(v1::hash_spec::On::Header("X-Tenant".to_owned())),
                bound_percent: 0,
            }),
            ..v1::BalancingSpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    let server = |tenant: &str| {
        let request = asked("a.example", "/", "GET", &[("X-Tenant", tenant)]);
        said(proxy.clone(), Some(request)).server
    };
    let servers: std::collections::BTreeSet<_> =
        (0..16).map(|it| server(&it.to_string())).collect();
    assert_eq!(servers, ["b1".to_owned(), "b2".to_owned()].into());
    assert_eq!(server("7"), server("7"));
}

#[test]
fn names_lead_to_pools_where_tls_is_passed_through() {
    let proxy = |others: v1::SniOthers| v1::ProxySpec {
        carries: v1::Carries::TlsPassthrough.into(),
        sni: Some(v1::SniSpec {
            routes: vec![v1::SniRouteSpec {
                names: vec!["*.example.org".to_owned()],
                pool: "a".to_owned(),
            }],
            others: others.into(),
        }),
        ..v1::ProxySpec::default()
    };
    let ask = |others, name: &str| {
        let request = v1::RequestQuestion {
            server_name: name.to_owned(),
            ..v1::RequestQuestion::default()
        };
        said(proxy(others), Some(request))
    };
    let found = ask(v1::SniOthers::Refuse, "WWW.example.org");
    assert_eq!(found.pool, "a");
    assert!(
        has_step(&found, "`sni` has *.example.org for www.example.org"),
        "{found:#?}"
    );
    let rest = ask(v1::SniOthers::Serve, "example.org");
    assert_eq!(rest.pool, "b");
    let refused = ask(v1::SniOthers::Refuse, "example.org");
    assert_eq!(refused.pool, "");
    assert!(
        has_step(&refused, "the alert unrecognized_name"),
        "{refused:#?}"
    );
}

#[test]
fn connections_are_limited_and_told_from_proxies() {
    let proxy = v1::ProxySpec {
        proxy_protocol: Some(v1::ProxyProtocolSpec {
            sources: vec!["192.0.2.0/24".to_owned()],
            others: v1::ProxyProtocolOthers::Refuse.into(),
            ..v1::ProxyProtocolSpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    let refused = said(proxy, None);
    assert!(
        has_step(&refused, "others are refused: the connection is reset"),
        "{refused:#?}"
    );
    let limited = v1::ProxySpec {
        connection_limits: Some(v1::ConnectionLimitsSpec {
            service: 5,
            ..v1::ConnectionLimitsSpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    let limited = said(limited, None);
    assert!(
        has_step(
            &limited,
            "the service has 0 connections, and room for this one"
        ),
        "{limited:#?}"
    );
}
