mod announcing;
mod leases;
mod map_writer;
mod program;
mod progress;
mod removal;
mod replaced;
mod report;
mod rivals;
mod role;
mod run;
mod seen;
mod server_role;

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::Role;
use lbfabric_proxy::observe::{AccessLog, Sink};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    AccessLogTarget, NodeConfig,
    announce::{Announcer, Bfd},
    chain::Chain,
    controller,
    engine::{EngineDriver, Watching, remove_routing},
    hand_over::{self, HandOverFailed, Offer, Predecessor},
    health::Probers,
    netlink::NetworkWatch,
    seeing::{Admin, AdminAddress, Collector, Followers, asker},
    server::ServerSetup,
    snapshot::HeldSnapshot,
    state_file::StateFile,
    xdp::{MapSizes, PeerHooks, Pins, ProgramKind},
};
use leases::Leases;
use program::{Program, ProgramOptions};
use progress::Progress;
use role::{LoadBalancer, RoleState};
use run::Agent;
use server_role::Server;

/// Events that wait for the agent's task.
const EVENTS_MAX: usize = 64;

/// A running agent. Dropping it without [`Self::stop`] stops it without tidying up, as a crash would.
#[derive(Debug)]
pub struct NodeAgent {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    log: Arc<AccessLog>,
}

/// The agent could not start. Faults of the program are not among these: the agent runs, reports them, and tries again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration lacks something.
    #[error("{0}")]
    Config(&'static str),
    /// The state folder cannot be used.
    #[error("state folder {path}")]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent uses the state folder.
    #[error(
        "another agent runs with the state folder {0}; stop it, take its place with --take-over, or choose another --state-dir"
    )]
    Running(PathBuf),
    /// The access log cannot be written.
    #[error("open the access log")]
    AccessLog(#[source] io::Error),
    /// The collector of traces is none.
    #[error("export traces: {0}")]
    Traces(String),
    /// The address for metrics cannot be listened at.
    #[error("listen at {address} for metrics")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The record of changes to the machine cannot be read.
    #[error("the record of what was changed on this machine: {0}")]
    Record(String),
    /// The agent that runs was to hand over.
    #[error("take over")]
    TakeOver(#[source] HandOverFailed),
    /// The layer-7 engine's threads do not start.
    #[error("start the layer-7 engine")]
    Engine(#[source] io::Error),
    /// No netlink socket.
    #[error("open a netlink socket")]
    Netlink(#[source] io::Error),
}

impl NodeAgent {
    /// Starts an agent in the current thread's network namespace.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        if config.name.is_empty() {
            return Err(StartError::Config("the node needs a name"));
        }
        if config.interfaces.is_empty() {
            return Err(StartError::Config("the node needs an interface"));
        }
        let network =
            NetworkWatch::start(config.interfaces.clone()).map_err(StartError::Netlink)?;
        // Before another agent is asked for its place: it keeps that if this one cannot go on.
        let log = Arc::new(open_log(&config).map_err(StartError::AccessLog)?);
        let collector = collector(&config)?;
        let admin_address = open_admin(&config).await?;
        let taken_over = take_over(&config, &network).await?;
        let lock = lock(&config.state_dir).await?;
        let offer = Offer::open(&config.state_dir);
        let offer = offer.map_err(|source| StartError::StateDir {
            path: config.state_dir.clone(),
            source,
        })?;
        let file = StateFile::new(&config.state_dir, "snapshot");
        let held = match file.read() {
            Ok(bytes) => bytes.as_deref().and_then(HeldSnapshot::decode),
            Err(error) => {
                // Everything in it comes again from a controller; the maps stay as they are until then.
                warn!(error = %Chain(&error), "the kept snapshot is not used");
                None
            }
        };
        let watching = Watching {
            metrics: Arc::default(),
            log,
            spans: collector.as_ref().map(Collector::queue),
        };
        let announcer = Announcer::new(taken_over.predecessor.is_some(), taken_over.bfd);
        let taken = (taken_over.listeners, taken_over.predecessor);
        let role = role_state(&config, &network, taken, &watching)?;
        let (agent, questions) = asker();
        let (events, controller_events) = mpsc::channel(EVENTS_MAX);
        let (results, probe_results) = mpsc::channel(EVENTS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(controller::follow(
            config.name.clone(),
            config.controllers.clone(),
            events,
        ));
        let (ask, successors) = mpsc::channel(1);
        tasks.spawn(async move {
            let _agent_is_gone = ask.send(offer.asked().await).await;
        });
        if let Some(address) = admin_address {
            let admin = Admin {
                metrics: watching.metrics.clone(),
                log: watching.log.clone(),
                spans: collector.as_ref().map(Collector::counts),
                agent,
            };
            tasks.spawn(async move {
                if let Err(error) = admin.serve(address.listener().await).await {
                    error!(error = %Chain(&error), "metrics are not told any more");
                }
            });
        }
        let stop = CancellationToken::new();
        let agent = Agent {
            network,
            controller_events,
            probe_results,
            probers: Probers::new(results),
            announcer,
            role,
            file,
            stop: stop.clone(),
            progress: Progress::new(held),
            questions,
            followers: Followers::new(watching.log.clone()),
            log: watching.log.clone(),
            tasks,
            successors,
            config,
        };
        let run = async move {
            let (agent, successor) = Box::pin(agent.run()).await;
            if let Some(successor) = successor {
                Box::pin(replaced::hand_over(agent, lock, successor)).await;
            } else {
                Box::pin(tidy_up(agent)).await;
                drop(lock);
            }
            // Behind the last request.
            if let Some(collector) = collector {
                collector.finish().await;
            }
        };
        let task = tokio::spawn(Box::pin(run));
        Ok(Self {
            stop,
            task: Some(task),
            log: watching.log,
        })
    }

    /// Waits until another agent has taken this one's place, and its last connections have ended.
    pub async fn handed_over(&mut self) {
        if let Some(task) = &mut self.task {
            if let Err(error) = task.await {
                error!(%error, "the agent's task did not end well");
            }
            self.task = None;
        }
    }

    /// Opens the file of the access log again, as the old one was renamed.
    pub fn reopen_access_log(&self) {
        self.log.reopen();
    }

    /// Stops the agent. A load balancer's program goes on forwarding if the configuration says so; a server takes its
    /// program, VIPs and settings away.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            error!(%error, "the agent's task did not end well");
        }
    }
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Makes sure that no other agent uses the folder. One that has just ended may hold the lock for a moment longer: a child
/// process that it was starting has a copy until it runs its own program.
async fn lock(state_dir: &Path) -> Result<File, StartError> {
    const TRIES: usize = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        match try_lock(state_dir)? {
            Some(file) => return Ok(file),
            None => tokio::time::sleep(PAUSE).await,
        }
    }
    Err(StartError::Running(state_dir.to_owned()))
}

/// None if another agent has it.
fn try_lock(state_dir: &Path) -> Result<Option<File>, StartError> {
    let failed = |source| StartError::StateDir {
        path: state_dir.to_owned(),
        source,
    };
    fs::create_dir_all(state_dir).map_err(failed)?;
    let file = File::create(state_dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What there is of an agent before this one.
#[derive(Default)]
struct TakenOver {
    listeners: Vec<TcpListener>,
    /// Itself, as long as it relays datagrams.
    predecessor: Option<Predecessor>,
    bfd: Bfd,
}

/// What an agent that runs with the state folder listens with, if it is to hand over.
async fn take_over(config: &NodeConfig, network: &NetworkWatch) -> Result<TakenOver, StartError> {
    if !config.take_over || try_lock(&config.state_dir)?.is_some() {
        return Ok(TakenOver::default());
    }
    // It is read for good behind the hand-over.
    open_setup(config, network)?;
    let state_dir = config.state_dir.clone();
    let take = move || {
        let taken = hand_over::take_over(&state_dir)?;
        let mut predecessor = taken.predecessor;
        // At once: routers wait for a fraction of a second.
        let bfd = taken.bfd.map(|handed| {
            let bfd = Bfd::resume(handed);
            let told = predecessor.tell_bfd_runs();
            told.map(|()| bfd).map_err(HandOverFailed::Broken)
        });
        Ok(TakenOver {
            listeners: taken.listeners,
            predecessor: Some(predecessor),
            bfd: bfd.transpose()?.unwrap_or_default(),
        })
    };
    let taken = tokio::task::spawn_blocking(take).await;
    let taken = taken.map_err(|error| HandOverFailed::Broken(io::Error::other(error)));
    taken.and_then(|taken| taken).map_err(StartError::TakeOver)
}

fn open_log(config: &NodeConfig) -> io::Result<AccessLog> {
    AccessLog::start(match &config.access_log {
        AccessLogTarget::None => Sink::Nowhere,
        AccessLogTarget::Stdout => Sink::Stdout,
        AccessLogTarget::File(path) => Sink::File(path.clone()),
    })
}

async fn open_admin(config: &NodeConfig) -> Result<Option<AdminAddress>, StartError> {
    let Some(address) = config.metrics_address else {
        return Ok(None);
    };
    let opened = AdminAddress::open(address, config.take_over).await;
    let failed = |source| StartError::Metrics { address, source };
    opened.map(Some).map_err(failed)
}

fn open_setup(config: &NodeConfig, network: &NetworkWatch) -> Result<ServerSetup, StartError> {
    ServerSetup::open(&config.state_dir, network.requests.clone())
        .map_err(|error| StartError::Record(Chain(&error).to_string()))
}

fn collector(config: &NodeConfig) -> Result<Option<Collector>, StartError> {
    let Some(collector) = &config.trace_collector else {
        return Ok(None);
    };
    let started = Collector::start(&collector.url, &collector.service_name, &config.name);
    let failed = |error| StartError::Traces(Chain(&error).to_string());
    started.map(Some).map_err(failed)
}

fn role_state(
    config: &NodeConfig,
    network: &NetworkWatch,
    taken_over: (Vec<TcpListener>, Option<Predecessor>),
    watching: &Watching,
) -> Result<RoleState, StartError> {
    let options = ProgramOptions {
        interfaces: config.interfaces.clone(),
        choice: config.xdp_mode,
        sizes: MapSizes {
            ring_slots: config.ring_slots,
            flow_buckets: config.flow_buckets(),
            session_lines: config.session_lines(),
        },
    };
    let setup = open_setup(config, network)?;
    match config.role {
        Role::LoadBalancer => Ok(RoleState::LoadBalancer(LoadBalancer {
            program: Program::new(&config.pin_dir, options),
            panics: std::collections::BTreeSet::new(),
            former: std::collections::BTreeSet::new(),
            wake_at: None,
            leases: Leases::new(config),
            engine: EngineDriver::start(
                setup,
                network.requests.clone(),
                &config.interfaces,
                taken_over,
                watching.clone(),
            )
            .map_err(StartError::Engine)?,
        })),
        Role::Server => {
            let mut setup = setup;
            if let Err(error) = setup.apply_settings(&config.interfaces) {
                // Without them the VIPs may attract other servers' traffic: said, and the operator can set them.
                error!(error = %Chain(&error), "kernel settings for the VIPs");
            }
            Ok(RoleState::Server(Server {
                program: Program::new(&config.pin_dir, options),
                hooks: PeerHooks::new(&config.pin_dir),
                setup,
                wake_at: None,
            }))
        }
    }
}

async fn tidy_up(agent: Agent) {
    let Agent {
        config,
        role,
        network,
        mut tasks,
        announcer,
        ..
    } = agent;
    // First, while what is announced is still served.
    announcer.stop().await;
    tasks.shutdown().await;
    match role {
        RoleState::LoadBalancer(lb) => {
            if let Err(error) = lb.engine.stop().await {
                error!(error = %Chain(&error), "VIPs and settings are not all taken away");
            }
            if !config.keep_on_exit
                && let Err(error) = lb.program.detach()
            {
                error!(error = %Chain(&error), "the program is not taken away");
            }
        }
        RoleState::Server(server) => {
            if let Err(error) = server.program.detach() {
                error!(error = %Chain(&error), "the program is not taken away");
            }
            if let Err(error) = server.setup.undo().await {
                error!(error = %Chain(&error), "VIPs and settings are not all taken away");
            }
        }
    }
    // The netlink connection is needed until here.
    drop(network);
}

/// Something could not be detached.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// An agent runs; it would attach again.
    #[error(transparent)]
    Start(#[from] StartError),
    /// With the reason.
    #[error("{0}")]
    Failed(String),
}

/// Takes away what an agent has left: programs and maps, and a server's VIPs and settings. Without `interfaces` the programs
/// of all interfaces. The agent itself must have stopped.
pub async fn detach(
    pin_dir: &Path,
    interfaces: &[String],
    state_dir: Option<&Path>,
) -> Result<(), DetachError> {
    fn failed(error: &(dyn std::error::Error + 'static)) -> DetachError {
        DetachError::Failed(Chain(error).to_string())
    }
    let _lock = match state_dir {
        Some(state_dir) if state_dir.exists() => Some(lock(state_dir).await?),
        _ => None,
    };
    for kind in ProgramKind::ALL {
        let pins = Pins::new(pin_dir, kind);
        removal::remove(&pins, interfaces).map_err(|error| failed(&error))?;
    }
    if let Some(state_dir) = state_dir
        && state_dir.exists()
    {
        let network = NetworkWatch::start(Vec::new()).map_err(StartError::Netlink)?;
        let setup = ServerSetup::open(state_dir, network.requests.clone());
        let setup = setup.map_err(|error| failed(&error))?;
        setup.undo().await.map_err(|error| failed(&error))?;
        let removed = remove_routing(&network.requests).await;
        removed.map_err(|error| failed(&error))?;
    }
    Ok(())
}
