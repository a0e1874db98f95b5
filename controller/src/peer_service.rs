//! What the other controller members call.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use lbfabric_model::Command;
use lbfabric_proto::{
    internal::v1::{
        AskSpeakerRequest, NodeStatusesRequest, NodeStatusesResponse, ProposeRequest,
        ProposeResponse, RaftRequest, RaftResponse, ReadIndexRequest, ReadIndexResponse,
        SnapshotChunk, VipStatesRequest, VipStatesResponse, peer_service_server::PeerService,
        propose_response, read_index_response,
    },
    v1,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    cluster::{Cluster, ReadError, WriteError},
    explain::explain_here,
    lease::LeaseDesk,
    logs::logs_here,
    node_registry::NodeRegistry,
    raft::{ProposeError, ReadIndexError},
    speaker, status,
};

/// The largest state that a member takes.
const SNAPSHOT_MAX_BYTES: usize = 1 << 30;

/// Serves the other members.
pub(crate) struct PeerServer {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) registry: Arc<NodeRegistry>,
    pub(crate) stopping: CancellationToken,
    pub(crate) desk: LeaseDesk,
}

// === impl PeerServer ===

#[tonic::async_trait]
impl PeerService for PeerServer {
    async fn raft(&self, request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        let request = request.into_inner();
        let payload = self
            .cluster
            .raft()
            .rpc(request.method(), &request.payload)
            .await
            .map_err(|e| status::rpc_failed(&e))?;
        Ok(Response::new(RaftResponse { payload }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftResponse>, Status> {
        let mut chunks = request.into_inner();
        let mut header = Vec::new();
        let mut data = BytesMut::new();
        while let Some(chunk) = chunks.message().await? {
            if header.is_empty() {
                header = chunk.header;
            }
            if data.len() + chunk.data.len() > SNAPSHOT_MAX_BYTES {
                return Err(status::invalid_field("data", "the snapshot is too large"));
            }
            data.extend_from_slice(&chunk.data);
        }
        let data: Bytes = data.freeze();
        let payload = self
            .cluster
            .raft()
            .install_snapshot(&header, data)
            .await
            .map_err(|e| status::rpc_failed(&e))?;
        Ok(Response::new(RaftResponse { payload }))
    }

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        let command = request
            .into_inner()
            .command
            .ok_or_else(|| status::invalid_field("command", "required"))?;
        let command =
            Command::try_from(command).map_err(|violations| status::invalid(&violations))?;
        let outcome = match self.cluster.raft().propose(&command).await {
            Ok(outcome) => propose_response::Outcome::Result((&outcome).into()),
            Err(ProposeError::NotLeader(leader)) => {
                propose_response::Outcome::Leader(leader.unwrap_or(0))
            }
            Err(ProposeError::Unknown) => {
                return Err(status::write_failed(&WriteError::Unknown));
            }
            Err(ProposeError::Stopped(why)) => {
                return Err(status::write_failed(&WriteError::Stopped(why)));
            }
        };
        Ok(Response::new(ProposeResponse {
            outcome: Some(outcome),
        }))
    }

    async fn read_index(
        &self,
        _request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        let outcome = match self.cluster.raft().read_index().await {
            Ok(index) => read_index_response::Outcome::Index(index),
            Err(ReadIndexError::NotLeader(leader)) => {
                read_index_response::Outcome::Leader(leader.unwrap_or(0))
            }
            Err(ReadIndexError::NoQuorum) => {
                return Err(status::read_failed(&ReadError::NoLeader));
            }
            Err(ReadIndexError::Stopped(why)) => {
                return Err(status::read_failed(&ReadError::Stopped(why)));
            }
        };
        Ok(Response::new(ReadIndexResponse {
            outcome: Some(outcome),
        }))
    }

    async fn node_statuses(
        &self,
        _request: Request<NodeStatusesRequest>,
    ) -> Result<Response<NodeStatusesResponse>, Status> {
        let state = self.cluster.local().state;
        Ok(Response::new(NodeStatusesResponse {
            nodes: self.registry.statuses(&self.cluster.name(), &state),
        }))
    }

    async fn ask_speaker(
        &self,
        request: Request<AskSpeakerRequest>,
    ) -> Result<Response<v1::SpeakerAnswer>, Status> {
        let AskSpeakerRequest { node, question } = request.into_inner();
        let question = question.unwrap_or_default();
        let answer = speaker::ask_here(&self.registry, &node, question).await?;
        Ok(Response::new(answer))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let answer = explain_here(&self.cluster, &self.registry, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn vip_states(
        &self,
        _request: Request<VipStatesRequest>,
    ) -> Result<Response<VipStatesResponse>, Status> {
        let view = self.desk.view().await;
        let states = view.map(|view| view.to_proto()).unwrap_or_default();
        Ok(Response::new(states))
    }

    type LogsStream = BoxStream<'static, Result<v1::LogsResponse, Status>>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let (request, stopping) = (request.into_inner(), self.stopping.clone());
        Ok(Response::new(logs_here(&self.registry, request, stopping)))
    }
}
