//! `l7-reverse` from the API to the last byte: VIPs on the loopback, requests through the engine, and all of it taken away again.

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use lbfabric_node::Role;
use lbfabric_proto::v1;
use rcgen::{CertificateParams, KeyPair};
use tokio::process::{Child, Command};

use crate::{
    fixture::{Fixture, attached, eventually},
    load_balancer::web,
    namespace::Namespace,
    played_controller::PlayedController,
};

pub(crate) const VIPS: [&str; 2] = ["10.99.0.1:80", "[fd99::1]:80"];
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers each request with the address that it came from and the `X-Forwarded-For` that it had, for as long as the process lives.
pub(crate) fn serve_in(namespace: &Namespace, address: &str) {
    let address: SocketAddr = address.parse().expect("an address and a port");
    let listener = namespace.within(|| TcpListener::bind(address).expect("the port is free"));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || answer(client));
        }
    });
}

/// A health check sends nothing, and gets nothing.
fn answer(mut client: TcpStream) -> Option<()> {
    loop {
        let head = read_head(&mut client).ok()?;
        let told = head
            .lines()
            .find_map(|line| line.strip_prefix("X-Forwarded-For: "));
        let body = format!(
            "{} {}\n",
            client.peer_addr().ok()?.ip(),
            told.unwrap_or("-")
        );
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        client.write_all(answer.as_bytes()).ok()?;
    }
}

fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn connect(vip: &str) -> io::Result<TcpStream> {
    let vip = vip.parse().expect("an address and a port");
    let client = TcpStream::connect_timeout(&vip, PATIENCE)?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// What a request over a connection of its own is answered with.
fn ask(vip: &str) -> io::Result<String> {
    let mut client = connect(vip)?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) fn is_applied(report: &v1::NodeReport) -> bool {
    attached(report) && report.refusals.is_empty() && report.backends.iter().any(|it| it.healthy)
}

/// The addresses on the node's loopback that are not its own.
pub(crate) fn vips_of(node: &Namespace) -> BTreeSet<String> {
    let text = node.ip(&["-br", "addr", "show", "lo"]);
    let words = text.split_whitespace().skip(2);
    let own = ["127.0.0.1/8", "::1/128"];
    words
        .filter(|it| !own.contains(it))
        .map(str::to_owned)
        .collect()
}

fn both_vips() -> BTreeSet<String> {
    ["10.99.0.1/32", "fd99::1/128"].map(str::to_owned).into()
}

#[test]
fn requests_reach_servers_from_the_nodes_address() {
    let fixture = Fixture::new();
    fixture.route_vips();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L7Reverse));
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        eventually("the service", || controller.report_if(is_applied)).await;
        assert_eq!(vips_of(&fixture.node), both_vips());
        for (vip, seen) in VIPS
            .into_iter()
            .zip(["10.88.0.1 10.88.0.2\n", "fd88::1 fd88::2\n"])
        {
            let answer = fixture.peer.within(|| ask(vip)).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with(seen), "{answer}");
        }
        let counts = |report: &v1::NodeReport| {
            let proxy = report.services[0].proxy.as_ref();
            proxy.is_some_and(|it| {
                (it.connections, it.requests, it.refusals, it.errors) == (2, 2, 0, 0)
                    && it.times.iter().sum::<u64>() == 2
                    && it.sent_bytes > 0
            })
        };
        eventually("the counters", || controller.report_if(counts)).await;

        // A connection that is idle when its service goes is closed; the VIPs stay until all of them have ended.
        let mut idle = fixture
            .peer
            .within(|| connect(VIPS[0]))
            .expect("a connection");
        controller.apply(&v1::FabricSpec::default());
        let closed = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let mut rest = String::new();
            idle.read_to_string(&mut rest)
                .map(|_| (rest, begun.elapsed()))
        });
        let (rest, took) = closed.await.expect("it ends").expect("in order");
        assert_eq!(rest, "");
        assert!(took < PATIENCE / 2, "{took:?}");
        let is_gone = || vips_of(&fixture.node).is_empty().then_some(());
        eventually("no VIP", is_gone).await;
        agent.stop().await;
    });
}

/// The agent as a process of its own, in the namespace of this thread.
fn start_process(fixture: &Fixture, state: &Path, controller: &PlayedController) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lbfabric-node"))
        .args(["--name", "lb1", "--interface", "lb0"])
        .args(["--ring-slots", "16384", "--nat-flows", "1024"])
        .args(["--controller", &controller.address.to_string()])
        .arg("--pin-dir")
        .arg(&fixture.pin_dir)
        .arg("--state-dir")
        .arg(state)
        .kill_on_drop(true)
        .spawn()
        .expect("the agent's binary")
}

#[test]
fn what_a_killed_agent_left_is_used_and_taken_away_by_the_next() {
    let fixture = Fixture::new();
    fixture.route_vips();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    fixture.run(|| async {
        let state = tempfile::tempdir().expect("a temporary folder");
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L7Reverse));
        let mut agent = start_process(&fixture, state.path(), &controller);
        eventually("the service", || controller.report_if(is_applied)).await;
        agent.kill().await.expect("the agent still runs");
        assert_eq!(vips_of(&fixture.node), both_vips());

        controller.forget_agent();
        let mut agent = start_process(&fixture, state.path(), &controller);
        eventually("the next agent", || controller.report_if(is_applied)).await;
        let answer = fixture.peer.within(|| ask(VIPS[1])).expect("an answer");
        assert!(answer.ends_with("fd88::1 fd88::2\n"), "{answer}");
        let mut other = web(v1::Mode::L7Reverse);
        other.services[0].vips.pop();
        controller.apply(&other);
        let first = BTreeSet::from(["10.99.0.1/32".to_owned()]);
        let is_gone = || (vips_of(&fixture.node) == first).then_some(());
        eventually("the VIP that is gone", is_gone).await;
        agent.kill().await.expect("the agent still runs");
    });
}

/// A port that another program has is told, and the service comes when the port is free.
#[test]
fn a_port_that_is_taken_is_told() {
    let fixture = Fixture::new();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    fixture.run(|| async {
        let other = TcpListener::bind("0.0.0.0:80").expect("the port is free");
        let mut controller = PlayedController::start().await;
        controller.apply(&web(v1::Mode::L7Reverse));
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        let refused = |report: &v1::NodeReport| {
            let mut reasons = report.refusals.iter().map(|it| it.reason.as_str());
            reasons.any(|it| it.starts_with("listen at 10.99.0.1:80: Address already in use"))
        };
        let report = eventually("the refusal", || controller.report_if(refused)).await;
        assert_eq!(report.fault, "", "the node itself works");
        drop(other);
        eventually("the service", || controller.report_if(is_applied)).await;
        agent.stop().await;
    });
}

/// A certificate for a host, signed by itself, and a file that has it alone.
pub(crate) fn certificate(host: &str, folder: &Path) -> (v1::CertificateSpec, PathBuf) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([host.to_owned()]).expect("a name");
    let chain = params.self_signed(&key).expect("it signs itself").pem();
    let file = folder.join(format!("{host}-{}", chain.len()));
    std::fs::write(&file, &chain).expect("the folder takes a file");
    let spec = v1::CertificateSpec {
        name: host.split('.').next().unwrap_or_default().to_owned(),
        chain,
        key: key.serialize_pem(),
    };
    (spec, file)
}

/// What curl gets from a host at a VIP, which it believes if a file's certificate is shown; or its exit code.
fn curl(from: &Namespace, host: &str, vip: &str, file: &Path) -> Result<String, Option<i32>> {
    let output = std::process::Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{}", from.name))
        .args(["curl", "--silent", "--max-time", "5", "--noproxy", "*"])
        .args(["--connect-to", &format!("::{vip}"), "--cacert"])
        .arg(file)
        .arg(format!("https://{host}/"))
        .output()
        .expect("these tests need curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output
        .status
        .success()
        .then_some(text)
        .ok_or(output.status.code())
}

#[test]
fn certificates_of_the_fabric_are_shown_by_name_and_renewed() {
    const NOT_VERIFIED: Option<i32> = Some(60);
    let fixture = Fixture::new();
    fixture.route_vips();
    serve_in(&fixture.peer, "10.88.0.2:80");
    serve_in(&fixture.peer, "[fd88::2]:80");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (web_cert, web_file) = certificate("web.example", folder.path());
    let (api_cert, api_file) = certificate("api.example", folder.path());
    let mut spec = web(v1::Mode::L7Reverse);
    spec.certificates = vec![web_cert, api_cert];
    spec.services[0].proxy = Some(v1::ProxySpec {
        tls: Some(v1::TlsSpec {
            certificates: vec!["web".to_owned(), "api".to_owned()],
            ..v1::TlsSpec::default()
        }),
        ..v1::ProxySpec::default()
    });
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec);
        let agent = fixture
            .start(fixture.config(Role::LoadBalancer, controller.address))
            .await;
        eventually("the service", || controller.report_if(is_applied)).await;
        let ask = |host: &str, vip: &str, file: &Path| curl(&fixture.peer, host, vip, file);
        for (host, file, other) in [
            ("web.example", &web_file, &api_file),
            ("api.example", &api_file, &web_file),
        ] {
            for vip in VIPS {
                let answer = ask(host, vip, file).expect("an answer");
                assert!(answer.starts_with("10.88.0.1 ") || answer.starts_with("fd88::1 "));
                assert_eq!(ask(host, vip, other), Err(NOT_VERIFIED), "{host} at {vip}");
            }
        }

        let renewed = tempfile::tempdir().expect("a temporary folder");
        let (web_cert, renewed_file) = certificate("web.example", renewed.path());
        spec.certificates[0] = web_cert;
        controller.apply(&spec);
        let is_renewed = || ask("web.example", VIPS[0], &renewed_file).ok();
        eventually("the renewed certificate", is_renewed).await;
        assert_eq!(ask("web.example", VIPS[0], &web_file), Err(NOT_VERIFIED));
        agent.stop().await;
    });
}
