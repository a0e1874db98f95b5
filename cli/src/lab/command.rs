//! The command `lbfabric lab`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use super::interrupt::Interrupt;
use super::requirements::{self, Binaries};
use super::{Lab, Report, faults, remove_abandoned};
use crate::output::Style;

/// Arguments of `lbfabric lab`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "Example:\n  lbfabric lab\n  lbfabric lab --faults -o json")]
pub struct LabArgs {
    /// Requests of each kind: mode, IP family and protocol.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub requests: u32,
    /// Also kill controllers and a node's agent while traffic flows, and check what must still hold.
    #[arg(long)]
    pub faults: bool,
    /// Leave the lab running, and say how to enter it.
    #[arg(long)]
    pub keep: bool,
    /// Only remove what is left of labs whose process is gone: those of `--keep`, too.
    #[arg(long, conflicts_with_all = ["faults", "keep", "requests"])]
    pub cleanup: bool,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t = LabOutput::Table)]
    pub output: LabOutput,
}

/// What `lbfabric lab` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LabOutput {
    /// Tables for people.
    Table,
    /// One JSON object.
    Json,
}

/// Builds the lab, sends the traffic, prints the table, and takes everything away again. The exit code is 0 only if every row is as
/// it must be.
pub async fn run(args: LabArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let watcher = tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = int.recv() => {}
                Some(()) = term.recv() => {}
                Some(()) = hangup.recv() => {}
                else => return,
            }
            raised.raise();
        }
    });
    // The lab waits for processes and sockets of other namespaces, on threads of its own.
    let outcome = tokio::task::spawn_blocking(move || run_blocking(&args, &interrupt)).await;
    watcher.abort();
    outcome.context("the lab panicked; what it made was removed")?
}

fn run_blocking(args: &LabArgs, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
    if args.cleanup {
        requirements::check()?;
        let removed = remove_abandoned()?;
        eprintln!(
            "lab: removed {} abandoned labs {}",
            removed.len(),
            removed.join(" ")
        );
        return Ok(ExitCode::SUCCESS);
    }
    let report = try_all(args, interrupt)?;
    let text = match args.output {
        LabOutput::Table => report.to_table(Style::stdout()),
        LabOutput::Json => report.to_json()?,
    };
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            return Err(error).context("printing the report");
        }
        Ok(()) | Err(_) => {}
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn try_all(args: &LabArgs, interrupt: &Interrupt) -> anyhow::Result<Report> {
    requirements::check()?;
    let binaries = Binaries::find()?;
    progress("building the network and starting the servers");
    let mut lab = Lab::build(interrupt)?;
    progress(&format!("it is called {}", lab.id()));
    let outcome = fill(args, &mut lab, &binaries);
    if args.keep && !interrupt.is_raised() {
        eprintln!("{}", how_to_enter(&lab));
        lab.keep();
        return outcome;
    }
    progress("removing the lab");
    match (outcome, lab.remove()) {
        (outcome, Ok(())) => outcome,
        (Ok(_), Err(error)) => Err(error.context("the lab could not be removed")),
        (Err(error), Err(also)) => {
            Err(error.context(format!("and it could not be removed: {also:#}")))
        }
    }
}

fn fill(args: &LabArgs, lab: &mut Lab, binaries: &Binaries) -> anyhow::Result<Report> {
    progress("starting controllers and nodes, applying services of each mode and protocol");
    lab.start_fabric(binaries)?;
    progress(&format!("sending {} requests of every kind", args.requests));
    let rows = lab.measure(args.requests)?;
    let faults = if args.faults {
        faults::run(lab, binaries)?
    } else {
        Vec::new()
    };
    Ok(Report::new(rows, faults))
}

/// Says on standard error what happens now.
pub(super) fn progress(what: &str) {
    eprintln!("lab: {what}");
}

fn how_to_enter(lab: &Lab) -> String {
    let (id, path) = (lab.id(), lab.path().display());
    format!(
        "lab: it stays as {id}, with its files in {path}\n\
         lab: enter a host (client, router, switch, ops, ctl1..3, node1..2, srv1..3):\n\
         lab:   nsenter --net=/var/run/netns/lbf-{id}-client curl http://10.99.0.11/\n\
         lab:   nsenter --net=/var/run/netns/lbf-{id}-ops lbfabric --controller {} get services\n\
         lab:   birdc -s {} show route\n\
         lab: remove it: lbfabric lab --cleanup",
        super::api::endpoints(),
        lab.bird_control().display()
    )
}
