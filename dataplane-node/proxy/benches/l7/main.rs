//! `make bench-l7`: what the layer-7 engine does with a second of a core, against HAProxy and nginx from Debian's packages in the same
//! run, and the limits that this project has set itself. `docs/benchmarks.md` says how, and how to read it.
//!
//! ```text
//!            one core                        the other core
//!  ┌──────────────────────────┐     ┌───────────────────────────────┐
//!  │ wrk, h2load ─────────────┼────►│ HAProxy, nginx or ours,       │
//!  │ nginx that answers ◄─────┼─────┤ one worker                    │
//!  └──────────────────────────┘     └───────────────────────────────┘
//! ```
//!
//! It is a benchmark of `cargo bench` with a `main` of its own, not a program of the product. All of its traffic stays on the loopback
//! interface, and every process that it starts ends with it.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark stops at what it did not expect"
)]

mod cases;
mod chart;
#[path = "../../../benches/figures/drawing.rs"]
mod drawing;
mod engine;
#[path = "../../../benches/figures/facts.rs"]
mod facts;
mod idle;
mod load;
mod many;
mod measure;
mod process;
mod proxies;
mod report;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

use crate::{cases::CASES, engine::Serving, measure::Plan, report::Report};

/// As the node agent has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measures the layer-7 engine against HAProxy and nginx.
#[derive(Debug, Parser)]
#[command(subcommand_negates_reqs = true)]
struct Options {
    /// Where `l7.json` and `l7.svg` go.
    #[arg(long, required = true)]
    out: Option<PathBuf>,
    /// How often every case is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The proxies' core.
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// The core of clients and server.
    #[arg(long, default_value_t = 0)]
    client_core: usize,
    /// The most connections that wait at the same time.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..=1_000_000))]
    connections: u32,
    /// Only the cases whose name contains one of these; such a run does not count as met.
    #[arg(long)]
    only: Vec<String>,
    #[command(subcommand)]
    role: Option<Role>,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What this program starts itself as.
#[derive(Debug, Subcommand)]
enum Role {
    /// The engine that is measured.
    #[command(hide = true)]
    Serve(Serving),
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Role::Serve(serving)) = &options.role {
        engine::run(serving);
        return ExitCode::SUCCESS;
    }
    // Idle connections are files of this process too.
    process::allow_files();

    let chosen: Vec<_> = CASES
        .iter()
        .filter(|case| {
            options.only.is_empty() || options.only.iter().any(|part| case.name.contains(part))
        })
        .collect();
    let before = facts::load();
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        folder: folder.path(),
        rounds: options.rounds,
        seconds: options.seconds,
        proxy_core: options.core,
        client_core: options.client_core,
        connections: options.connections,
    };
    let rows = measure::rows(&plan, &chosen);
    let report = Report {
        rounds: options.rounds,
        seconds: options.seconds,
        load: (before, facts::load()),
        rows,
        is_partial: chosen.len() < CASES.len(),
    };
    let out = options.out.unwrap();
    fs::create_dir_all(&out).unwrap();
    let (json, svg) = (out.join("l7.json"), out.join("l7.svg"));
    fs::write(&json, report.json()).unwrap();
    fs::write(&svg, chart::draw(&report)).unwrap();
    report.print(&json, &svg);
    if report.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
