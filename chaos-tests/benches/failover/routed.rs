//! A routed network: two nodes that announce the same VIP to one router, of which one dies without a word.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use crate::{
    bird::{self, Bird},
    fabric::{Fabric, Programs},
    flat::Network,
    namespaces::{Namespace, finish},
    report::{Limit, Row},
    until,
};

/// The VIP that both announce.
pub(crate) const VIP: &str = "203.0.113.7";
pub(crate) const NODES: [(&str, &str); 2] = [("node0", "10.77.0.11"), ("node1", "10.77.0.12")];
pub(crate) const ROUTER: &str = "10.77.0.1";
const WHAT: &str = "router loses one of two anycast nodes";
const START: Duration = Duration::from_mins(1);

/// Each way to notice.
pub(crate) fn measure(programs: &Programs, rounds: &dyn Fn(&str) -> u32, only: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (system, limit) in [
        ("bird2, hold time 3 s", Limit::none()),
        ("bird2, BFD 50 ms x 3", Limit::none()),
        ("lbfabric, BFD 50 ms x 3", Limit::median(150)),
    ] {
        let mut row = Row::new(WHAT, system, limit);
        if row.name().contains(only) {
            row.times = measure_system(programs, system, rounds(system));
            rows.push(row);
        }
    }
    rows
}

fn measure_system(programs: &Programs, system: &str, rounds: u32) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new();
    let with_bfd = system.contains("BFD");
    let _nodes = announce(programs, system, &network, folder.path());
    let settings = bird::router(&NODES, with_bfd);
    let router = Bird::start(&network.router, folder.path(), "router", ROUTER, &settings);
    let changes = route_changes(&network.router);
    let mut times = Vec::new();
    for round in 0..rounds {
        let lost = round as usize % 2;
        settle(&network.router, &router, with_bfd);
        while changes.try_recv().is_ok() {}
        let at = Instant::now();
        network.silence(lost);
        let seen = changes.recv_timeout(Duration::from_secs(10));
        times.push(seen.expect("the route changes") - at);
        thread::sleep(Duration::from_millis(500));
        network.speak(lost);
    }
    times
}

/// What announces the VIP on both nodes.
enum Announcing {
    Birds(#[expect(dead_code, reason = "they run")] [Bird; 2]),
    Fabric(#[expect(dead_code, reason = "it runs")] Box<Fabric>),
}

fn announce(programs: &Programs, system: &str, network: &Network, folder: &Path) -> Announcing {
    let with_bfd = system.contains("BFD");
    if system.starts_with("bird2") {
        return Announcing::Birds([0, 1].map(|n| {
            let (name, address) = NODES[n];
            let settings = bird::node(ROUTER, VIP, with_bfd);
            Bird::start(&network.nodes[n], folder, name, address, &settings)
        }));
    }
    let vips = format!("    vips: [{VIP}]\n");
    let document = Fabric::routed_document(&[vips], &NODES);
    Announcing::Fabric(Box::new(Fabric::on(programs, network, folder, &document)))
}

/// Waits until the kernel of the router has both ways, and BFD watches over them.
pub(crate) fn settle(at: &Namespace, router: &Bird, with_bfd: bool) {
    until("the router has both ways", START, || {
        let mut command = at.command("ip");
        let ways = finish(command.args(["route", "show", VIP]));
        let has_both = NODES.iter().all(|(_, address)| ways.contains(address));
        let watched = router.ask("show bfd sessions")?;
        let watched = watched.lines().filter(|line| line.contains(" Up ")).count();
        (has_both && (!with_bfd || watched == 2)).then_some(())
    });
    // BFD's intervals are agreed on a moment after it is up.
    thread::sleep(Duration::from_secs(3));
}

/// When the kernel's routes to the VIP change.
pub(crate) fn route_changes(at: &Namespace) -> Receiver<Instant> {
    let mut command = at.command("ip");
    command
        .args(["-o", "monitor", "route"])
        .stdout(Stdio::piped());
    let mut monitor = command.spawn().unwrap();
    let lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    let (sender, changes) = mpsc::channel();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.contains(VIP) && sender.send(Instant::now()).is_err() {
                break;
            }
        }
        // It ends with the thread's last line or this process; nobody waits for it.
        let _gone = monitor.kill();
        let _gone = monitor.wait();
    });
    changes
}
