//! `lbfabric vip`.

use std::{
    net::IpAddr,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use lbfabric_proto::v1::{self, change_vip_request::Change};

use super::get::note_missing;
use crate::{
    client::{Client, ClientArgs},
    document::{Defaults, message, plain},
    exit::{Exit, Failure},
    output::{Format, FormatArgs, Style, note, print, vip_announcements, vip_details, vips},
};

/// Arguments of `lbfabric vip`.
#[derive(Debug, clap::Args)]
pub struct VipArgs {
    #[command(subcommand)]
    command: VipCommand,
}

/// What to do with VIPs.
#[derive(Debug, clap::Subcommand)]
enum VipCommand {
    /// Show VIPs with leases, and who owns them.
    List(ListArgs),
    /// Show all about one VIP: who owns it, or which nodes announce it and why others do not.
    Show(ShowArgs),
    /// Move a VIP to a node. It goes wherever it belongs once it has left that node again.
    Move(NodeArgs),
    /// Have a VIP at a node whenever that is there and not drained.
    Pin(NodeArgs),
    /// Let a VIP be wherever it belongs, in place of what `move` or `pin` said.
    Unpin(OneArgs),
    /// Have nobody answer for a VIP.
    Drain(OneArgs),
    /// Have somebody answer for a VIP again.
    Undrain(OneArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The VIP: an address, or a prefix that is one.
    vip: String,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
struct NodeArgs {
    /// The VIP's address.
    vip: IpAddr,
    /// The node's name.
    node: String,
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// The VIP's address.
    vip: IpAddr,
}

/// The end of its long help.
pub const HELP: &str = "\
VIPs of services with `announce.lease` have one owner each. States: `served`, `moving`, `down` (nobody answers for it), `drained`, and `unknown`
while the controller that decides cannot be asked. `list -o json` prints `vips`, `nodes` (which may be given VIPs) and `leader`; `show -o json` one of `vips`.
Of VIPs of services with `announce.bgp`, `show` tells which nodes announce them and why others do not; `-o json` then prints `announcements` (fields of
`VipAnnouncement`), `failures` and `missing_members`.

Example:
  lbfabric vip list -o wide
  lbfabric vip show 203.0.113.10
  lbfabric vip move 203.0.113.10 lb2
  lbfabric vip list -o json | jq -r '.vips[] | select(.state == \"down\") | .address'";

/// Shows VIPs and changes what is wanted of them.
pub async fn run(args: VipArgs, client: &ClientArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(client);
    match args.command {
        VipCommand::List(ListArgs { format }) => list(&client, format).await,
        VipCommand::Show(ShowArgs { vip, format }) => show(&client, &vip, format).await,
        VipCommand::Move(NodeArgs { vip, node }) => {
            change(&client, vip, Change::MoveTo(node)).await
        }
        VipCommand::Pin(NodeArgs { vip, node }) => change(&client, vip, Change::PinTo(node)).await,
        VipCommand::Unpin(OneArgs { vip }) => change(&client, vip, Change::Unpin(true)).await,
        VipCommand::Drain(OneArgs { vip }) => change(&client, vip, Change::Drain(true)).await,
        VipCommand::Undrain(OneArgs { vip }) => change(&client, vip, Change::Drain(false)).await,
    }
}

async fn list(client: &Client, FormatArgs { format }: FormatArgs) -> anyhow::Result<ExitCode> {
    let answer = client.list_vips().await?;
    if format.is_data() {
        let message = message("ListVipsResponse", &answer);
        format.print(&plain(&message, Defaults::Written))?;
        return Ok(Exit::Ok.into());
    }
    note_unknown(&answer);
    if answer.vips.is_empty() {
        note("no VIPs with leases: no service has `announce: {lease: {}}`");
        return Ok(Exit::Ok.into());
    }
    let table = vips(&answer.vips, unix_ms(), format == Format::Wide);
    print(&table.render(Style::stdout()))?;
    Ok(Exit::Ok.into())
}

async fn show(
    client: &Client,
    vip: &str,
    FormatArgs { format }: FormatArgs,
) -> anyhow::Result<ExitCode> {
    let answer = client.list_vips().await?;
    let address = vip.parse::<IpAddr>();
    let wanted = address.map_or_else(|_| vip.to_owned(), |it| it.to_string());
    let Some(found) = answer.vips.iter().find(|it| it.address == wanted) else {
        return show_announced(client, wanted, format).await;
    };
    if format.is_data() {
        format.print(&plain(&message("Vip", found), Defaults::Written))?;
        return Ok(Exit::Ok.into());
    }
    note_unknown(&answer);
    print(&vip_details(found, unix_ms(), Style::stdout()))?;
    Ok(Exit::Ok.into())
}

/// Shows what nodes make of a VIP that has no lease.
async fn show_announced(client: &Client, vip: String, format: Format) -> anyhow::Result<ExitCode> {
    let request = v1::GetVipAnnouncementsRequest { vip: vip.clone() };
    let answer = client.vip_announcements(request).await?;
    if answer.announcements.is_empty() && answer.failures.is_empty() {
        note_missing(&answer.missing_members);
        return Err(Failure {
            exit: Exit::NotFound,
            message: format!("no service that nodes serve has the VIP {vip} with `announce`"),
        }
        .into());
    }
    if format.is_data() {
        let message = message("GetVipAnnouncementsResponse", &answer);
        format.print(&plain(&message, Defaults::Written))?;
    } else {
        note_missing(&answer.missing_members);
        print(&vip_announcements(&answer.announcements).render(Style::stdout()))?;
    }
    for failure in &answer.failures {
        note(&failure.reason);
    }
    Ok(if answer.failures.is_empty() {
        Exit::Ok.into()
    } else {
        Exit::Failed.into()
    })
}

async fn change(client: &Client, vip: IpAddr, change: Change) -> anyhow::Result<ExitCode> {
    let request = v1::ChangeVipRequest {
        address: vip.to_string(),
        change: Some(change),
    };
    client.change_vip(request).await?;
    Ok(Exit::Ok.into())
}

fn note_unknown(answer: &v1::ListVipsResponse) {
    if answer.leader.is_empty() {
        note(
            "warning: the controller that decides about leases could not be asked: states are unknown",
        );
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}
