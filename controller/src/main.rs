//! Runs one controller member.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser;
use lbfabric_controller::{Controller, ControllerConfig, Finished, Tuning};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// One member of the fabric's control plane.
///
/// Every member is started with the same list of members. A single member works alone:
///
///   lbfabric-controller --id 1 --data-dir /var/lib/lbfabric --listen 127.0.0.1:7400 --member 1=127.0.0.1:7400
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// This member's id, one of those in the list of members.
    #[arg(long, env = "LBFABRIC_ID")]
    id: u64,
    /// The folder that this member keeps its state in.
    #[arg(long, env = "LBFABRIC_DATA_DIR")]
    data_dir: PathBuf,
    /// The address to serve on: operators, nodes and the other members.
    #[arg(long, env = "LBFABRIC_LISTEN", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// A member of the cluster as ID=HOST:PORT; repeated for each one, this one included.
    #[arg(long = "member", required = true, value_parser = parse_member, value_delimiter = ',', env = "LBFABRIC_MEMBERS")]
    members: Vec<(u64, String)>,
    /// Serve without encryption on addresses other than the loopback.
    #[arg(long)]
    plaintext: bool,
    /// Log entries after which a snapshot is written.
    #[arg(long, default_value_t = Tuning::default().snapshot_every, value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_every: u64,
    /// What to log, as in `RUST_LOG`.
    #[arg(long, env = "RUST_LOG", default_value = "info,openraft=error")]
    log: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_new(&arguments.log)
        .with_context(|| format!("`{}` is no log filter", arguments.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();

    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let config = ControllerConfig {
        id: arguments.id,
        data_dir: arguments.data_dir,
        listen: arguments.listen,
        members: members(arguments.members)?,
        plaintext: arguments.plaintext,
    };
    let tuning = Tuning {
        snapshot_every: arguments.snapshot_every,
    };
    let controller = Controller::start_tuned(config, tuning)
        .await
        .context("cannot start the controller")?;
    tokio::select! {
        end = controller.finished() => match end {
            Finished::Failed(why) => bail!("the controller has stopped: {why}"),
            Finished::Stopped => return Ok(()),
        },
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping");
    controller.stop().await;
    Ok(())
}

fn parse_member(text: &str) -> Result<(u64, String), String> {
    let (id, address) = text
        .split_once('=')
        .ok_or("write it as ID=HOST:PORT, such as 1=10.0.0.1:7400")?;
    let id = id
        .parse()
        .map_err(|e| format!("`{id}` is no member id: {e}"))?;
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        return Err(format!("`{address}` is not of the form HOST:PORT"));
    }
    Ok((id, address.to_owned()))
}

fn members(list: Vec<(u64, String)>) -> anyhow::Result<BTreeMap<u64, String>> {
    let mut members = BTreeMap::new();
    for (id, address) in list {
        if let Some(other) = members.insert(id, address.clone())
            && other != address
        {
            bail!("member {id} is given twice, as {other} and as {address}");
        }
    }
    Ok(members)
}
