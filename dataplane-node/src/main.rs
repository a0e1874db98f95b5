//! The `lbfabric-node` command.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use lbfabric_node::{AccessLogTarget, NodeAgent, NodeConfig, Role, TraceCollector, XdpModeChoice};
use mimalloc::MiMalloc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The agent of a node of an lbfabric fabric: a load balancer, or a server behind one.
///
/// Example: lbfabric-node --name lb1 --interface eth0 --controller 192.0.2.1:7400
#[derive(Parser)]
#[command(
    name = "lbfabric-node",
    version,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<RunArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the agent (the default).
    Run(RunArgs),
    /// Takes away what an agent has left: programs and maps, and with a state folder a server's VIPs and settings.
    Detach(DetachArgs),
}

#[derive(Args)]
struct RunArgs {
    /// The node's name in the fabric.
    #[arg(long)]
    name: String,
    /// What the node does.
    #[arg(long, value_enum, default_value_t = RoleArg::LoadBalancer)]
    role: RoleArg,
    /// An interface that carries the program; repeatable.
    #[arg(long = "interface", required = true)]
    interfaces: Vec<String>,
    /// A controller member, HOST:PORT; repeatable or comma-separated.
    #[arg(long = "controller", value_delimiter = ',', required = true)]
    controllers: Vec<String>,
    /// Folder for pinned maps and links, on a BPF file system, of this node alone [default: /sys/fs/bpf/lbfabric/NAME].
    #[arg(long)]
    pin_dir: Option<PathBuf>,
    /// Folder for what must outlive the agent, of this node alone [default: /var/lib/lbfabric/NAME].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// How the program is attached.
    #[arg(long, value_enum, default_value_t = XdpModeArg::Auto)]
    xdp_mode: XdpModeArg,
    /// Detach a load balancer's program on exit, instead of leaving it forwarding. A server always detaches.
    #[arg(long)]
    detach_on_exit: bool,
    /// Slots for the rings of all pools, 8 bytes each; counts when the maps are made.
    #[arg(long, default_value_t = NodeConfig::new("", Role::LoadBalancer).ring_slots)]
    ring_slots: u32,
    /// Flows that the table of those that a change of a pool left elsewhere has room for, 8 bytes each; counts when the maps are
    /// made.
    #[arg(long, default_value_t = NodeConfig::new("", Role::LoadBalancer).flows)]
    flows: u32,
    /// Flows of full NAT; one of l4-dnat that has to be remembered, as several VIPs end at one port of a server, counts twice. Counts
    /// when the maps are made.
    #[arg(long, default_value_t = NodeConfig::new("", Role::LoadBalancer).nat_flows)]
    nat_flows: u32,
    /// Take the place of an agent that runs with the same state folder: no packet and no connection is lost.
    #[arg(long)]
    take_over: bool,
    /// Seconds that layer-7 connections may go on, each until its next answer, once another agent has taken over.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(..=86_400))]
    hand_over_secs: u32,
    /// Tell metrics (/metrics, for Prometheus) and health (/healthz, /readyz) over HTTP at this IP:PORT. Nobody is asked who he is, so it is off by
    /// default: choose 127.0.0.1:PORT, or an address that only those can reach who may know the names and traffic of all services.
    #[arg(long)]
    metrics_address: Option<SocketAddr>,
    /// Write the access log of layer-7 services to a file, or with `-` to the standard output. SIGHUP opens the file again.
    /// Without it there are only the latest lines, for `lbfabric logs`.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Export spans of layer-7 requests that are said to be recorded (`proxy.trace` of their service) to a collector, over OTLP/gRPC without TLS.
    /// One that is away or slow is in nobody's way: what it does not take in time is dropped and counted.
    #[arg(long, value_name = "http://HOST:PORT")]
    trace_collector: Option<String>,
    /// The `service.name` of the spans; the node's name is their `service.instance.id`.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "lbfabric",
        requires = "trace_collector"
    )]
    trace_service_name: String,
}

#[derive(Args)]
struct DetachArgs {
    /// The node's name, for the default folders.
    #[arg(long, required_unless_present = "pin_dir")]
    name: Option<String>,
    /// Only these interfaces; repeatable [default: all].
    #[arg(long = "interface")]
    interfaces: Vec<String>,
    /// As for the agent.
    #[arg(long)]
    pin_dir: Option<PathBuf>,
    /// As for the agent; without it and without --name, VIPs and settings stay.
    #[arg(long)]
    state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Forwards clients' traffic to servers.
    LoadBalancer,
    /// Holds VIPs on its loopback and unpacks tunnels.
    Server,
}

#[derive(Clone, Copy, ValueEnum)]
enum XdpModeArg {
    /// Native, or generic where the driver refuses.
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the kernel's generic receive path.
    Generic,
}

impl RunArgs {
    fn into_config(self) -> NodeConfig {
        let role = match self.role {
            RoleArg::LoadBalancer => Role::LoadBalancer,
            RoleArg::Server => Role::Server,
        };
        let defaults = NodeConfig::new(self.name, role);
        NodeConfig {
            interfaces: self.interfaces,
            controllers: self.controllers,
            pin_dir: self.pin_dir.unwrap_or(defaults.pin_dir),
            state_dir: self.state_dir.unwrap_or(defaults.state_dir),
            xdp_mode: match self.xdp_mode {
                XdpModeArg::Auto => XdpModeChoice::Auto,
                XdpModeArg::Native => XdpModeChoice::Native,
                XdpModeArg::Generic => XdpModeChoice::Generic,
            },
            keep_on_exit: !self.detach_on_exit,
            ring_slots: self.ring_slots,
            flows: self.flows,
            nat_flows: self.nat_flows,
            take_over: self.take_over,
            hand_over_time: Duration::from_secs(self.hand_over_secs.into()),
            metrics_address: self.metrics_address,
            access_log: match self.access_log {
                None => AccessLogTarget::None,
                Some(path) if path.as_os_str() == "-" => AccessLogTarget::Stdout,
                Some(path) => AccessLogTarget::File(path),
            },
            trace_collector: self.trace_collector.map(|url| TraceCollector {
                url,
                service_name: self.trace_service_name,
            }),
            name: defaults.name,
            role,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    match (cli.command, cli.run) {
        (Some(Command::Run(run)), _) | (None, Some(run)) => {
            runtime.block_on(run_agent(run.into_config()))
        }
        (Some(Command::Detach(detach)), _) => runtime.block_on(run_detach(detach)),
        (None, None) => {
            anyhow::bail!("--name, --interface and --controller are needed; see --help")
        }
    }
}

async fn run_agent(config: NodeConfig) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let mut agent = NodeAgent::start(config).await.context("start the agent")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = agent.handed_over() => return Ok(()),
            _ = hang_up.recv() => agent.reopen_access_log(),
        }
    }
    agent.stop().await;
    Ok(())
}

async fn run_detach(args: DetachArgs) -> anyhow::Result<()> {
    let defaults = args
        .name
        .map(|name| NodeConfig::new(name, Role::LoadBalancer));
    let pin_dir = args
        .pin_dir
        .or_else(|| defaults.as_ref().map(|config| config.pin_dir.clone()))
        .context("--pin-dir or --name is needed")?;
    let state_dir = args
        .state_dir
        .or_else(|| defaults.map(|config| config.state_dir));
    lbfabric_node::detach(&pin_dir, &args.interfaces, state_dir.as_deref())
        .await
        .context("detach")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page has in its text as commands of this program.
    #[test]
    fn the_options_of_the_page_are_understood() {
        let page = include_str!("../../docs/seeing.md");
        let commands = page
            .split('`')
            .filter_map(|it| it.strip_prefix("lbfabric-node "));
        let base = "lbfabric-node --name lb1 --interface eth0 --controller 192.0.2.1:7400";
        let parse = |options: &str| {
            let all = base.split(' ').chain(options.split(' '));
            let cli = Cli::try_parse_from(all).unwrap_or_else(|error| panic!("{error}"));
            cli.run.expect("it runs").into_config()
        };
        let configs: Vec<_> = commands.map(parse).collect();
        let collector = TraceCollector {
            url: "http://127.0.0.1:4317".to_owned(),
            service_name: "lbfabric".to_owned(),
        };
        let has = |config: &NodeConfig| config.trace_collector.as_ref() == Some(&collector);
        assert_eq!(configs.len(), 2);
        assert!(configs.iter().any(has), "{configs:?}");
    }
}
