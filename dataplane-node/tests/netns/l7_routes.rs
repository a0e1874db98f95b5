//! Routes from the API to who answers: pools by path and host, splits, rewrites, answers of the node's own, limits that live on through changes.

use std::collections::BTreeMap;

use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    load_balancer::web,
    named_servers::{curl, serve},
    played_controller::PlayedController,
};

const URL: &str = "http://10.99.0.1";
/// A pool and a server for each.
const POOLS: [(&str, &str); 3] = [
    ("web", "10.88.0.3"),
    ("api", "10.88.0.4"),
    ("next", "10.88.0.5"),
];

fn spec(proxy: v1::ProxySpec) -> v1::FabricSpec {
    let mut spec = web(v1::Mode::L7Reverse);
    spec.services[0].vips.pop();
    spec.services[0].proxy = Some(proxy);
    let check = spec.pools[0].health_check;
    spec.pools = POOLS
        .into_iter()
        .map(|(name, address)| v1::PoolSpec {
            name: name.to_owned(),
            backends: vec![v1::BackendSpec {
                name: format!("{name}-1"),
                addresses: vec![address.to_owned()],
                ..v1::BackendSpec::default()
            }],
            health_check: check,
            ..v1::PoolSpec::default()
        })
        .collect();
    spec
}

fn below(prefix: &str) -> v1::RouteMatchSpec {
    v1::RouteMatchSpec {
        path_prefix: prefix.to_owned(),
        ..v1::RouteMatchSpec::default()
    }
}

fn forward(name: &str, prefix: &str, forward: v1::RouteForwardSpec) -> v1::RouteSpec {
    v1::RouteSpec {
        name: name.to_owned(),
        r#match: Some(below(prefix)),
        forward: Some(forward),
        ..v1::RouteSpec::default()
    }
}

fn header(name: &str, value: &str) -> Vec<v1::HeaderSpec> {
    vec![v1::HeaderSpec {
        name: name.to_owned(),
        value: value.to_owned(),
    }]
}

/// To another pool, with its prefix taken away and a field for the server, and one for the client.
fn api() -> v1::RouteSpec {
    let spec = v1::RouteForwardSpec {
        pool: "api".to_owned(),
        rewrite: Some(v1::RewriteSpec {
            host: "inner.example".to_owned(),
            path_prefix: "/".to_owned(),
            ..v1::RewriteSpec::default()
        }),
        request_headers: Some(v1::HeaderEditsSpec {
            set: header("X-Route", "api"),
            ..v1::HeaderEditsSpec::default()
        }),
        ..v1::RouteForwardSpec::default()
    };
    v1::RouteSpec {
        response_headers: Some(v1::HeaderEditsSpec {
            set: header("X-Seen", "yes"),
            remove: vec!["X-Inside".to_owned()],
            ..v1::HeaderEditsSpec::default()
        }),
        ..forward("api", "/api", spec)
    }
}

/// Three of four to one pool, in turn.
fn split() -> v1::RouteSpec {
    let part = |pool: &str, weight| v1::SplitSpec {
        pool: pool.to_owned(),
        weight: Some(weight),
    };
    let spec = v1::RouteForwardSpec {
        split: vec![part("web", 3), part("next", 1)],
        ..v1::RouteForwardSpec::default()
    };
    forward("split", "/split", spec)
}

/// Once every ten minutes, and only reading.
fn limited() -> v1::RouteSpec {
    v1::RouteSpec {
        rate_limits: vec!["slow".to_owned()],
        allow_methods: vec!["GET".to_owned()],
        ..forward("limited", "/limited", v1::RouteForwardSpec::default())
    }
}

/// What its server fails with is tried again.
fn retried() -> v1::RouteSpec {
    let spec = v1::RouteForwardSpec {
        retries: Some(v1::RouteRetriesSpec {
            attempts: 1,
            on: vec![v1::RetryOn::RetryOn503.into()],
            budget_percent: 100,
            any_method: false,
        }),
        ..v1::RouteForwardSpec::default()
    };
    forward("retried", "/fails-once", spec)
}

fn proxy(routes: Vec<v1::RouteSpec>) -> v1::ProxySpec {
    v1::ProxySpec {
        routes,
        rate_limits: vec![v1::RequestRateSpec {
            name: "slow".to_owned(),
            requests: 1,
            per_ms: 600_000,
            ..v1::RequestRateSpec::default()
        }],
        ..v1::ProxySpec::default()
    }
}

fn answers() -> [v1::RouteSpec; 2] {
    let moved = v1::RouteSpec {
        name: "moved".to_owned(),
        r#match: Some(v1::RouteMatchSpec {
            host: "*.old.example".to_owned(),
            ..v1::RouteMatchSpec::default()
        }),
        redirect: Some(v1::RouteRedirectSpec {
            status: 308,
            scheme: v1::HttpScheme::Https.into(),
            host: "new.example".to_owned(),
            ..v1::RouteRedirectSpec::default()
        }),
        ..v1::RouteSpec::default()
    };
    let hello = v1::RouteSpec {
        name: "hello".to_owned(),
        r#match: Some(v1::RouteMatchSpec {
            path: "/hello".to_owned(),
            ..v1::RouteMatchSpec::default()
        }),
        answer: Some(v1::RouteAnswerSpec {
            status: 418,
            body: "short and stout\n".to_owned(),
            ..v1::RouteAnswerSpec::default()
        }),
        ..v1::RouteSpec::default()
    };
    [moved, hello]
}

fn all_healthy(report: &v1::NodeReport) -> bool {
    let healthy = report.backends.iter().filter(|it| it.healthy);
    attached(report) && report.refusals.is_empty() && healthy.count() == POOLS.len()
}

/// Body or status of an answer, as `--write-out` says it.
fn ask(fixture: &Fixture, args: &[&str], path: &str) -> Option<String> {
    curl(&fixture.peer, &[args, &[&format!("{URL}{path}")]].concat()).ok()
}

fn status(fixture: &Fixture, args: &[&str], path: &str) -> Option<String> {
    let out = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    ask(fixture, &[&out, args].concat(), path)
}

fn check_ways(fixture: &Fixture) {
    let said = ask(fixture, &["--include"], "/api/v1?q").expect("an answer");
    assert!(said.contains("X-Seen: yes\r\n"), "{said}");
    assert!(!said.contains("X-Inside"), "{said}");
    let body = said.lines().last().expect("a body");
    assert!(body.starts_with("api GET /v1?q HTTP/1.1|"), "{body}");
    assert!(body.contains("|Host: inner.example|"), "{body}");
    assert!(body.contains("X-Route: api"), "{body}");

    let said = ask(fixture, &[], "/split/[1-100]").expect("answers");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in said.lines() {
        *counts
            .entry(line.split(' ').next().expect("a name"))
            .or_default() += 1;
    }
    let (web, next) = (counts["web"], counts["next"]);
    assert!(web + next == 100 && (72..=78).contains(&web), "{counts:?}");

    // What no route is for goes to the service's own pool.
    let said = ask(fixture, &[], "/apiary").expect("an answer");
    assert!(said.starts_with("web GET /apiary HTTP/1.1|"), "{said}");
    let location = ["--write-out", "%{http_code} %{redirect_url}", "--header"];
    let said = ask(
        fixture,
        &[&location[..], &["Host: www.old.example"]].concat(),
        "/a?b",
    );
    let said = said.expect("an answer");
    assert!(said.ends_with("308 https://new.example/a?b"), "{said}");
    let said = ask(fixture, &["--include"], "/hello").expect("an answer");
    assert!(said.starts_with("HTTP/1.1 418 "), "{said}");
    assert!(said.contains("text/plain; charset=utf-8"), "{said}");
    assert!(said.ends_with("\r\n\r\nshort and stout\n"), "{said}");
    assert_eq!(status(fixture, &[], "/fails-once").as_deref(), Some("200"));
}

#[test]
fn requests_go_where_routes_send_them() {
    let fixture = Fixture::new();
    fixture.route_vips();
    for (name, address) in POOLS {
        let peer = &fixture.peer;
        peer.ip(&["addr", "add", address, "dev", "sv0"]);
        serve(peer, name, &format!("{address}:80"));
    }
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let [moved, hello] = answers();
        let routes = vec![api(), split(), limited(), retried(), moved, hello];
        controller.apply(&spec(proxy(routes)));
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        eventually("the service", || controller.report_if(all_healthy)).await;
        let is_served = || status(&fixture, &[], "/").filter(|status| status == "200");
        eventually("an answer", is_served).await;
        check_ways(&fixture);

        // A limit counts on through a change of another route, whichever worker has the connection.
        let get = |path| status(&fixture, &[], path);
        assert_eq!(
            status(&fixture, &["--data", "a"], "/limited").as_deref(),
            Some("405")
        );
        assert_eq!(get("/limited").as_deref(), Some("200"));
        assert_eq!(get("/limited").as_deref(), Some("429"));
        controller.apply(&spec(proxy(vec![limited()])));
        let is_changed = || get("/hello").filter(|status| status == "200");
        eventually("the change", is_changed).await;
        for _ in 0..8 {
            assert_eq!(get("/limited").as_deref(), Some("429"));
        }

        // A service that lets nobody of the client's network in.
        controller.apply(&spec(v1::ProxySpec {
            deny_sources: vec!["10.88.0.0/24".to_owned()],
            ..v1::ProxySpec::default()
        }));
        let is_denied = || get("/").filter(|status| status == "403");
        eventually("the refusal", is_denied).await;
        agent.stop().await;
    });
}
