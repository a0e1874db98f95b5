//! `lbfabric completions`.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{cli::Cli, exit::Exit, output::print};

/// Arguments of `lbfabric completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// The end of its long help.
pub const HELP: &str = "\
Example:
  lbfabric completions bash > /etc/bash_completion.d/lbfabric";

/// Prints a shell's completions.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lbfabric", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(Exit::Ok.into())
}
