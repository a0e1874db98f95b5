//! `lbfabric dev`: the smallest fabric, for trying things out.

mod interface;

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use lbfabric_controller::{Controller, ControllerConfig, Finished};
use lbfabric_node::{NodeAgent, NodeConfig, Role};
use lbfabric_proto::v1;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep},
};
use tracing_subscriber::EnvFilter;

use crate::{
    client::{Client, ClientArgs},
    exit::{Exit, Failure},
    output::{Style, note, print},
};

/// The node's name.
const NODE: &str = "dev";
/// The controller's only member.
const MEMBER: u64 = 1;
/// How long the node's first report is waited for.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
const REPORT_POLL: Duration = Duration::from_millis(50);

/// Arguments of `lbfabric dev`.
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// The interface that clients' traffic comes in on. Default: the one with the default route, or else `lo`.
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Where to keep the state. Default: a temporary directory that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to serve the API, in plain text: a loopback address. Port 0 takes any that is free.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// Where the node tells metrics and health over HTTP, to everybody who can reach it. Default: nowhere.
    #[arg(long, value_name = "IP:PORT")]
    metrics_address: Option<SocketAddr>,
}

/// The end of its long help.
pub const HELP: &str = "\
Runs until Ctrl-C, then takes the program off the interface again. Without the right to load programs (root) the API works all the
same, and `lbfabric nodes` says what is missing. RUST_LOG=info shows what it does.

Example:
  lbfabric dev --interface eth0 --data-dir /var/lib/lbfabric-dev";

/// Where the state lies.
enum DataDir {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

/// The two requests to stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

/// Runs a controller and a node.
pub async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let DevArgs {
        interface,
        data_dir,
        listen,
        metrics_address,
    } = args;
    start_log();
    let mut stop = Stop::new().context("cannot handle signals")?;
    let data_dir = DataDir::open(data_dir)?;
    let interface = interface.unwrap_or_else(interface::with_default_route);
    let controller = start_controller(data_dir.path(), listen).await?;
    let address = controller.address();
    let agent = start_node(data_dir.path(), &interface, address, metrics_address).await;
    let stopped = tokio::select! {
        () = stop.asked() => None,
        finished = controller.finished() => Some(finished),
        result = guide(&data_dir, &interface, address) => {
            if let Err(error) = result {
                note(&format!("warning: {error:#}"));
            }
            tokio::select! {
                () = stop.asked() => None,
                finished = controller.finished() => Some(finished),
            }
        }
    };
    note("stopping; once more stops at once");
    tokio::select! {
        () = stop_all(agent, controller) => {}
        () = stop.asked() => return Ok(Exit::Failed.into()),
    }
    match stopped {
        None | Some(Finished::Stopped) => Ok(Exit::Ok.into()),
        Some(Finished::Failed(why)) => {
            let message = format!("the controller cannot go on: {why}");
            Err(Failure {
                exit: Exit::Failed,
                message,
            }
            .into())
        }
    }
}

async fn start_controller(data_dir: &Path, listen: SocketAddr) -> anyhow::Result<Controller> {
    let listen = with_port(listen)?;
    let config = ControllerConfig {
        id: MEMBER,
        data_dir: data_dir.join("controller"),
        listen,
        members: BTreeMap::from([(MEMBER, listen.to_string())]),
        plaintext: false,
    };
    Controller::start(config)
        .await
        .context("cannot start the controller")
}

/// The member's address has to be known before it starts, so that a free port is looked for first.
fn with_port(listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    let free = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    Ok(free.local_addr()?)
}

/// Starts the node, or says why there is none: the API is of use without it.
async fn start_node(
    data_dir: &Path,
    interface: &str,
    controller: SocketAddr,
    metrics_address: Option<SocketAddr>,
) -> Option<NodeAgent> {
    let config = NodeConfig {
        interfaces: vec![interface.to_owned()],
        controllers: vec![controller.to_string()],
        state_dir: data_dir.join("node"),
        keep_on_exit: false,
        metrics_address,
        ..NodeConfig::new(NODE, Role::LoadBalancer)
    };
    match NodeAgent::start(config).await {
        Ok(agent) => Some(agent),
        Err(error) => {
            let error = anyhow::Error::new(error);
            note(&format!(
                "warning: there is no node, only the controller: {error:#}"
            ));
            None
        }
    }
}

async fn stop_all(agent: Option<NodeAgent>, controller: Controller) {
    if let Some(agent) = agent {
        agent.stop().await;
    }
    controller.stop().await;
}

/// Says what runs and what to do next.
async fn guide(data_dir: &DataDir, interface: &str, address: SocketAddr) -> anyhow::Result<()> {
    let args = ClientArgs {
        controllers: vec![address.to_string().parse().map_err(Failure::usage)?],
        timeout: REPORT_TIMEOUT,
    };
    let status = first_report(&Client::new(&args).quick(REPORT_TIMEOUT)).await?;
    let node = match status {
        Some(status) if status.fault.is_empty() => "forwards".to_owned(),
        Some(status) => format!("cannot forward: {}", status.fault),
        None => "has not reported yet".to_owned(),
    };
    let option = if address.port() == 7400 && address.ip().to_string() == "127.0.0.1" {
        String::new()
    } else {
        format!(" --controller {address}")
    };
    let kept = match data_dir {
        DataDir::Kept(path) => path.display().to_string(),
        DataDir::Temporary(_) => "removed at the end; use --data-dir to keep it".to_owned(),
    };
    print(&format!(
        "controller  {address}\nnode        {NODE} on {interface}: {node}\nstate       {kept}\n\n\
         Next, in another terminal:\n  lbfabric{option} nodes\n  lbfabric{option} apply -f FILE\n  \
         lbfabric{option} get -o wide\nCtrl-C here stops both.\n"
    ))
}

/// What the node said first, unless it keeps silent for too long.
async fn first_report(client: &Client) -> anyhow::Result<Option<v1::NodeStatus>> {
    let end = Instant::now() + REPORT_TIMEOUT;
    let request = v1::ListRequest {
        kind: v1::Kind::Node.into(),
        with_status: true,
    };
    loop {
        let nodes = client.list(request).await?.objects;
        let status = nodes.into_iter().find_map(|node| match node.status {
            Some(v1::object::Status::NodeStatus(status)) if status.connected => Some(status),
            _ => None,
        });
        // A node that is connected has said something once it has an interface or a fault to name.
        match status {
            Some(status)
                if !status.fault.is_empty() || status.xdp_mode() != v1::XdpMode::Unspecified =>
            {
                return Ok(Some(status));
            }
            Some(_) | None if Instant::now() >= end => return Ok(None),
            Some(_) | None => sleep(REPORT_POLL).await,
        }
    }
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // A log that is there already, as in a test, is as good.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(Style::stderr().is_coloured())
            .with_writer(std::io::stderr)
            .try_init(),
    );
}

// === impl DataDir ===

impl DataDir {
    fn open(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let dir = tempfile::Builder::new().prefix("lbfabric-dev-").tempdir();
            return Ok(Self::Temporary(
                dir.context("cannot make a temporary directory")?,
            ));
        };
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self::Kept(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

// === impl Stop ===

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
