//! `lbfabric lab`: a network of namespaces with real traffic through every mode.

use std::process::ExitCode;

/// Arguments of `lbfabric lab`.
#[derive(Debug, clap::Args)]
pub struct LabArgs {}

/// Builds the lab, sends the traffic, prints the table, and takes everything away again.
#[expect(clippy::unused_async, reason = "the lab's body awaits")]
pub async fn run(args: LabArgs) -> anyhow::Result<ExitCode> {
    let LabArgs {} = args;
    anyhow::bail!("the lab is not part of this build")
}
