//! `lbfabric watch`.

mod follower;
mod warnings;

use std::process::ExitCode;

use lbfabric_proto::v1;
use tonic::Streaming;

use crate::{
    client::{CallError, Client, ClientArgs},
    exit::Exit,
    kind::KindArg,
    output::{Format, FormatArgs, Style, event, note, print},
};
use follower::Follower;
use warnings::Warnings;

/// Arguments of `lbfabric watch`.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// What to watch.
    #[arg(
        value_enum,
        default_value = "all",
        value_name = "KIND",
        hide_possible_values = true
    )]
    kind: KindArg,
    #[command(flatten)]
    format: FormatArgs,
}

/// The end of its long help.
pub const HELP: &str = "\
First a line for each object that is there, then one that begins with `=`, then one for each change. When the controller goes away
another one is asked, and what changed in between is shown. With `-o json` every line is an object with `generation`, `synced`,
`action` and `object`. With `-o wide` a line that begins with `!` is a warning of a service, told by a node.

Example:
  lbfabric watch services
  lbfabric watch -o json | jq -r 'select(.action == \"delete\") | .object.ref.name'";

/// Follows changes until it is stopped.
pub async fn run(args: WatchArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let WatchArgs {
        kind,
        format: FormatArgs { format },
    } = args;
    let client = Client::new(client);
    let request = v1::WatchRequest {
        kind: v1::Kind::from(kind).into(),
    };
    let mut follower = Follower::default();
    let mut stream = client.watch(request).await?;
    let style = Style::stdout();
    let of_services = matches!(kind, KindArg::Services | KindArg::All);
    let mut warnings = (of_services && format == Format::Wide).then(|| Warnings::new(&client));
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            Some(warnings) = due(&mut warnings) => {
                print(&warnings.look(style).await)?;
                continue;
            }
        };
        match message {
            Ok(Some(response)) => {
                for response in follower.message(response) {
                    print(&event(&response, format, style))?;
                }
            }
            Ok(None) => {
                stream = reopen(
                    &client,
                    request,
                    "the controller ended the stream",
                    &mut follower,
                )
                .await?;
            }
            Err(status) if is_final(&status) => {
                return Err(CallError::Refused(Box::new(status)).into());
            }
            Err(status) => {
                stream = reopen(&client, request, status.message(), &mut follower).await?;
            }
        }
    }
    #[expect(
        unreachable_code,
        reason = "names the type of a loop that only an error ends"
    )]
    Ok(Exit::Ok.into())
}

/// Waits until it is time to look for warnings, where anybody wants them.
async fn due(warnings: &mut Option<Warnings>) -> Option<&mut Warnings> {
    let warnings = warnings.as_mut()?;
    warnings.due().await;
    Some(warnings)
}

/// Opens the stream again, without limit in time: a watch outlives every outage.
async fn reopen(
    client: &Client,
    request: v1::WatchRequest,
    why: &str,
    follower: &mut Follower,
) -> anyhow::Result<Streaming<v1::WatchResponse>> {
    note(&format!("connection lost ({why}); opening it again"));
    follower.restart();
    loop {
        client.pause().await;
        match client.watch(request).await {
            Ok(stream) => return Ok(stream),
            Err(CallError::Unreachable { .. }) => {}
            Err(error @ CallError::Refused(_)) => return Err(error.into()),
        }
    }
}

fn is_final(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
    )
}
