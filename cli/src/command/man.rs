//! `lbfabric man`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::{cli::Cli, exit::Exit, output::print};

/// Arguments of `lbfabric man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for every command into this directory, instead of the main one to standard output.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The end of its long help.
pub const HELP: &str = "\
Example:
  lbfabric man | man -l -
  lbfabric man --dir /usr/local/share/man/man1";

/// Writes manual pages.
pub fn run(args: ManArgs) -> anyhow::Result<ExitCode> {
    let ManArgs { dir } = args;
    let command = Cli::command();
    if let Some(dir) = dir {
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        clap_mangen::generate_to(command, &dir)
            .with_context(|| format!("cannot write to {}", dir.display()))?;
        return Ok(Exit::Ok.into());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    print(&String::from_utf8(page)?)?;
    Ok(Exit::Ok.into())
}
