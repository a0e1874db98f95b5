//! `l7-transparent` with real servers: they see the client's address and port, their answers come back through the node, and nothing of it
//! stays behind.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::eventually,
    load_balancer::web,
    played_controller::PlayedController,
    transparent_site::{BIG_BYTES, CLIENTS, Conversation, Site, is_applied, parse, within},
};

const VIPS: [&str; 2] = ["10.99.0.1:80", "[fd99::1]:80"];
/// The agent is told of what somebody else removes. It would look by itself only after ten times as long.
const TOLD: Duration = Duration::from_secs(5);
const SERVERS: [&str; 2] = ["10.88.0.2", "fd88::2"];

fn assert_same(after: &BTreeSet<String>, before: &BTreeSet<String>) {
    let differing: Vec<_> = after.symmetric_difference(before).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

fn rules_of_both() -> BTreeSet<String> {
    SERVERS
        .map(|server| format!("from {server} ipproto tcp sport 80 lookup 27746 proto 108"))
        .into()
}

#[test]
fn servers_see_the_clients_address_and_port() {
    let site = Site::new();
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let agent = site.serve(&mut controller).await;
        assert_eq!(site.rules(), rules_of_both());
        for (vip, client) in VIPS.into_iter().zip(CLIENTS[0]) {
            let conversation = || -> io::Result<_> {
                let mut client = Conversation::open(client, vip)?;
                let seen = [client.ask()?, client.ask()?, client.ask()?];
                Ok((client.address(), seen))
            };
            let (own, seen) = site.clients.within(conversation).expect("answers");
            assert_eq!(seen.map(|(_, client)| client), [own; 3]);
            let connections: BTreeSet<u64> = seen.iter().map(|(number, _)| *number).collect();
            assert_eq!(connections.len(), 1, "the connection to the server is kept");
        }
        // A port that the kernel does not give to connections by itself, and one that it does.
        for port in ["2345", "45678"] {
            let text = site.curl(&["--local-port", port, "http://10.99.0.1/"]);
            let (_, seen) = parse(&text);
            assert_eq!(
                seen,
                SocketAddr::new(seen.ip(), port.parse().expect("a port"))
            );
        }
        agent.stop().await;
    });
}

#[test]
fn no_two_clients_share_a_connection_to_a_server() {
    const CONNECTIONS: usize = 6;
    const REQUESTS: usize = 8;
    let site = Site::new();
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let agent = site.serve(&mut controller).await;
        let talk = |client: &str, vip: &str| -> io::Result<()> {
            let mut all = (0..CONNECTIONS)
                .map(|_| Conversation::open(client, vip))
                .collect::<io::Result<Vec<_>>>()?;
            for _ in 0..REQUESTS {
                for one in &mut all {
                    let (_, seen) = one.ask()?;
                    assert_eq!(seen, one.address());
                }
            }
            Ok(())
        };
        site.clients.within(|| {
            thread::scope(|scope| {
                for client in CLIENTS {
                    for (vip, client) in VIPS.into_iter().zip(client) {
                        scope.spawn(move || talk(client, vip).expect("answers"));
                    }
                }
            });
        });
        let seen = site.seen();
        for (connection, clients) in &seen {
            assert_eq!(clients.len(), 1, "connection {connection}: {clients:?}");
        }
        let clients: BTreeSet<SocketAddr> = seen.into_values().flatten().collect();
        assert_eq!(clients.len(), 4 * CONNECTIONS);
        agent.stop().await;
    });
}

/// They go over one connection of the client's to several of the server's, of which only one can have the client's port.
#[test]
fn streams_of_http2_come_from_the_clients_address() {
    const STREAMS: usize = 5;
    let site = Site::new();
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let agent = site.serve(&mut controller).await;
        for (at, authority) in ["10.99.0.1", "[fd99::1]"].into_iter().enumerate() {
            let urls: Vec<String> = (0..STREAMS)
                .map(|it| format!("http://{authority}/slow?{it}"))
                .collect();
            let mut args = vec!["--no-dep", "--null-out", "--stat"];
            args.extend(urls.iter().map(String::as_str));
            let told = within(&site.clients, "nghttp", &args);
            let whole = told.lines().filter(|it| it.contains(" 200 200K /slow?"));
            assert_eq!(whole.count(), STREAMS, "{told}");
            // Any of the client's addresses: it has not been told which.
            let of_family = CLIENTS.map(|it| it[at].parse().expect("an address"));
            let seen: Vec<SocketAddr> = site.seen().into_values().flatten().collect();
            let seen: Vec<_> = seen
                .iter()
                .filter(|it| of_family.contains(&it.ip()))
                .collect();
            let ports: BTreeSet<u16> = seen.iter().map(|it| it.port()).collect();
            let addresses: BTreeSet<IpAddr> = seen.iter().map(|it| it.ip()).collect();
            assert_eq!(
                (seen.len(), ports.len(), addresses.len()),
                (STREAMS, STREAMS, 1),
                "{seen:?}"
            );
        }
        agent.stop().await;
    });
}

/// Through the relay, which moves bytes without looking at them.
#[test]
fn connections_of_anything_come_from_the_clients_address() {
    let site = Site::new();
    let mut spec = web(v1::Mode::L7Transparent);
    spec.services[0].proxy = Some(v1::ProxySpec {
        carries: v1::Carries::Tcp.into(),
        ..v1::ProxySpec::default()
    });
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec);
        let config = site.fixture.config(Role::LoadBalancer, controller.address);
        let agent = site.fixture.start(config).await;
        eventually("the service", || controller.report_if(is_applied)).await;
        for (vip, client) in VIPS.into_iter().zip(CLIENTS[1]) {
            let asked = site.clients.within(|| -> io::Result<_> {
                let mut client = Conversation::open(client, vip)?;
                Ok((client.address(), client.ask()?.1))
            });
            let (own, seen) = asked.expect("an answer");
            assert_eq!(seen, own);
            let url = format!("http://{vip}/big");
            let body = site.curl(&["--globoff", "--interface", client, &url]);
            assert_eq!(body.len(), BIG_BYTES);
        }
        agent.stop().await;
    });
}

#[test]
fn nothing_stays_behind() {
    let site = Site::new();
    site.fixture.run(|| async {
        let before = site.machine();
        let mut controller = PlayedController::start().await;
        let agent = site.serve(&mut controller).await;
        let text = site.curl(&["http://10.99.0.1/", "http://[fd99::1]/", "--globoff"]);
        assert_eq!(text.lines().count(), 2);
        assert_ne!(site.machine(), before);

        // A server that has left the pool has its rules until its connections have had time to end.
        let mut other = web(v1::Mode::L7Transparent);
        other.pools[0].backends[0].addresses = vec!["10.88.0.9".to_owned(), "fd88::9".to_owned()];
        controller.apply(&other);
        let of_others: BTreeSet<String> = ["10.88.0.9", "fd88::9"]
            .map(|server| format!("from {server} ipproto tcp sport 80 lookup 27746 proto 108"))
            .into();
        let both: BTreeSet<String> = of_others.union(&rules_of_both()).cloned().collect();
        eventually("both servers' rules", || {
            (site.rules() == both).then_some(())
        })
        .await;
        eventually("the new one's", || {
            (site.rules() == of_others).then_some(())
        })
        .await;

        controller.apply(&v1::FabricSpec::default());
        eventually("no rules", || site.rules().is_empty().then_some(())).await;
        agent.stop().await;
        assert_same(&site.machine(), &before);

        // The same where the agent stops first.
        let agent = site.serve(&mut controller).await;
        assert_eq!(site.rules(), rules_of_both());
        agent.stop().await;
        assert_same(&site.machine(), &before);
    });
}

/// The agent's rules, and the routes that they lead to.
fn brought(site: &Site) -> BTreeSet<String> {
    let mut brought = site.rules();
    for family in ["-4", "-6"] {
        let routes = (site.fixture.node).ip(&[family, "route", "list", "table", "all"]);
        let own = routes.lines().filter(|it| it.contains("table 27746"));
        brought.extend(own.map(|it| format!("{family} {it}")));
    }
    brought
}

#[test]
fn rules_that_somebody_else_removes_come_back() {
    let site = Site::new();
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let agent = site.serve(&mut controller).await;
        let whole = brought(&site);
        assert_eq!(whole.len(), 4, "{whole:?}");
        for removal in [
            ["-4", "rule", "del", "priority", "108"],
            ["-6", "rule", "del", "priority", "108"],
            ["-4", "route", "flush", "table", "27746"],
            ["-6", "route", "flush", "table", "27746"],
        ] {
            site.fixture.node.ip(&removal);
            let removed = Instant::now();
            assert_eq!(brought(&site).len(), 3, "{removal:?}");
            let is_back = || (brought(&site) == whole).then_some(());
            eventually("what was removed", is_back).await;
            let took = removed.elapsed();
            assert!(took < TOLD, "{removal:?} {took:?}");
        }
        let text = site.curl(&["http://10.99.0.1/", "http://[fd99::1]/", "--globoff"]);
        assert_eq!(text.lines().count(), 2);
        agent.stop().await;
    });
}

/// The agent as a process of its own, in the namespace of this thread.
fn start_process(
    site: &Site,
    controller: &PlayedController,
    capabilities: &str,
) -> tokio::process::Child {
    tokio::process::Command::new("setpriv")
        .arg(format!("--bounding-set={capabilities}"))
        .arg("--inh-caps=-all")
        .arg(env!("CARGO_BIN_EXE_lbfabric-node"))
        .args(["--name", "lb1", "--interface", "lb0"])
        .args(["--ring-slots", "16384", "--nat-flows", "1024"])
        .args(["--controller", &controller.address.to_string()])
        .arg("--pin-dir")
        .arg(&site.fixture.pin_dir)
        .arg("--state-dir")
        .arg(site.fixture.state_dir.path())
        .kill_on_drop(true)
        .spawn()
        .expect("setpriv of util-linux")
}

#[test]
fn what_a_killed_agent_left_is_used_and_taken_away() {
    let site = Site::new();
    site.fixture.run(|| async {
        let before = site.machine();
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L7Transparent));
        let mut agent = start_process(&site, &controller, "+all");
        eventually("the service", || controller.report_if(is_applied)).await;
        agent.kill().await.expect("the agent still runs");
        assert_eq!(site.rules(), rules_of_both());

        // The next one has another service, and goes on with the rules that it needs.
        controller.forget_agent();
        let mut other = web(v1::Mode::L7Transparent);
        other.services[0].vips.pop();
        other.pools[0].backends[0].addresses.pop();
        controller.apply(&other);
        let mut agent = start_process(&site, &controller, "+all");
        eventually("the next agent", || controller.report_if(is_applied)).await;
        let (_, seen) = parse(&site.curl(&["http://10.99.0.1/"]));
        assert_eq!(seen.ip().to_string(), CLIENTS[0][0]);
        let first = BTreeSet::from([rules_of_both().into_iter().next().expect("two")]);
        eventually("the stale rule's end", || {
            (site.rules() == first).then_some(())
        })
        .await;
        agent.kill().await.expect("the agent still runs");

        assert_eq!(site.rules(), first);
        let (pins, state) = (&site.fixture.pin_dir, site.fixture.state_dir.path());
        lbfabric_node::detach(pins, &[], Some(state))
            .await
            .expect("nobody runs");
        assert_same(&site.machine(), &before);
    });
}

#[test]
fn an_agent_that_may_not_do_it_says_so() {
    let site = Site::new();
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L7Transparent));
        let mut agent = start_process(&site, &controller, "-all,+bpf,+perfmon,+net_bind_service");
        let is_told = |report: &v1::NodeReport| {
            let mut reasons = report.refusals.iter().map(|it| it.reason.as_str());
            reasons.any(|it| it.contains("need the capability CAP_NET_ADMIN"))
        };
        eventually("the refusal", || controller.report_if(is_told)).await;
        assert!(site.rules().is_empty());
        agent.kill().await.expect("the agent still runs");
    });
}

/// Its servers would answer it past the node.
#[test]
fn a_client_in_the_servers_subnet_is_served_from_the_nodes_address() {
    let site = Site::new();
    site.fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        let agent = site.serve(&mut controller).await;
        let warnings = |report: &v1::NodeReport| report.services[0].warnings.clone();
        let (_, seen) = parse(&site.curl(&["http://10.99.0.1/"]));
        assert_eq!(seen.ip().to_string(), CLIENTS[0][0]);
        let report = controller.report_if(is_applied).expect("a report");
        assert_eq!(warnings(&report), [""; 0]);
        for (vip, own) in VIPS.into_iter().zip(["10.88.0.1", "fd88::1"]) {
            let url = format!("http://{vip}/");
            let (_, seen) = parse(&within(
                &site.fixture.peer,
                "curl",
                &[
                    "--silent",
                    "--max-time",
                    "10",
                    "--globoff",
                    "--noproxy",
                    "*",
                    &url,
                ],
            ));
            assert_eq!(seen.ip().to_string(), own);
        }
        let is_told = |report: &v1::NodeReport| {
            warnings(report).iter().any(|text| {
                text.starts_with("2 clients in the servers' own subnets (10.88.0.0/24, fd88::/64) ")
                    && text.contains(": 10.88.0.2, fd88::2; ")
            })
        };
        eventually("the warning", || controller.report_if(is_told)).await;
        agent.stop().await;
    });
}
