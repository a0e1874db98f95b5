//! Flows of datagrams that go on while one agent takes another's place.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use lbfabric_node::Role;
use lbfabric_proto::v1;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::Running;
use crate::{
    fixture::{Fixture, attached, eventually},
    l7_served::service,
    namespace::Namespace,
    played_controller::PlayedController,
    specs,
};

const FLOWS: usize = 32;
const VIP: &str = "10.99.0.1:80";
/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a client that hears nothing looks whether it still should.
const LOOK: Duration = Duration::from_millis(100);
/// Each client says something this often, whether it has been answered or not.
const PACE: Duration = Duration::from_millis(5);

/// Answers each datagram with itself, the server's own address and the port that it came from.
fn echo_in(namespace: &Namespace, address: &str) {
    let address: SocketAddr = address.parse().expect("an address and a port");
    let socket = namespace.within(|| UdpSocket::bind(address).expect("the port is free"));
    has_room(&socket);
    thread::spawn(move || -> io::Result<()> {
        loop {
            let mut datagram = [0; 64];
            let (length, from) = socket.recv_from(&mut datagram)?;
            let said = String::from_utf8_lossy(&datagram[..length]);
            let answer = format!("{said} {} {}", address.ip(), from.port());
            socket.send_to(answer.as_bytes(), from)?;
        }
    });
}

/// What waits for this process on a busy machine is not lost here.
fn has_room(socket: &UdpSocket) {
    setsockopt(socket, RcvBufForce, &(4 << 20)).expect("tests are privileged");
}

/// Datagrams that a namespace's sockets had no room for.
fn overflows(namespace: &Namespace) -> u64 {
    let text = namespace.within(|| std::fs::read_to_string("/proc/thread-self/net/snmp"));
    let text = text.expect("the kernel counts");
    let lines: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("Udp:"))
        .map(|line| line.split(' ').collect())
        .collect();
    let at = lines[0].iter().position(|it| *it == "RcvbufErrors");
    lines[1][at.expect("it has this counter")]
        .parse()
        .expect("a number")
}

fn client(namespace: &Namespace) -> UdpSocket {
    namespace.within(|| {
        let client = UdpSocket::bind("10.88.0.2:0").expect("a port");
        client.connect(VIP).expect("a way there");
        has_room(&client);
        client.set_read_timeout(Some(LOOK)).expect("a timeout");
        client
    })
}

/// What has come back to a client that has sent so many, in order: numbers, and who has answered.
fn heard(client: &UdpSocket, sent: &AtomicU64, stop: &AtomicBool) -> BTreeSet<String> {
    let mut servers = BTreeSet::new();
    let (mut next, mut heard_at) = (0, Instant::now());
    while !stop.load(SeqCst) || next < sent.load(SeqCst) {
        let mut answer = [0; 64];
        let Ok(length) = client.recv(&mut answer) else {
            let is_answered = next == sent.load(SeqCst);
            assert!(
                is_answered || heard_at.elapsed() < PATIENCE,
                "datagram {next} is lost"
            );
            continue;
        };
        heard_at = Instant::now();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        let (number, server) = answer.split_once(' ').expect("a number and a server");
        assert_eq!(number.parse(), Ok(next), "one is lost, or not in order");
        servers.insert(server.to_owned());
        next += 1;
    }
    servers
}

fn spec() -> v1::FabricSpec {
    let mut dns = service("dns", "80", 53, v1::ProxySpec::default());
    dns.protocol = v1::Protocol::Udp.into();
    let mut spec = v1::FabricSpec {
        pools: vec![specs::pool()],
        services: vec![dns],
        ..v1::FabricSpec::default()
    };
    let mut other = spec.pools[0].backends[0].clone();
    "s2".clone_into(&mut other.name);
    other.addresses = vec!["10.88.0.3".to_owned(), "fd88::3".to_owned()];
    spec.pools[0].backends.push(other);
    spec
}

#[test]
fn no_datagram_is_lost_and_no_session_moves_when_an_agent_is_replaced() {
    let fixture = Fixture::new();
    fixture.route_vips();
    for address in ["10.88.0.3/24", "fd88::3/64"] {
        let add = ["addr", "add", address, "dev", "sv0", "nodad"];
        fixture.peer.ip(&add);
    }
    for server in ["10.88.0.2:53", "10.88.0.3:53"] {
        echo_in(&fixture.peer, server);
    }
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec());
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let mut agent = Running::agent(&config, &["--hand-over-secs", "60"]);
        let is_there = |report: &v1::NodeReport| {
            attached(report) && report.refusals.is_empty() && report.applied_generation > 2
        };
        eventually("the service", || controller.report_if(is_there)).await;

        let clients: Vec<_> = (0..FLOWS).map(|_| client(&fixture.peer)).collect();
        let sent: Vec<_> = (0..FLOWS).map(|_| AtomicU64::new(0)).collect();
        let stop = AtomicBool::new(false);
        let servers = thread::scope(|scope| {
            let hearing: Vec<_> = clients
                .iter()
                .zip(&sent)
                .map(|(client, sent)| scope.spawn(|| heard(client, sent, &stop)))
                .collect();
            let sending = scope.spawn(|| {
                while !stop.load(SeqCst) {
                    for (client, sent) in clients.iter().zip(&sent) {
                        let number = sent.fetch_add(1, SeqCst).to_string();
                        client.send(number.as_bytes()).expect("it goes");
                    }
                    thread::sleep(PACE);
                }
            });
            // Whatever happens here, the threads end.
            let replaced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                replace_twice(&config, &mut agent, &sent)
            }));
            stop.store(true, SeqCst);
            let overflows = [&fixture.node, &fixture.peer].map(overflows);
            assert_eq!(
                overflows,
                [0, 0],
                "datagrams without room at the node, and beside it"
            );
            sending.join().expect("all go");
            let servers: Vec<_> = hearing
                .into_iter()
                .map(|it| it.join().expect("all come"))
                .collect();
            drop(replaced.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            servers
        });
        // One server has seen one port of the node.
        assert!(servers.iter().all(|it| it.len() == 1), "{servers:?}");
        let all: BTreeSet<_> = servers.iter().flatten().collect();
        assert_eq!(all.len(), FLOWS, "each has a session of its own");
    });
}

/// One after the other takes the place of the one before it, with hundreds of datagrams of each flow in between; gives the last one.
fn replace_twice(
    config: &lbfabric_node::NodeConfig,
    agent: &mut Running,
    sent: &[AtomicU64],
) -> Running {
    let go_on = || {
        let until: Vec<_> = sent.iter().map(|it| it.load(SeqCst) + 200).collect();
        wait_for("two hundred datagrams of each flow", || {
            sent.iter()
                .zip(&until)
                .all(|(sent, until)| sent.load(SeqCst) >= *until)
        });
    };
    go_on();
    let mut next = Running::agent(config, &["--take-over"]);
    wait_for("the first agent's end", || {
        agent.ended().is_some_and(|it| it.success())
    });
    go_on();
    let last = Running::agent(config, &["--take-over"]);
    wait_for("the second agent's end", || {
        next.ended().is_some_and(|it| it.success())
    });
    go_on();
    last
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "not so: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
