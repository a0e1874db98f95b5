//! The binary `lbfabric`.

use std::process::ExitCode;

use clap::Parser as _;
use lbfabric::cli::Cli;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    Cli::parse().run().await
}
