//! Writes and linearizable reads at any member: here if it leads, otherwise at the member that does.

use std::{collections::BTreeMap, error::Error as _, sync::Arc};

use lbfabric_model::{Command, LeaseCommand, Outcome};
use lbfabric_proto::internal::v1::{
    self as internal, peer_service_client::PeerServiceClient, propose_response, read_index_response,
};
use tokio::{
    sync::watch,
    time::{self, Duration, Instant},
};
use tonic::{Status, transport::Channel};
use tracing::debug;

use crate::{
    peer_channel::{MAX_PEER_MESSAGE_BYTES, connect_lazily},
    raft::{ProposeError, Published, RaftNode, RaftView, ReadIndexError},
};

/// Between two tries when nothing is known to have changed.
const RETRY_INTERVAL: Duration = Duration::from_millis(25);

/// This member and its way to the others.
pub(crate) struct Cluster {
    id: u64,
    raft: Arc<RaftNode>,
    peers: BTreeMap<u64, PeerServiceClient<Channel>>,
}

/// Why a write is not known to have succeeded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// Nobody led in time.
    #[error("no majority of controllers could be reached in time: nothing was changed; try again")]
    NoLeader,
    /// The leader was lost on the way.
    #[error(
        "the leading controller was lost before it answered: whether the change was made is not known; repeating it is safe"
    )]
    Unknown,
    /// This member has failed.
    #[error("this controller member does not take part any more: {0}")]
    Stopped(String),
}

/// Why a read could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Nobody led in time.
    #[error("no majority of controllers could be reached in time: try again")]
    NoLeader,
    /// The state did not get here in time.
    #[error("this controller member is behind: try again")]
    Behind,
    /// This member has failed.
    #[error("this controller member does not take part any more: {0}")]
    Stopped(String),
}

/// One try.
enum Attempt<T> {
    Done(T),
    /// It had no effect.
    Failed,
    /// It may have had an effect.
    Unknown,
    Stopped(String),
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(
        id: u64,
        members: &BTreeMap<u64, String>,
        raft: Arc<RaftNode>,
    ) -> Result<Self, tonic::transport::Error> {
        let mut peers = BTreeMap::new();
        for (member, address) in members.iter().filter(|(member, _)| **member != id) {
            let client = PeerServiceClient::new(connect_lazily(address)?)
                .max_decoding_message_size(MAX_PEER_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_PEER_MESSAGE_BYTES);
            peers.insert(*member, client);
        }
        Ok(Self { id, raft, peers })
    }

    /// This member's name.
    pub(crate) fn name(&self) -> String {
        self.id.to_string()
    }

    /// This member's part in the consensus.
    pub(crate) fn raft(&self) -> &RaftNode {
        &self.raft
    }

    /// The other members.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (u64, PeerServiceClient<Channel>)> + '_ {
        self.peers
            .iter()
            .map(|(member, client)| (*member, client.clone()))
    }

    /// The state as this member has it now.
    pub(crate) fn local(&self) -> Published {
        self.raft.published().borrow().clone()
    }

    /// Waits until this member knows the fabric's hash key.
    pub(crate) async fn founded(&self, deadline: Instant) -> Result<(), WriteError> {
        let mut published = self.raft.published();
        let founded = published.wait_for(|published| published.state.has_hash_key());
        match time::timeout_at(deadline, founded).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(WriteError::Stopped("it has ended".to_owned())),
            Err(_) => Err(WriteError::NoLeader),
        }
    }

    /// Commits a command, wherever the leader is, and waits until this member has its effect too.
    pub(crate) async fn write(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<Outcome, WriteError> {
        let mut view = self.raft.view();
        let mut in_doubt = false;
        loop {
            let leader = view.borrow_and_update().leader;
            let attempt = match leader {
                None => Attempt::Failed,
                Some(member) if member == self.id => {
                    time::timeout_at(deadline, self.propose_here(command))
                        .await
                        .unwrap_or(Attempt::Unknown)
                }
                Some(member) => {
                    let away = leader_gone(self.raft.view(), member, deadline);
                    tokio::select! {
                        attempt = self.propose_at(member, command) => attempt,
                        () = away => Attempt::Unknown,
                    }
                }
            };
            match attempt {
                Attempt::Done(outcome) => {
                    self.wait_for_outcome(&outcome, deadline).await;
                    return Ok(outcome);
                }
                Attempt::Failed => {}
                Attempt::Unknown if is_repeatable(command) => in_doubt = true,
                Attempt::Unknown => return Err(WriteError::Unknown),
                Attempt::Stopped(why) => return Err(WriteError::Stopped(why)),
            }
            if !pause(&mut view, deadline).await {
                return Err(if in_doubt {
                    WriteError::Unknown
                } else {
                    WriteError::NoLeader
                });
            }
        }
    }

    /// The state, with everything that was acknowledged before this call.
    pub(crate) async fn read(&self, deadline: Instant) -> Result<Published, ReadError> {
        let mut view = self.raft.view();
        loop {
            let leader = view.borrow_and_update().leader;
            let attempt = match leader {
                None => Attempt::Failed,
                // A leader without a majority waits for one.
                Some(member) if member == self.id => {
                    time::timeout_at(deadline, self.read_index_here())
                        .await
                        .unwrap_or(Attempt::Failed)
                }
                Some(member) => {
                    let away = leader_gone(self.raft.view(), member, deadline);
                    tokio::select! {
                        attempt = self.read_index_at(member) => attempt,
                        () = away => Attempt::Failed,
                    }
                }
            };
            match attempt {
                Attempt::Done(index) => {
                    let mut published = self.raft.published();
                    let applied = published.wait_for(|published| published.applied >= index);
                    return match time::timeout_at(deadline, applied).await {
                        Ok(Ok(published)) => Ok(published.clone()),
                        Ok(Err(_)) | Err(_) => Err(ReadError::Behind),
                    };
                }
                Attempt::Failed | Attempt::Unknown => {}
                Attempt::Stopped(why) => return Err(ReadError::Stopped(why)),
            }
            if !pause(&mut view, deadline).await {
                return Err(ReadError::NoLeader);
            }
        }
    }

    async fn propose_here(&self, command: &Command) -> Attempt<Outcome> {
        match self.raft.propose(command).await {
            Ok(outcome) => Attempt::Done(outcome),
            Err(ProposeError::NotLeader(_)) => Attempt::Failed,
            Err(ProposeError::Unknown) => Attempt::Unknown,
            Err(ProposeError::Stopped(why)) => Attempt::Stopped(why),
        }
    }

    async fn propose_at(&self, member: u64, command: &Command) -> Attempt<Outcome> {
        let Some(mut client) = self.peers.get(&member).cloned() else {
            return Attempt::Failed;
        };
        let request = internal::ProposeRequest {
            command: Some(command.into()),
        };
        let response = match client.propose(request).await {
            Ok(response) => response.into_inner(),
            Err(status) if never_sent(&status) => return Attempt::Failed,
            Err(status) => {
                debug!(member, error = %status, "the leader did not answer");
                return Attempt::Unknown;
            }
        };
        match response.outcome {
            Some(propose_response::Outcome::Result(result)) => match Outcome::try_from(result) {
                Ok(outcome) => Attempt::Done(outcome),
                Err(_violation) => Attempt::Unknown,
            },
            Some(propose_response::Outcome::Leader(_)) | None => Attempt::Failed,
        }
    }

    async fn read_index_here(&self) -> Attempt<u64> {
        match self.raft.read_index().await {
            Ok(index) => Attempt::Done(index),
            Err(ReadIndexError::NotLeader(_) | ReadIndexError::NoQuorum) => Attempt::Failed,
            Err(ReadIndexError::Stopped(why)) => Attempt::Stopped(why),
        }
    }

    async fn read_index_at(&self, member: u64) -> Attempt<u64> {
        let Some(mut client) = self.peers.get(&member).cloned() else {
            return Attempt::Failed;
        };
        match client.read_index(internal::ReadIndexRequest {}).await {
            Ok(response) => match response.into_inner().outcome {
                Some(read_index_response::Outcome::Index(index)) => Attempt::Done(index),
                Some(read_index_response::Outcome::Leader(_)) | None => Attempt::Failed,
            },
            Err(_) => Attempt::Failed,
        }
    }

    /// The write is committed: if it does not get here in time, it is a success all the same.
    async fn wait_for_outcome(&self, outcome: &Outcome, deadline: Instant) {
        let Outcome::Applied { generation, .. } = outcome else {
            return;
        };
        let mut published = self.raft.published();
        let reached = published.wait_for(|published| published.state.generation() >= *generation);
        if !matches!(time::timeout_at(deadline, reached).await, Ok(Ok(_))) {
            debug!(
                generation = generation.0,
                "this member is behind its own write"
            );
        }
    }
}

/// Whether a second execution leaves the same state as the first and answers the caller as well.
fn is_repeatable(command: &Command) -> bool {
    match command {
        Command::Apply(apply) => apply.expected_generation.is_none(),
        Command::SetHashKey(_) | Command::AddTicketKey { .. } | Command::SetCookieKey(_) => true,
        // A VIP is given away once: the second one would come too late.
        Command::Lease(lease) => match lease {
            LeaseCommand::Assign(..) => false,
            LeaseCommand::Admit(_) | LeaseCommand::Wish(..) => true,
        },
        // The second one would find nothing to delete.
        Command::Delete(_) => false,
    }
}

/// Whether the request certainly did not leave this machine.
fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Waits until another member leads, or the deadline.
async fn leader_gone(mut view: watch::Receiver<RaftView>, member: u64, deadline: Instant) {
    let gone = view.wait_for(|view| view.leader != Some(member));
    if matches!(time::timeout_at(deadline, gone).await, Ok(Err(_))) {
        // The view is gone with the member itself.
        time::sleep_until(deadline).await;
    }
}

/// Waits a moment, or until something changes. False when there is no time left.
async fn pause(view: &mut watch::Receiver<RaftView>, deadline: Instant) -> bool {
    let now = Instant::now();
    if now >= deadline {
        return false;
    }
    let until = deadline.min(now + RETRY_INTERVAL);
    match time::timeout_at(until, view.changed()).await {
        Ok(Ok(())) | Err(_) => true,
        Ok(Err(_)) => {
            time::sleep_until(until).await;
            true
        }
    }
}
