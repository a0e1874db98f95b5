use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use lbfabric_proto::internal::v1::{
    RaftMethod, RaftRequest, SnapshotChunk, peer_service_client::PeerServiceClient,
};
use openraft::{
    BasicNode, OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tonic::{Code, transport::Channel};

use super::types::{RaftSnapshot, TypeConfig, Vote};
use crate::peer_channel::{MAX_PEER_MESSAGE_BYTES, connect_lazily};

/// How long entries may take to be written at the other end; a slow disk is no reason to send them again.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(1);
const SNAPSHOT_CHUNK_BYTES: usize = 1024 * 1024;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

type Error = RPCError<TypeConfig>;

/// Makes the connections to the other members: separate ones for heartbeats, entries and snapshots, so that none waits
/// for another.
pub(crate) struct Network {
    id: u64,
    /// Addresses as configured now, which come before those in the log.
    members: Arc<BTreeMap<u64, String>>,
}

/// A connection to one member.
pub(crate) struct Connection {
    id: u64,
    target: u64,
    client: Result<PeerServiceClient<Channel>, String>,
}

// === impl Network ===

impl Network {
    pub(crate) fn new(id: u64, members: Arc<BTreeMap<u64, String>>) -> Self {
        Self { id, members }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        let address = self.members.get(&target).unwrap_or(&node.addr);
        let client = connect_lazily(address)
            .map(|channel| {
                PeerServiceClient::new(channel)
                    .max_decoding_message_size(MAX_PEER_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_PEER_MESSAGE_BYTES)
            })
            .map_err(|e| format!("{address} is no address: {e}"));
        Connection {
            id: self.id,
            target,
            client,
        }
    }
}

// === impl Connection ===

impl Connection {
    async fn call<Request: Serialize, Response: DeserializeOwned>(
        &mut self,
        method: RaftMethod,
        action: RPCTypes,
        request: &Request,
        timeout: Duration,
    ) -> Result<Response, Error> {
        let payload = postcard::to_stdvec(request).map_err(|e| NetworkError::new(&e))?;
        let request = RaftRequest {
            method: method.into(),
            payload,
        };
        let mut client = self.client()?;
        let answer = tokio::time::timeout(timeout, client.raft(request))
            .await
            .map_err(|_elapsed: tokio::time::error::Elapsed| self.timed_out(action, timeout))?
            .map_err(|status| failed(&status))?;
        postcard::from_bytes(&answer.into_inner().payload).map_err(|e| NetworkError::new(&e).into())
    }

    fn client(&self) -> Result<PeerServiceClient<Channel>, Error> {
        self.client
            .clone()
            .map_err(|e| Unreachable::from_string(e).into())
    }

    fn timed_out(&self, action: RPCTypes, timeout: Duration) -> Error {
        RPCError::Timeout(Timeout {
            action,
            id: self.id,
            target: self.target,
            timeout,
        })
    }
}

fn failed(status: &tonic::Status) -> Error {
    match status.code() {
        Code::Unavailable => Unreachable::new(status).into(),
        _ => NetworkError::new(status).into(),
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Error> {
        let timeout = if request.entries.is_empty() {
            option.hard_ttl()
        } else {
            APPEND_TIMEOUT
        };
        self.call(
            RaftMethod::AppendEntries,
            RPCTypes::AppendEntries,
            &request,
            timeout,
        )
        .await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.call(
            RaftMethod::Vote,
            RPCTypes::Vote,
            &request,
            option.soft_ttl(),
        )
        .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.call(
            RaftMethod::PreVote,
            RPCTypes::Vote,
            &request,
            option.soft_ttl(),
        )
        .await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<openraft::raft::TransferLeaderResponse<TypeConfig>, Error> {
        self.call(
            RaftMethod::TransferLeader,
            RPCTypes::TransferLeader,
            &request,
            option.soft_ttl(),
        )
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let header =
            postcard::to_stdvec(&(vote, &snapshot.meta)).map_err(|e| NetworkError::new(&e))?;
        let mut client = self.client()?;
        let send = client.install_snapshot(stream::iter(chunks(header, snapshot.snapshot)));
        let answer = tokio::select! {
            closed = cancel => return Err(closed.into()),
            answer = tokio::time::timeout(SNAPSHOT_TIMEOUT, send) => answer
                .map_err(|_elapsed: tokio::time::error::Elapsed| {
                    self.timed_out(RPCTypes::InstallSnapshot, SNAPSHOT_TIMEOUT)
                })?
                .map_err(|status| failed(&status))?,
        };
        let response = postcard::from_bytes(&answer.into_inner().payload)
            .map_err(|e| NetworkError::new(&io::Error::other(e)))?;
        Ok(response)
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_INTERVAL)))
    }
}

fn chunks(header: Vec<u8>, data: Bytes) -> impl Iterator<Item = SnapshotChunk> + Send + 'static {
    let first = SnapshotChunk {
        header,
        data: Vec::new(),
    };
    let count = data.len().div_ceil(SNAPSHOT_CHUNK_BYTES);
    let rest = (0..count).map(move |i| {
        let from = i * SNAPSHOT_CHUNK_BYTES;
        let to = (from + SNAPSHOT_CHUNK_BYTES).min(data.len());
        SnapshotChunk {
            header: Vec::new(),
            data: data[from..to].to_vec(),
        }
    });
    std::iter::once(first).chain(rest)
}
