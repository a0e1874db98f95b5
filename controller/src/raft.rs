//! Consensus: the only module that knows the Raft library.
//!
//! ```text
//!            propose, read_index, rpc                    published (watch)
//!  services ─────────────────────────► RaftNode ──────────────────────────► services
//!                                        │ own threads ("raft"), own connections to the members
//!                         LogStore ◄─────┼─────► StateMachine ──► SnapshotDir
//!                         ("raft-log" thread)
//! ```

mod config;
mod data_dir;
mod disk_error;
mod log_store;
mod log_writer;
mod network;
mod newcomer;
mod record;
mod rpc;
mod runtime;
mod snapshot_dir;
mod state_machine;
mod types;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lbfabric_model::{Command, Outcome};
use lbfabric_proto::internal::v1 as internal;
use openraft::{
    BasicNode, Raft, ReadPolicy,
    errors::{ClientWriteError, InitializeError, LinearizableReadError, RaftError},
};
use prost::Message;
use tokio::sync::watch;
use tracing::{debug, info, warn};

pub use self::data_dir::OpenDataDirError;
use self::{
    data_dir::DataDir,
    log_store::LogStore,
    network::Network,
    newcomer::Newcomer,
    runtime::RaftRuntime,
    state_machine::StateMachine,
    types::{Encoded, TypeConfig},
    view::LastHeard,
};
pub(crate) use self::{rpc::RpcError, state_machine::Published, types::Tenure, view::RaftView};

/// How long a stopping leader waits for another member to take over.
const TRANSFER_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What a member needs to take part.
pub(crate) struct RaftConfig {
    pub(crate) id: u64,
    pub(crate) members: BTreeMap<u64, String>,
    pub(crate) data_dir: PathBuf,
    /// Log entries after which a snapshot is written.
    pub(crate) snapshot_every: u64,
}

/// This member's part in the consensus.
pub(crate) struct RaftNode {
    id: u64,
    raft: Raft<TypeConfig, StateMachine>,
    view: watch::Receiver<RaftView>,
    published: watch::Receiver<Published>,
    heard: Arc<LastHeard>,
    newcomer: Arc<Newcomer>,
    log: LogStore,
    runtime: RaftRuntime,
    lock: Mutex<Option<File>>,
}

/// Why a member cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum StartRaftError {
    /// Its data directory.
    #[error("cannot open this member's state")]
    OpenDataDir(#[from] OpenDataDirError),
    /// Its threads.
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
    /// The library.
    #[error("cannot start Raft: {0}")]
    Library(String),
}

/// Why this member did not commit a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    /// Another member leads; the command is not in the log.
    #[error("another member leads")]
    NotLeader(Option<u64>),
    /// The leader changed while the command was in the log: it may or may not be committed.
    #[error("the leader changed before the command was committed")]
    Unknown,
    /// This member does not take part any more.
    #[error("this member has stopped: {0}")]
    Stopped(String),
}

/// Why this member knows no read index.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadIndexError {
    /// Another member leads.
    #[error("another member leads")]
    NotLeader(Option<u64>),
    /// No majority answers.
    #[error("no majority answers")]
    NoQuorum,
    /// This member does not take part any more.
    #[error("this member has stopped: {0}")]
    Stopped(String),
}

// === impl RaftNode ===

impl RaftNode {
    /// Recovers this member's state from disk and takes part; a member without any state proposes the configured members
    /// as the cluster, which is safe when all of them do.
    pub(crate) async fn start(config: RaftConfig) -> Result<Self, StartRaftError> {
        let RaftConfig {
            id,
            members,
            data_dir,
            snapshot_every,
        } = config;
        let runtime = RaftRuntime::new().map_err(StartRaftError::Threads)?;
        let data_dir = tokio::task::spawn_blocking(move || DataDir::open(&data_dir, id))
            .await
            .map_err(|e| StartRaftError::Library(e.to_string()))??;
        let DataDir {
            log,
            machine,
            published,
            lock,
        } = data_dir;
        let library_config = config::library_config(snapshot_every)
            .map_err(|e| StartRaftError::Library(e.to_string()))?;
        let network = Network::new(id, Arc::new(members.clone()));
        let heard = Arc::new(LastHeard::default());
        let started = runtime.spawn({
            let (log, heard) = (log.clone(), heard.clone());
            let single = members.len() == 1;
            async move {
                let raft = Raft::new(id, library_config, network, log, machine)
                    .await
                    .map_err(|e| e.to_string())?;
                initialize(&raft, &members).await?;
                let view = view::follow(&raft, heard, single);
                Ok::<_, String>((raft, view))
            }
        });
        let (raft, view) = started
            .await
            .map_err(|e| StartRaftError::Library(e.to_string()))?
            .map_err(StartRaftError::Library)?;
        let newcomer = Arc::new(Newcomer::new(log.clone()));
        runtime.spawn(settle_when_leading(id, view.clone(), newcomer.clone()));
        Ok(Self {
            id,
            raft,
            view,
            published,
            heard,
            newcomer,
            log,
            runtime,
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Follows who leads and whether this member takes part.
    pub(crate) fn view(&self) -> watch::Receiver<RaftView> {
        self.view.clone()
    }

    /// Follows the replicated state.
    pub(crate) fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// The leader that this member has voted for last: it has told nobody that it prefers a later one.
    pub(crate) fn voted_for(&self) -> Option<Tenure> {
        self.log.vote().map(|vote| Tenure::of(vote.leader_id()))
    }

    /// The members whose majority decides.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        use openraft::async_runtime::watch::WatchReceiver as _;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().voter_ids().collect()
    }

    /// Commits a command, if this member leads.
    pub(crate) async fn propose(&self, command: &Command) -> Result<Outcome, ProposeError> {
        let bytes = internal::Command::from(command).encode_to_vec();
        let written = self.raft.client_write(Encoded(bytes.into())).await;
        let response = match written {
            Ok(written) => written.data,
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                return Err(ProposeError::NotLeader(forward.leader_id));
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                return Err(ProposeError::Unknown);
            }
            Err(e) => return Err(ProposeError::Stopped(e.to_string())),
        };
        internal::CommandResult::decode(response.0)
            .map_err(|e| e.to_string())
            .and_then(|result| Outcome::try_from(result).map_err(|e| e.to_string()))
            .map_err(ProposeError::Stopped)
    }

    /// The index that a reader has to have applied, confirmed by a majority, if this member leads.
    pub(crate) async fn read_index(&self) -> Result<u64, ReadIndexError> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _applied)) => Ok(read.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadIndexError::NotLeader(forward.leader_id))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadIndexError::NoQuorum)
            }
            Err(RaftError::Fatal(e)) => Err(ReadIndexError::Stopped(e.to_string())),
        }
    }

    /// Stops taking part and closes the state on disk.
    pub(crate) async fn stop(&self) {
        if let Err(e) = self.raft.shutdown().await {
            warn!(error = %e, "Raft did not stop cleanly");
        }
        if let Err(e) = self.log.close().await {
            warn!(error = %e, "the log was not closed cleanly");
        }
        self.runtime.stop();
        self.lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Hands the lead to the member that is closest, if this one has it.
    pub(crate) async fn hand_over(&self) {
        let metrics = self.raft.metrics();
        let target = {
            use openraft::async_runtime::watch::WatchReceiver as _;
            let metrics = metrics.borrow_watched();
            metrics.replication.as_ref().and_then(|replication| {
                replication
                    .iter()
                    .filter(|(member, _)| **member != self.id)
                    .max_by_key(|(_, matching)| **matching)
                    .map(|(member, _)| *member)
            })
        };
        let Some(target) = target else { return };
        if let Err(e) = self.raft.trigger().transfer_leader(target).await {
            debug!(error = %e, "leader transfer was not started");
            return;
        }
        let mut view = self.view.clone();
        let moved = view.wait_for(|view| view.leader.is_some_and(|leader| leader != self.id));
        if tokio::time::timeout(TRANSFER_TIMEOUT, moved).await.is_ok() {
            info!(member = target, "handed the lead over");
        }
    }
}

async fn settle_when_leading(
    id: u64,
    mut view: watch::Receiver<RaftView>,
    newcomer: Arc<Newcomer>,
) {
    // Without the view the member has ended.
    if view.wait_for(|view| view.leader == Some(id)).await.is_ok() {
        newcomer.led().await;
    }
}

async fn initialize(
    raft: &Raft<TypeConfig, StateMachine>,
    members: &BTreeMap<u64, String>,
) -> Result<(), String> {
    if raft.is_initialized().await.map_err(|e| e.to_string())? {
        return Ok(());
    }
    let nodes: BTreeMap<u64, BasicNode> = members
        .iter()
        .map(|(id, address)| (*id, BasicNode::new(address)))
        .collect();
    match raft.initialize(nodes).await {
        Ok(()) => {
            info!(
                members = members.len(),
                "this member has no state yet: proposed the cluster"
            );
            Ok(())
        }
        // Another member was faster: its cluster has reached this one already.
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}
