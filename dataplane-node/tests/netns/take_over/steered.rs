//! Connections to VIPs that are configured nowhere, while one agent takes another's place.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use lbfabric_node::Role;
use lbfabric_proto::v1;

use super::Running;
use crate::{
    fixture::{Fixture, eventually},
    played_controller::PlayedController,
    specs,
    transparent_listening::{ALONE, programs, service, transparent},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Each of another client, at any of a prefix's addresses and ports.
const TARGETS: [&str; 4] = [
    "10.99.0.0:80",
    "10.99.0.77:8080",
    "[fd99::]:443",
    "[fd99::77]:65535",
];

/// One request over a connection of its own.
fn ask(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 OK\r\n") {
        Ok(())
    } else {
        Err(io::Error::other(answer))
    }
}

/// What clients have got so far.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    asked: AtomicU64,
}

impl Seen {
    /// One connection after the other, until one fails or it is enough.
    fn go_on(&self, to: SocketAddr) -> io::Result<()> {
        while !self.stop.load(SeqCst) {
            ask(to)?;
            self.asked.fetch_add(1, SeqCst);
        }
        Ok(())
    }
}

fn spec() -> v1::FabricSpec {
    v1::FabricSpec {
        pools: vec![specs::probed_pool()],
        services: vec![transparent(service(
            "all",
            &["10.99.0.0/24", "fd99::/64"],
            "any",
            80,
        ))],
        ..v1::FabricSpec::default()
    }
}

#[test]
fn nobody_is_refused_while_an_agent_is_replaced() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let fixture = Fixture::new();
    fixture.route_vips();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _nginx = Running::nginx(&fixture.peer, folder.path());
    fixture.run(|| async {
        let mut controller = PlayedController::start().await;
        controller.apply(&spec());
        let config = fixture.config(Role::LoadBalancer, controller.address);
        let mut agent = Running::agent(&config, &["--hand-over-secs", "60"]);
        let is_there = |report: &v1::NodeReport| super::is_applied(report, 3);
        eventually("the service", || controller.report_if(is_there)).await;
        let seen = Arc::new(Seen::default());
        let clients = TARGETS.map(|target| {
            let (door, seen) = (fixture.peer.door(), Arc::clone(&seen));
            thread::spawn(move || {
                door.enter();
                seen.go_on(target.parse().expect("an address and a port"))
            })
        });
        let more = async |than: u64| {
            // Who has failed is told of below.
            let has_failed = || clients.iter().any(thread::JoinHandle::is_finished);
            let more = || (seen.asked.load(SeqCst) > than || has_failed()).then_some(());
            eventually("connections", more).await;
        };
        more(100).await;
        let next = Running::agent(&config, &["--take-over"]);
        let status = eventually("the first agent's end", || agent.ended()).await;
        assert!(status.success(), "{status}");
        more(seen.asked.load(SeqCst) + 100).await;
        seen.stop.store(true, SeqCst);
        for (target, client) in TARGETS.into_iter().zip(clients) {
            let went = client.join().expect("no panic");
            went.unwrap_or_else(|error| panic!("{target}: {error}"));
        }
        drop(next);
        eventually("no program", || (programs() == 0).then_some(())).await;
    });
}
