//! The command line: arguments and dispatch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    client::ClientArgs,
    command::{
        apply, bgp, cert, completions, delete, dev, diff, explain, get, logs, man, node, nodes,
        top, validate, vip, watch,
    },
    exit, lab,
};

/// Operates an lbfabric load-balancing fabric.
#[derive(Debug, Parser)]
#[command(name = "lbfabric", version, after_help = exit::HELP)]
#[command(arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    client: ClientArgs,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Create and change objects from files.
    #[command(after_long_help = apply::HELP)]
    Apply(apply::ApplyArgs),
    /// Show what applying files would change.
    #[command(after_long_help = diff::HELP)]
    Diff(diff::DiffArgs),
    /// Check files without a controller.
    #[command(after_long_help = validate::HELP)]
    Validate(validate::ValidateArgs),
    /// Show services, pools, nodes and certificates.
    #[command(after_long_help = get::HELP)]
    Get(get::GetArgs),
    /// Delete objects.
    #[command(after_long_help = delete::HELP)]
    Delete(delete::DeleteArgs),
    /// Follow changes as they happen.
    #[command(after_long_help = watch::HELP)]
    Watch(watch::WatchArgs),
    /// Show how the nodes are.
    #[command(after_long_help = nodes::HELP)]
    Nodes(nodes::NodesArgs),
    /// Empty a node for maintenance, and take it back.
    #[command(after_long_help = node::HELP)]
    Node(node::NodeArgs),
    /// Show who owns VIPs with leases, and move, pin and drain them.
    #[command(after_long_help = vip::HELP)]
    Vip(vip::VipArgs),
    /// Show what services do, as it happens.
    #[command(after_long_help = top::HELP)]
    Top(top::TopArgs),
    /// Show a service's access log.
    #[command(after_long_help = logs::HELP)]
    Logs(logs::LogsArgs),
    /// Ask nodes what they would do with a packet, and why.
    #[command(after_long_help = explain::HELP)]
    Explain(explain::ExplainArgs),
    /// Show what nodes announce to their routers.
    #[command(after_long_help = bgp::HELP)]
    Bgp(bgp::BgpArgs),
    /// Import, list and rotate certificates.
    #[command(after_long_help = cert::HELP)]
    Cert(cert::CertArgs),
    /// Run a controller and a node in one process on this machine.
    #[command(after_long_help = dev::HELP)]
    Dev(dev::DevArgs),
    /// Try every mode in a network of namespaces on this machine.
    Lab(lab::LabArgs),
    /// Print a shell's completions.
    #[command(after_long_help = completions::HELP)]
    Completions(completions::CompletionsArgs),
    /// Print manual pages.
    #[command(after_long_help = man::HELP)]
    Man(man::ManArgs),
}

impl Cli {
    /// Runs the command to its end.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { client, command } = self;
        match command {
            Command::Apply(args) => apply::run(args, &client).await,
            Command::Diff(args) => diff::run(args, &client).await,
            Command::Validate(args) => validate::run(args),
            Command::Get(args) => get::run(args, &client).await,
            Command::Delete(args) => delete::run(args, &client).await,
            Command::Watch(args) => watch::run(args, &client).await,
            Command::Nodes(args) => nodes::run(args, &client).await,
            Command::Node(args) => node::run(args, &client).await,
            Command::Vip(args) => vip::run(args, &client).await,
            Command::Top(args) => top::run(args, &client).await,
            Command::Logs(args) => logs::run(args, &client).await,
            Command::Explain(args) => explain::run(args, &client).await,
            Command::Bgp(args) => bgp::run(args, &client).await,
            Command::Cert(args) => cert::run(args, &client).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Lab(args) => lab::run(args).await,
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_long_help_has_an_example() {
        for mut command in Cli::command().get_subcommands().cloned() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }
}
