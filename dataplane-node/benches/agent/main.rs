//! `make bench-agent`: how long the node agent takes from an input to the last word written into the programs' maps, and what
//! memory the maps take, against the limits that this project has set itself. `docs/benchmarks.md` says how.
//!
//! It is a benchmark of `cargo bench` with a `main` of its own, not a program of the product. It needs root, and 1 GB of memory.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark stops at what it did not expect"
)]

mod chart;
#[path = "../figures/clock.rs"]
mod clock;
#[path = "../figures/drawing.rs"]
mod drawing;
mod events;
mod fabric;
#[path = "../figures/facts.rs"]
mod facts;
mod kernel;
mod loading;
mod report;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::report::Report;

/// Measures how long the agent takes to write the programs' maps.
#[derive(Debug, Parser)]
struct Options {
    /// Where `agent.json` and `agent.svg` go.
    #[arg(long)]
    out: PathBuf,
    /// How often every change of a pool is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// How often all services are loaded.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    loads: u32,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let before = facts::load();
    kernel::enter_private_mounts();

    let mut rows = events::alone(options.rounds);
    let (loaded, memory) = loading::measure(options.loads, options.rounds);
    rows.extend(loaded);

    let report = Report {
        rounds: options.rounds,
        loads: options.loads,
        load: (before, facts::load()),
        rows,
        memory,
    };
    fs::create_dir_all(&options.out).unwrap();
    let (json, svg) = (
        options.out.join("agent.json"),
        options.out.join("agent.svg"),
    );
    fs::write(&json, report.json()).unwrap();
    fs::write(&svg, chart::draw(&report)).unwrap();
    report.print(&json, &svg);
    if report.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
