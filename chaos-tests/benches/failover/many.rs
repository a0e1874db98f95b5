//! A node that announces very many VIPs to one router.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use crate::{
    bird::{self, Bird},
    fabric::{Fabric, Programs},
    flat::Network,
    report::{Limit, Row},
    routed::ROUTER,
    until,
};

const NODE: (&str, &str) = ("node0", "10.77.0.11");
const VIPS_OF_A_SERVICE: u32 = 64;
const MEMORY_MAX: u64 = 200 << 20;
const START: Duration = Duration::from_mins(5);

/// From the router's first session to the last route in its table.
pub(crate) fn measure(programs: &Programs, vips: u32, only: &str) -> Vec<Row> {
    let mut row = Row::new(
        "very many VIPs in the router's table",
        "lbfabric",
        Limit::worst(5000),
    );
    if !row.name().contains(only) {
        return Vec::new();
    }
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new();
    let document = Fabric::routed_document(&services(vips), &[NODE]);
    let fabric = Fabric::on(programs, &network, folder.path(), &document);
    // The first router has to wait until the node has its services.
    for round in 0..4 {
        let settings = bird::router(&[NODE], false);
        let router = Bird::start(&network.router, folder.path(), "router", ROUTER, &settings);
        router.wait_for_sessions(&[NODE.0]);
        let at = Instant::now();
        // Beside them its table has what it learns of its own links.
        let wanted = format!("{vips} of ");
        until("the router has all routes", START, || {
            let said = router.ask(&format!("show route count protocol {}", NODE.0))?;
            let has_all = said.lines().any(|line| line.starts_with(&wanted));
            has_all.then_some(())
        });
        if round > 0 {
            row.times.push(at.elapsed());
        }
    }
    let agent = fabric.agent_process(0);
    row.memory = Some((Fabric::resident(agent), MEMORY_MAX));
    vec![row]
}

/// The services' VIPs, as lines of a document.
fn services(vips: u32) -> Vec<String> {
    let all: Vec<_> = (0..vips).collect();
    let services = all.chunks(VIPS_OF_A_SERVICE as usize);
    let lines = services.map(|vips| {
        let mut line = "    vips: [".to_owned();
        for vip in vips {
            let [_, a, b, c] = vip.to_be_bytes();
            write!(line, "100.{}.{b}.{c},", 64 + a).unwrap();
        }
        line + "]\n"
    });
    lines.collect()
}
