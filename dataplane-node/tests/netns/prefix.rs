//! VIPs that are whole prefixes, configured nowhere, with every port, in each mode of layer 4: a client of its own, the load balancer, and a
//! server with the server agent.
//!
//! ```text
//! client ct0 10.77.0.2 ──── 10.77.0.1 lb1, node, lb0 10.88.0.1 ──── 10.88.0.2 sv0, server
//! ```

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lbfabric_node::{NodeConfig, Role};
use lbfabric_proto::v1;

use crate::{
    fixture::{Fixture, eventually, remove_pins},
    icmp::eventually_pinged,
    icmp_network::{attach, inside},
    l7_reverse::vips_of,
    namespace::{Namespace, run},
    played_controller::PlayedController,
    specs,
};

const V4: &str = "203.0.113.0/24";
const V6: &str = "2001:db8:99::/48";
/// Of the prefixes, the first and last included, at ports that no document names.
const TARGETS: [&str; 5] = [
    "203.0.113.0:8080",
    "203.0.113.77:80",
    "203.0.113.255:8080",
    "[2001:db8:99::]:8080",
    "[2001:db8:99:ffff::1]:80",
];

/// What a server sees as its own address.
fn seen(mode: v1::Mode, target: &str) -> String {
    let at: SocketAddr = target.parse().expect("an address and a port");
    let server = if at.is_ipv4() { "10.88.0.2" } else { "fd88::2" };
    match mode {
        v1::Mode::L4Dnat | v1::Mode::L4Fullnat => {
            SocketAddr::new(server.parse().expect("an address"), at.port()).to_string()
        }
        _ => target.to_owned(),
    }
}

/// What its packets are counted as.
fn verdict(mode: v1::Mode) -> &'static str {
    match mode {
        v1::Mode::L4Dnat => "l4-dnat",
        v1::Mode::L4Fullnat => "l4-fullnat",
        v1::Mode::L4Tunnel => "l4-tunnel",
        _ => "l4-dsr",
    }
}

fn spec(mode: v1::Mode) -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![specs::pool()],
        services: vec![v1::ServiceSpec {
            name: "all".to_owned(),
            vips: vec![V4.to_owned(), V6.to_owned()],
            ports: vec!["any".to_owned()],
            mode: mode.into(),
            pool: "web".to_owned(),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

/// The client's namespace, joined to the node, with routes both ways.
pub(crate) fn client_of(fixture: &Fixture) -> Namespace {
    let client = Namespace::new("c");
    let Fixture { node, peer, .. } = fixture;
    node.ip(&[
        "link",
        "add",
        "lb1",
        "type",
        "veth",
        "peer",
        "name",
        "ct0",
        "netns",
        &client.name,
    ]);
    for (namespace, link, host) in [(node, "lb1", 1), (&client, "ct0", 2)] {
        namespace.ip(&["addr", "add", &format!("10.77.0.{host}/24"), "dev", link]);
        let v6 = format!("fd77::{host}/64");
        namespace.ip(&["addr", "add", &v6, "dev", link, "nodad"]);
        namespace.ip(&["link", "set", link, "up"]);
    }
    for (namespace, v4, v6) in [
        (&client, "10.77.0.1", "fd77::1"),
        (peer, "10.88.0.1", "fd88::1"),
    ] {
        namespace.ip(&["route", "add", "default", "via", v4]);
        namespace.ip(&["-6", "route", "add", "default", "via", v6]);
    }
    // What goes from one interface to another by XDP takes no note along of a checksum that is still to be computed.
    for (namespace, link) in [(&client, "ct0"), (peer, "sv0")] {
        within(namespace, &["ethtool", "-K", link, "tx", "off"]);
    }
    let settings = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; \
                    for name in all lb0 lb1; do echo 0 >/proc/sys/net/ipv4/conf/$name/rp_filter; done";
    within(node, &["sh", "-c", settings]);
    client
}

/// Runs a command in a namespace.
fn within(namespace: &Namespace, command: &[&str]) -> String {
    let namespace = format!("--net=/var/run/netns/{}", namespace.name);
    let args: Vec<&str> = [namespace.as_str()]
        .iter()
        .chain(command)
        .copied()
        .collect();
    run("nsenter", &args)
}

/// What a client's `curl` gets from a target, if it gets anything.
pub(crate) fn curl(client: &Namespace, target: &str) -> Option<String> {
    curl_in(&client.name, target)
}

/// The same from a namespace by its name, for other threads.
pub(crate) fn curl_in(client: &str, target: &str) -> Option<String> {
    let output = Command::new("nsenter")
        .arg(format!("--net=/var/run/netns/{client}"))
        .args([
            "curl",
            "--silent",
            "--globoff",
            "--max-time",
            "1",
            "--noproxy",
            "*",
        ])
        .arg(format!("http://{target}/"))
        .output()
        .expect("these tests need curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Answers each request with the address that it came to.
fn serve(port: u16, stop: &AtomicBool) {
    let listener = TcpListener::bind(("::", port)).expect("the namespace's port is free");
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut stream = stream.expect("accepted");
        let mut request = [0; 1024];
        let _read = stream.read(&mut request);
        let local: SocketAddr = stream.local_addr().expect("connected");
        let body = SocketAddr::new(local.ip().to_canonical(), local.port()).to_string();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _written = stream.write_all(answer.as_bytes());
    }
}

/// Removes the server's pins, also if the test fails.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        remove_pins(&self.0);
    }
}

/// The server agent, until somebody says that it has to stop.
async fn serve_prefix(fixture: &Fixture, mode: v1::Mode, stop: &AtomicBool) {
    let pins = Pins(Path::new("/sys/fs/bpf").join(&fixture.peer.name));
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut controller = PlayedController::start().await;
    controller.apply(&spec(mode));
    let config = NodeConfig {
        name: "s1".to_owned(),
        interfaces: vec!["sv0".to_owned()],
        pin_dir: pins.0.clone(),
        state_dir: state.path().to_owned(),
        keep_on_exit: false,
        ..fixture.config(Role::Server, controller.address)
    };
    let agent = fixture.start(config).await;
    // Whoever says so has a deadline.
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent.stop().await;
    // What it had set up is gone.
    let local = fixture
        .peer
        .ip(&["route", "show", "table", "local", "dev", "lo"]);
    assert!(!local.contains(V4), "{local}");
    let local = fixture
        .peer
        .ip(&["-6", "route", "show", "table", "local", "dev", "lo"]);
    assert!(!local.contains(V6), "{local}");
}

#[test]
fn row_23_a_prefix_is_served_by_a_server_with_its_agent() {
    serves_a_prefix(v1::Mode::L4Dsr);
}

#[test]
fn row_23_a_prefix_is_served_through_a_tunnel() {
    serves_a_prefix(v1::Mode::L4Tunnel);
}

#[test]
fn row_23_a_prefix_is_served_by_destination_nat() {
    serves_a_prefix(v1::Mode::L4Dnat);
}

#[test]
fn row_23_a_prefix_is_served_by_full_nat() {
    serves_a_prefix(v1::Mode::L4Fullnat);
}

fn serves_a_prefix(mode: v1::Mode) {
    let fixture = Fixture::new();
    let client = client_of(&fixture);
    // What a program sends back over a veth arrives only where a program is.
    let _passing = inside(&client, || attach("lbfabric_pass", "ct0", &fixture.pin_dir));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for port in [80, 8080] {
            let (stop, peer) = (&stop, &fixture.peer);
            scope.spawn(move || {
                peer.enter();
                serve(port, stop);
            });
        }
        let server = scope.spawn(|| {
            fixture.peer.enter();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(serve_prefix(&fixture, mode, &stop));
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            balance(&fixture, &client, mode);
        }));
        // The listeners wait for a connection before they look.
        stop.store(true, Ordering::Relaxed);
        for port in ["80", "8080"] {
            let _woken = Command::new("nsenter")
                .arg(format!("--net=/var/run/netns/{}", fixture.peer.name))
                .args(["curl", "--silent", "--max-time", "1"])
                .arg(format!("http://127.0.0.1:{port}/"))
                .output();
        }
        let ended = server.join();
        for result in [outcome, ended] {
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// The load balancer's side, and the client's requests.
fn balance(fixture: &Fixture, client: &Namespace, mode: v1::Mode) {
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec(mode));
        let config = NodeConfig {
            interfaces: vec!["lb0".to_owned(), "lb1".to_owned()],
            ..fixture.config(Role::LoadBalancer, controller.address)
        };
        let agent = fixture.start(config).await;
        for target in TARGETS {
            let answer = eventually(target, || curl(client, target)).await;
            assert_eq!(answer, seen(mode, target), "{target}");
        }
        for vip in ["203.0.113.200", "2001:db8:99:8000::77"] {
            eventually_pinged(client, vip).await;
        }
        assert_eq!(vips_of(&fixture.node), BTreeSet::new());
        let sent = |report: &v1::NodeReport| {
            let count = |name: &str| report.counters.get(name).copied().unwrap_or_default();
            count(verdict(mode)) > 0 && report.refusals.is_empty()
        };
        eventually("packets by the mode", || controller.report_if(sent)).await;
        agent.stop().await;
    });
}
