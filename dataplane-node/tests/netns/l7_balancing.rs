//! Balancing from the API to who answers: weights, cookies that hold on every node, drained and failed servers.

use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    load_balancer::web,
    named_servers::{curl, serve},
    played_controller::PlayedController,
};

const URL: &str = "http://10.99.0.1/";
const SERVERS: [(&str, &str); 2] = [("s1", "10.88.0.3"), ("s2", "10.88.0.4")];

fn start_servers(fixture: &Fixture) {
    for (name, address) in SERVERS {
        let peer = &fixture.peer;
        peer.ip(&["addr", "add", address, "dev", "sv0"]);
        serve(peer, name, &format!("{address}:80"));
    }
}

fn spec(weights: [u32; 2], balancing: v1::BalancingSpec) -> v1::FabricSpec {
    let mut spec = web(v1::Mode::L7Reverse);
    spec.services[0].vips.pop();
    spec.pools[0].backends = SERVERS
        .into_iter()
        .zip(weights)
        .map(|((name, address), weight)| v1::BackendSpec {
            name: name.to_owned(),
            addresses: vec![address.to_owned()],
            weight: Some(weight),
            ..v1::BackendSpec::default()
        })
        .collect();
    spec.services[0].proxy = Some(v1::ProxySpec {
        balancing: Some(balancing),
        ..v1::ProxySpec::default()
    });
    spec
}

fn with_cookie() -> v1::BalancingSpec {
    v1::BalancingSpec {
        sticky_cookie: Some(v1::StickyCookieSpec {
            name: "server".to_owned(),
            ..v1::StickyCookieSpec::default()
        }),
        ..v1::BalancingSpec::default()
    }
}

/// Who answers each of a number of requests over one connection.
fn who(fixture: &Fixture, requests: usize, args: &[&str]) -> Option<Vec<String>> {
    let url = format!("{URL}[1-{requests}]");
    let said = curl(&fixture.peer, &[args, &[&url]].concat()).ok()?;
    let names = said.lines().map(|line| line.split(' ').next());
    names.map(|name| name.map(str::to_owned)).collect()
}

/// The name and value of the cookie that an answer sets, and who has given it.
fn cookie(fixture: &Fixture) -> Option<(String, String)> {
    let said = curl(&fixture.peer, &["--include", URL]).ok()?;
    let mut lines = said.lines();
    let line = lines.find_map(|line| line.strip_prefix("Set-Cookie: "))?;
    let (cookie, attributes) = line.split_once("; ")?;
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
    let name = said.lines().last()?.split(' ').next()?;
    Some((cookie.to_owned(), name.to_owned()))
}

fn both_healthy(report: &v1::NodeReport) -> bool {
    attached(report) && report.backends.iter().filter(|it| it.healthy).count() == 2
}

#[test]
fn weights_count_and_cookies_hold_through_drains_and_restarts() {
    let fixture = Fixture::new();
    fixture.route_vips();
    start_servers(&fixture);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec([300, 100], v1::BalancingSpec::default()));
        let config = || fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config()).await;
        eventually("both servers", || controller.report_if(both_healthy)).await;
        let by_weight = || {
            let names = who(&fixture, 8, &[])?;
            (names.iter().filter(|name| *name == "s1").count() == 6).then_some(())
        };
        eventually("three of four requests at s1", by_weight).await;

        controller.apply(&spec([100, 100], with_cookie()));
        let (mine, home) = eventually("a cookie", || cookie(&fixture)).await;
        let at_home = |requests| {
            let names = who(&fixture, requests, &["--cookie", &mine])?;
            names.iter().all(|name| *name == home).then_some(())
        };
        for _ in 0..4 {
            at_home(5).expect("the cookie names the server");
        }
        // Another agent knows the fabric's secret as well.
        agent.stop().await;
        controller.forget_agent();
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let agent = fixture.start(config).await;
        eventually("the next agent", || controller.report_if(both_healthy)).await;
        at_home(5).expect("the cookie is still understood");

        // Without weight a server keeps who belongs to it, and gets nobody else.
        let weights = SERVERS.map(|(name, _)| u32::from(name != home) * 100);
        controller.apply(&spec(weights, with_cookie()));
        let is_drained = || {
            let names = who(&fixture, 6, &[])?;
            names.iter().all(|name| *name != home).then_some(())
        };
        eventually("nobody new at the drained server", is_drained).await;
        at_home(5).expect("the drained server keeps its clients");

        // A server that fails loses them.
        let address = SERVERS.into_iter().find(|(name, _)| *name == home);
        let (_, address) = address.expect("one of them");
        fixture
            .peer
            .ip(&["addr", "del", &format!("{address}/32"), "dev", "sv0"]);
        let elsewhere = || {
            let names = who(&fixture, 1, &["--cookie", &mine])?;
            (names != [home.clone()]).then_some(())
        };
        eventually("another server", elsewhere).await;
        agent.stop().await;
    });
}

#[test]
fn a_hash_brings_a_client_to_the_same_server() {
    let fixture = Fixture::new();
    fixture.route_vips();
    start_servers(&fixture);
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let on = v1::hash_spec::On::Header("X-Tenant".to_owned());
        controller.apply(&spec(
            [100, 100],
            v1::BalancingSpec {
                algorithm: v1::BalancingAlgorithm::Hash.into(),
                hash: Some(v1::HashSpec {
                    on: Some(on),
                    bound_percent: 0,
                }),
                ..v1::BalancingSpec::default()
            },
        ));
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        eventually("both servers", || controller.report_if(both_healthy)).await;
        let is_served = || who(&fixture, 1, &[]).filter(|names| names.len() == 1);
        eventually("an answer", is_served).await;
        let mut seen = std::collections::BTreeSet::new();
        for tenant in 0..16 {
            let header = format!("X-Tenant: {tenant}");
            // Of two connections, which may be of two workers.
            let ask = || who(&fixture, 4, &["--header", &header]).expect("answers");
            let names: std::collections::BTreeSet<_> =
                [ask(), ask()].concat().into_iter().collect();
            assert_eq!(names.len(), 1, "{tenant}: {names:?}");
            seen.extend(names);
        }
        assert_eq!(seen.len(), 2, "the tenants are spread");
        agent.stop().await;
    });
}
