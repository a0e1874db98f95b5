//! `lbfabric node`.

use std::{process::ExitCode, time::Duration};

use lbfabric_proto::v1::{self, object::Spec};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::{
    client::{CallError, Client, ClientArgs, duration},
    document::Plain,
    exit::{Exit, Failure},
    output::{FormatArgs, note, print},
};

/// How often it is looked whether the node is empty.
const POLL: Duration = Duration::from_millis(100);
/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `lbfabric node`.
#[derive(Debug, clap::Args)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

/// What to do with a node.
#[derive(Debug, clap::Subcommand)]
enum NodeCommand {
    /// Give a node's VIPs to others, and wait until it has none.
    Drain(DrainArgs),
    /// Let a node have VIPs again.
    Undrain(UndrainArgs),
}

#[derive(Debug, clap::Args)]
struct DrainArgs {
    /// The node's name.
    name: String,
    /// How long to wait until it is empty, such as `60s`.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
struct UndrainArgs {
    /// The node's name.
    name: String,
}

/// The end of its long help.
pub const HELP: &str = "\
`drain` sets `drained` of the node's settings. Each of its VIPs with a lease is announced by another node as soon as this one has released it; announcements by
BGP are taken back. It ends when the node owns no VIP any more, or with exit code 6 when the time is over; the node stays drained then. VIPs that no
other node can have stay where they are. `-o json` prints `node`, `empty`, and the `vips` that it still owns.

Example:
  lbfabric node drain lb1 --wait 30s
  lbfabric node undrain lb1";

/// Drains nodes, and takes them back.
pub async fn run(args: NodeArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(client);
    match args.command {
        NodeCommand::Drain(args) => drain(&client, args).await,
        NodeCommand::Undrain(UndrainArgs { name }) => {
            set_drained(&client, &name, false).await?;
            Ok(Exit::Ok.into())
        }
    }
}

async fn drain(client: &Client, args: DrainArgs) -> anyhow::Result<ExitCode> {
    let DrainArgs {
        name,
        wait,
        format: FormatArgs { format },
    } = args;
    set_drained(client, &name, true).await?;
    let left = until_empty(client, &name, wait).await?;
    if format.is_data() {
        let vips = left.iter().cloned().map(Plain::Text).collect();
        format.print(&Plain::Map(vec![
            ("node".to_owned(), Plain::Text(name.clone())),
            ("empty".to_owned(), Plain::Bool(left.is_empty())),
            ("vips".to_owned(), Plain::List(vips)),
        ]))?;
    } else if left.is_empty() {
        print(&format!("node {name} is drained\n"))?;
    }
    if left.is_empty() {
        return Ok(Exit::Ok.into());
    }
    Err(Failure {
        exit: Exit::Failed,
        message: format!(
            "node {name} is drained, but still owns {}: is there another node that may have them?",
            left.join(", ")
        ),
    }
    .into())
}

/// The VIPs that the node still owns when it is empty, or when the time is over.
async fn until_empty(client: &Client, name: &str, wait: Duration) -> anyhow::Result<Vec<String>> {
    let end = Instant::now() + wait;
    let mut say_at = Instant::now() + SAY_EVERY;
    loop {
        let answer = match client.list_vips().await {
            Ok(answer) => answer,
            // One that knows no leases has given the node none.
            Err(CallError::Refused(status)) if status.code() == Code::Unimplemented => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let owned = answer.vips.into_iter().filter(|it| it.owner == name);
        let left: Vec<_> = owned.map(|it| it.address).collect();
        let now = Instant::now();
        if left.is_empty() || now >= end {
            return Ok(left);
        }
        if now >= say_at {
            say_at = now + SAY_EVERY;
            note(&format!("waiting: {name} still owns {}", left.join(", ")));
        }
        sleep(POLL).await;
    }
}

/// Changes the node's settings, unless they have been changed since they were read.
async fn set_drained(client: &Client, name: &str, drained: bool) -> anyhow::Result<()> {
    let request = v1::ListRequest {
        kind: v1::Kind::Node.into(),
        with_status: true,
    };
    let answer = client.list(request).await?;
    let named = |object: &&v1::Object| object.r#ref.as_ref().is_some_and(|it| it.name == name);
    let Some(object) = answer.objects.iter().find(named) else {
        return Err(Failure {
            exit: Exit::NotFound,
            message: format!("there is no node `{name}`"),
        }
        .into());
    };
    // A node that has no settings is known because it is connected.
    let spec = match &object.spec {
        Some(Spec::Node(spec)) => spec.clone(),
        Some(Spec::Service(_) | Spec::Pool(_) | Spec::Certificate(_)) | None => v1::NodeSpec {
            name: name.to_owned(),
            ..v1::NodeSpec::default()
        },
    };
    let request = v1::ApplyRequest {
        fabric: Some(v1::FabricSpec {
            nodes: vec![v1::NodeSpec { drained, ..spec }],
            ..v1::FabricSpec::default()
        }),
        prune: false,
        expected_generation: answer.generation,
    };
    client.apply(request).await?;
    Ok(())
}
