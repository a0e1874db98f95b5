//! `lbfabric validate`.

use std::process::ExitCode;

use super::file::{FileArgs, Files};
use crate::{
    exit::Exit,
    output::{note, print},
};

/// Arguments of `lbfabric validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Print nothing if there is no mistake.
    #[arg(short, long)]
    quiet: bool,
}

/// The end of its long help.
pub const HELP: &str = "\
Asks no controller: the files have to be complete, with every pool that their services name.

Example:
  lbfabric validate -f pools.yaml -f services.yaml";

/// Checks files by themselves.
pub fn run(args: ValidateArgs) -> anyhow::Result<ExitCode> {
    let ValidateArgs { file, quiet } = args;
    let mut files = Files::read(&file.files)?;
    files.check_locally(false);
    if !files.reading.is_clean() {
        return Ok(files.report(""));
    }
    let spec = &files.reading.spec;
    let counts = [
        (spec.services.len(), "services"),
        (spec.pools.len(), "pools"),
        (spec.nodes.len(), "nodes"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if !quiet {
        print(&format!("valid: {}\n", parts.join(", ")))?;
    }
    if counts.iter().all(|(count, _)| *count == 0) {
        note("there are no objects in it");
    }
    Ok(Exit::Ok.into())
}
