//! The binary `lbfabric`.

use std::process::ExitCode;

use clap::Parser as _;
use lbfabric::{cli::Cli, exit};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::report(&anyhow::Error::new(error).context("cannot start the runtime"));
        }
    };
    let result = runtime.block_on(Cli::parse().run());
    // What still runs in the background, such as a read of a terminal, is not waited for.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| exit::report(&error))
}
