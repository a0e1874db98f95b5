//! `lbfabric bgp`.

use std::process::ExitCode;

use lbfabric_proto::v1;

use super::get::note_missing;
use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, message, plain},
    exit::Exit,
    output::{Format, FormatArgs, Style, bgp_neighbors, bgp_routes, note, print},
};

/// Arguments of `lbfabric bgp`.
#[derive(Debug, clap::Args)]
pub struct BgpArgs {
    #[command(subcommand)]
    command: BgpCommand,
}

/// What to show.
#[derive(Debug, clap::Subcommand)]
enum BgpCommand {
    /// Show nodes' neighbors, and the sessions with them.
    Neighbors(NeighborsArgs),
    /// Show what neighbors have been told.
    Routes(RoutesArgs),
}

#[derive(Debug, clap::Args)]
struct NeighborsArgs {
    /// The node; without it all load balancers that speak BGP.
    node: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
struct RoutesArgs {
    /// The node; without it all load balancers that speak BGP.
    node: Option<String>,
    /// Only what this neighbor has been told.
    #[arg(long, value_name = "NAME")]
    neighbor: Option<String>,
    /// Only routes within this prefix, or that it lies in.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// The most routes of each node.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
Nodes are asked themselves, whichever controller they are connected to. With `-o json` and `-o yaml` the answer is `nodes`, for each its `node` with
`status` and `neighbors` (fields of `BgpNeighborStatus`), or with `routes` (fields of `BgpRoute`) and `left_out`; `failures`; and `missing_members`.

Example:
  lbfabric bgp neighbors lb1 -o wide
  lbfabric bgp routes --prefix 203.0.113.0/24
  lbfabric bgp neighbors -o json | jq -r '.nodes[].neighbors[] | select(.state != \"established\") | .name'";

/// Shows what there is of BGP.
pub async fn run(args: BgpArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(client);
    match args.command {
        BgpCommand::Neighbors(args) => neighbors(args, &client).await,
        BgpCommand::Routes(args) => routes(args, &client).await,
    }
}

async fn neighbors(args: NeighborsArgs, client: &Client) -> anyhow::Result<ExitCode> {
    let NeighborsArgs {
        node,
        format: FormatArgs { format },
    } = args;
    let request = v1::ListNeighborsRequest {
        node: node.unwrap_or_default(),
    };
    let answer = client.list_neighbors(request).await?;
    if format.is_data() {
        let message = message("ListNeighborsResponse", &answer);
        format.print(&plain(&message, Defaults::Written))?;
        return Ok(failed(&answer.failures));
    }
    note_missing(&answer.missing_members);
    for node in &answer.nodes {
        let fault = node.status.as_ref().map_or("", |it| it.fault.as_str());
        if !fault.is_empty() {
            note(&format!("{}: {fault}", node.node));
        }
    }
    let table = bgp_neighbors(&answer.nodes, format == Format::Wide);
    if table.is_empty() {
        note("no neighbors: no node that is connected has `bgp`");
    } else {
        print(&table.render(Style::stdout()))?;
    }
    Ok(failed(&answer.failures))
}

async fn routes(args: RoutesArgs, client: &Client) -> anyhow::Result<ExitCode> {
    let RoutesArgs {
        node,
        neighbor,
        prefix,
        limit,
        format: FormatArgs { format },
    } = args;
    let request = v1::ListRoutesRequest {
        node: node.unwrap_or_default(),
        neighbor: neighbor.unwrap_or_default(),
        prefix: prefix.unwrap_or_default(),
        limit,
    };
    let answer = client.list_routes(request).await?;
    if format.is_data() {
        let message = message("ListRoutesResponse", &answer);
        format.print(&plain(&message, Defaults::Written))?;
        return Ok(failed(&answer.failures));
    }
    note_missing(&answer.missing_members);
    let table = bgp_routes(&answer.nodes);
    if table.is_empty() {
        note("no routes: no neighbor has been told of any");
    } else {
        print(&table.render(Style::stdout()))?;
    }
    for node in answer.nodes.iter().filter(|it| it.left_out > 0) {
        note(&format!(
            "{}: {} more routes; name a prefix, or raise --limit",
            node.node, node.left_out
        ));
    }
    Ok(failed(&answer.failures))
}

/// Names nodes that did not answer.
fn failed(failures: &[v1::NodeFailure]) -> ExitCode {
    for failure in failures {
        note(&failure.reason);
    }
    let exit = if failures.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    };
    exit.into()
}
