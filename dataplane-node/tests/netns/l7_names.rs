//! TLS that servers end, by the name that clients ask for: pools of the fabric with their own health checks and limits, real clients and servers.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use lbfabric_node::Role;
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, attached, eventually},
    l7_clients::{client, curl},
    l7_reverse::certificate,
    l7_served::service,
    namespace::Namespace,
    nginx::Nginx,
    played_controller::PlayedController,
};

const VIP: &str = "10.99.0.1:443";
/// Pools, their servers' addresses, and the name that each has a certificate for.
const POOLS: [(&str, &str, &str); 3] = [
    ("web", "10.88.0.3", "rest.example"),
    ("one", "10.88.0.4", "one.example"),
    ("below", "10.88.0.5", "x.below.example"),
];

fn spec(others: v1::SniOthers, balancing: Option<v1::BalancingSpec>) -> v1::FabricSpec {
    let check = v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port: 443 });
    let pool = |(name, address, _): (&str, &str, &str)| v1::PoolSpec {
        name: name.to_owned(),
        backends: vec![v1::BackendSpec {
            name: format!("{name}-1"),
            addresses: vec![address.to_owned()],
            ..v1::BackendSpec::default()
        }],
        health_check: Some(v1::HealthCheckSpec {
            check: Some(check),
            interval_ms: 100,
            timeout_ms: 50,
            rise: 1,
            fall: 2,
        }),
        ..v1::PoolSpec::default()
    };
    let route = |names: &[&str], pool: &str| v1::SniRouteSpec {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        pool: pool.to_owned(),
    };
    let mut service = service(
        "passed",
        "443",
        443,
        v1::ProxySpec {
            carries: v1::Carries::TlsPassthrough.into(),
            sni: Some(v1::SniSpec {
                routes: vec![
                    route(&["one.example"], "one"),
                    route(&["*.below.example"], "below"),
                ],
                others: others.into(),
            }),
            balancing,
            ..v1::ProxySpec::default()
        },
    );
    service.vips = vec!["10.99.0.1".to_owned()];
    v1::FabricSpec {
        pools: POOLS.into_iter().map(pool).collect(),
        services: vec![service],
        ..v1::FabricSpec::default()
    }
}

/// The servers of each pool, by themselves, each with its certificate as a file of that folder.
fn servers(fixture: &Fixture, folder: &Path) -> Vec<(Nginx, PathBuf)> {
    let server = |(name, address, host): (&str, &str, &str)| {
        fixture.peer.ip(&["addr", "add", address, "dev", "sv0"]);
        let (certificate, file) = certificate(host, folder);
        let directives = format!(
            "server {{
                listen {address}:443 ssl http2;
                ssl_certificate chain.pem; ssl_certificate_key key.pem;
                location / {{ return 200 \"{name} $ssl_server_name\\n\"; }}
            }}"
        );
        let files = [
            ("chain.pem", &*certificate.chain),
            ("key.pem", &*certificate.key),
        ];
        let listens = [&*format!("{address}:443")];
        let nginx = Nginx::start(&fixture.peer, &directives, &files, &listens);
        (nginx, file)
    };
    POOLS.into_iter().map(server).collect()
}

fn healthy(count: usize) -> impl Fn(&v1::NodeReport) -> bool {
    move |report| {
        let healthy = report.backends.iter().filter(|it| it.healthy);
        attached(report) && report.refusals.is_empty() && healthy.count() == count
    }
}

/// What a client that asks for a name and believes this certificate is answered, over HTTP/2.
fn ask(from: &Namespace, name: &str, authority: &Path) -> Result<String, Option<i32>> {
    let to = format!("::{VIP}");
    let file = authority.to_str().expect("the path is UTF-8");
    let url = format!("https://{name}/");
    let said = curl(
        from,
        &["--http2", "--connect-to", &to, "--cacert", file, &url],
    )?;
    Ok(said.trim_end_matches("\nHTTP/2").to_owned())
}

/// What openssl says that went wrong.
fn s_client(from: &Namespace, arguments: &[&str]) -> String {
    let always = ["s_client", "-connect", VIP];
    let output = client(from, "openssl", &[&always[..], arguments].concat());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A client that has its server's certificate, and goes when this does.
struct Held(
    Child,
    #[expect(dead_code, reason = "its end would end the client")] ChildStdin,
);

impl Held {
    fn new(from: &Namespace, name: &str) -> Self {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/var/run/netns/{}", from.name))
            .args(["openssl", "s_client", "-connect", VIP, "-servername", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need nsenter and openssl");
        let input = child.stdin.take().expect("it was asked for");
        let said = BufReader::new(child.stdout.take().expect("the same"));
        let held = Self(child, input);
        let mut lines = said.lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.starts_with("subject=")),
            "no certificate for {name}"
        );
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[test]
fn clients_get_the_pool_of_the_name_that_they_ask_for() {
    let fixture = Fixture::new();
    fixture.route_vips();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut servers = servers(&fixture, folder.path());
    let files: Vec<_> = servers.iter().map(|(_, file)| file.clone()).collect();
    let [rest, one, below] = &files[..] else {
        panic!("there are three");
    };
    let peer = &fixture.peer;
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec(v1::SniOthers::Serve, None));
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        eventually("the service", || controller.report_if(healthy(3))).await;
        let expected = |text: &str| Ok(text.to_owned());
        // Each client verifies that its server is the one that it asked for.
        let is_served = || ask(peer, "one.example", one).ok();
        assert_eq!(eventually("an answer", is_served).await, "one one.example");
        let said = ask(peer, "x.below.example", below);
        assert_eq!(said, expected("below x.below.example"));
        let said = ask(peer, "rest.example", rest);
        assert_eq!(said, expected("web rest.example"));

        // A name that nothing is for is refused as TLS has it.
        controller.apply(&spec(v1::SniOthers::Refuse, None));
        let is_refused = || {
            let said = s_client(peer, &["-servername", "rest.example"]);
            said.contains("unrecognized name").then_some(())
        };
        eventually("the alert", is_refused).await;
        for arguments in [
            &["-noservername"][..],
            &["-servername", "below.example", "-tls1_2"],
        ] {
            let said = s_client(peer, arguments);
            assert!(said.contains("unrecognized name"), "{said}");
        }
        let said = ask(peer, "x.below.example", below);
        assert_eq!(said, expected("below x.below.example"));

        // A pool whose server has as many connections as it may takes no more, and the others go on.
        let limits = v1::ServerLimitsSpec {
            requests: 1,
            pending: Some(0),
            ..v1::ServerLimitsSpec::default()
        };
        let balancing = v1::BalancingSpec {
            server_limits: Some(limits),
            ..v1::BalancingSpec::default()
        };
        controller.apply(&spec(v1::SniOthers::Refuse, Some(balancing)));
        let full = || {
            let held = Held::new(peer, "one.example");
            ask(peer, "one.example", one).is_err().then_some(held)
        };
        let held = eventually("a full server", full).await;
        let said = ask(peer, "x.below.example", below);
        assert_eq!(said, expected("below x.below.example"));
        drop(held);
        eventually("room", || ask(peer, "one.example", one).ok()).await;

        // One whose server is down serves nobody, until it is back.
        drop(servers.remove(1));
        eventually("the failure", || controller.report_if(healthy(2))).await;
        assert!(ask(peer, "one.example", one).is_err());
        let said = ask(peer, "x.below.example", below);
        assert_eq!(said, expected("below x.below.example"));
        agent.stop().await;
    });
}
