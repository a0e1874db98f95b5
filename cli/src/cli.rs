//! The command line: arguments and dispatch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Operates an lbfabric load-balancing fabric.
#[derive(Debug, Parser)]
#[command(name = "lbfabric", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try every mode in a network of namespaces on this machine.
    Lab(crate::lab::LabArgs),
}

impl Cli {
    /// Runs the command to its end.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Lab(args) => crate::lab::run(args).await,
        }
    }
}
