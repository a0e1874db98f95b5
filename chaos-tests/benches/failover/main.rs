//! `make bench-failover`: for how long a VIP is not served when its owner dies, is cut off, is moved or hangs, beside keepalived; how long a router
//! takes to send nothing more to a dead node, beside bird; and how long it takes to tell a router of 100,000 VIPs. `docs/benchmarks.md` says how.
//!
//! It is a benchmark of `cargo bench` with a `main` of its own, not a program of the product. It needs root.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark stops at what it did not expect"
)]

mod arp;
mod bird;
mod busy;
mod chart;
#[path = "../../../dataplane-node/benches/figures/drawing.rs"]
mod drawing;
mod fabric;
#[path = "../../../dataplane-node/benches/figures/facts.rs"]
mod facts;
mod flat;
mod keepalived;
mod many;
mod namespaces;
mod ping;
mod process;
mod report;
mod routed;

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;

use crate::{fabric::Programs, report::Report};

/// Measures for how long VIPs are not served, and routes are wrong.
#[derive(Debug, Parser)]
struct Options {
    /// Where `failover.json` and `failover.svg` go.
    #[arg(long)]
    out: PathBuf,
    /// The folder with `lbfabric`, `lbfabric-controller` and `lbfabric-node`.
    #[arg(long)]
    programs: PathBuf,
    /// How often each event happens to ours.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// How often each event happens to the peers, which take longer.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..))]
    peer_rounds: u32,
    /// The VIPs that a router is told of.
    #[arg(long, default_value_t = 100_000)]
    vips: u32,
    /// For how many seconds nothing may happen while all cores are busy; 0 leaves that out, which never counts as success.
    #[arg(long, default_value_t = 600)]
    calm_seconds: u64,
    /// Only rows whose name has this in it, which never counts as success.
    #[arg(long, default_value = "")]
    only: String,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let before = facts::load();
    namespaces::enter_private_mounts();
    let programs = Programs::in_folder(&options.programs);

    let rounds = |system: &str| {
        if system.contains("lbfabric") {
            options.rounds
        } else {
            options.peer_rounds
        }
    };
    let mut rows = flat::measure(&programs, &rounds, &options.only);
    rows.extend(routed::measure(&programs, &rounds, &options.only));
    rows.extend(many::measure(&programs, options.vips, &options.only));

    let calm = (options.calm_seconds > 0).then(|| busy::measure(&programs, options.calm_seconds));

    let report = Report {
        rounds: [options.rounds, options.peer_rounds],
        load: (before, facts::load()),
        rows,
        calm,
    };
    fs::create_dir_all(&options.out).unwrap();
    let (json, svg) = (
        options.out.join("failover.json"),
        options.out.join("failover.svg"),
    );
    fs::write(&json, report.json()).unwrap();
    fs::write(&svg, chart::draw(&report)).unwrap();
    report.print(&json, &svg);
    if report.is_met() && report.calm.is_some() && options.only.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Waits until there is something.
fn until<T>(what: &str, limit: Duration, mut find: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
