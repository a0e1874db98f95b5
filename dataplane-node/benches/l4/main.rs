//! `make bench-l4`: what a packet costs in the XDP program, in nanoseconds, against Katran's figures and the limits that
//! this project has set itself. `docs/benchmarks.md` says how, and how to read it.
//!
//! ```text
//! BPF_PROG_TEST_RUN, n repeats:   restore ──tail call──► program under test     minus     restore ──tail call──► empty
//! ```
//!
//! It is a benchmark of `cargo bench` with a `main` of its own, not a program of the product: nothing of it is installed,
//! and it may use what only tests depend on. It needs root.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark stops at what it did not expect"
)]

mod cases;
mod chart;
#[path = "../figures/clock.rs"]
mod clock;
#[path = "../figures/drawing.rs"]
mod drawing;
mod fabric;
#[path = "../figures/facts.rs"]
mod facts;
mod flood;
mod kernel;
mod machine;
mod measure;
mod packets;
mod report;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::{
    cases::{CASES, NOT_THERE_YET},
    fabric::Fabric,
    kernel::Kernel,
    report::Report,
};

/// Measures what a packet costs in the XDP program.
#[derive(Debug, Parser)]
struct Options {
    /// The object with the programs to measure with, from `dataplane-node/ebpf/build.sh --bench`.
    #[arg(long)]
    object: PathBuf,
    /// Another build of the product's programs to measure, in place of that of the sources: for comparisons.
    #[arg(long)]
    product: Option<PathBuf>,
    /// Where `l4.json` and `l4.svg` go.
    #[arg(long)]
    out: PathBuf,
    /// How often every case is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Packets of one measurement.
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1024..))]
    packets: u32,
    /// The core to stay on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Only the cases whose name contains this; the others count as passed over, not as met.
    #[arg(long)]
    only: Option<String>,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let before = machine::load();
    machine::stay_on(options.core);
    let ingress = machine::enter_network();

    let product = options.product.as_ref().map(|path| fs::read(path).unwrap());
    let bench = fs::read(&options.object).unwrap();
    let mut kernel = Kernel::load(product.as_deref(), &bench, ingress);
    Fabric::fill(&mut kernel, ingress);
    let chosen: Vec<_> = CASES
        .iter()
        .filter(|case| {
            options
                .only
                .as_ref()
                .is_none_or(|part| case.name.contains(part))
        })
        .collect();
    let measured = measure::rounds(&mut kernel, &chosen, options.rounds, options.packets);
    let flood = flood::survivors(&mut kernel);

    let report = Report {
        rounds: options.rounds,
        packets: options.packets,
        load: (before, machine::load()),
        floor: measured.floor,
        floor_spread: measured.floor_spread,
        rows: measured.rows,
        missing: NOT_THERE_YET,
        partial: chosen.len() < CASES.len(),
        flood,
    };
    fs::create_dir_all(&options.out).unwrap();
    let (json, svg) = (options.out.join("l4.json"), options.out.join("l4.svg"));
    fs::write(&json, report.json()).unwrap();
    fs::write(&svg, chart::draw(&report)).unwrap();
    report.print(&json, &svg);
    if report.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
