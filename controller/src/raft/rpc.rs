//! What the other members' Raft asks of this one.

use bytes::Bytes;
use lbfabric_proto::internal::v1::RaftMethod;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    RaftNode, newcomer,
    types::{SnapshotMeta, TypeConfig, Vote, snapshot},
};

/// Why a message of another member was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// It is not of this version.
    #[error("cannot decode the {what}")]
    Decode {
        /// The message.
        what: &'static str,
        /// The cause.
        #[source]
        source: postcard::Error,
    },
    /// No such method in this version.
    #[error("there is no such Raft method")]
    UnknownMethod,
    /// This member does not take part any more.
    #[error("this member has stopped: {0}")]
    Stopped(String),
}

// === impl RaftNode ===

impl RaftNode {
    /// Answers a Raft request.
    pub(crate) async fn rpc(
        &self,
        method: RaftMethod,
        payload: &[u8],
    ) -> Result<Vec<u8>, RpcError> {
        match method {
            RaftMethod::AppendEntries => {
                let request: AppendEntriesRequest<TypeConfig> = decode("AppendEntries", payload)?;
                let commit = newcomer::commit_of(&request);
                let leader = newcomer::leader_of(&request);
                let response = self
                    .raft
                    .append_entries(request)
                    .await
                    .map_err(|e| stopped(&e))?;
                if !matches!(
                    response,
                    openraft::raft::AppendEntriesResponse::HigherVote(_)
                ) {
                    self.heard.now();
                    self.newcomer.followed(leader, commit).await;
                }
                encode(&response)
            }
            RaftMethod::Vote => {
                let request: VoteRequest<TypeConfig> = decode("vote", payload)?;
                if let Some(refusal) = self.newcomer.refuse_vote(&request) {
                    return encode(&refusal);
                }
                encode(&self.raft.vote(request).await.map_err(|e| stopped(&e))?)
            }
            RaftMethod::PreVote => {
                let request: VoteRequest<TypeConfig> = decode("pre-vote", payload)?;
                if let Some(refusal) = self.newcomer.refuse_vote(&request) {
                    return encode(&refusal);
                }
                encode(&self.raft.pre_vote(request).await.map_err(|e| stopped(&e))?)
            }
            RaftMethod::TransferLeader => {
                let request: TransferLeaderRequest<TypeConfig> =
                    decode("leader transfer", payload)?;
                let response = self
                    .raft
                    .handle_transfer_leader(request)
                    .await
                    .map_err(|e| stopped(&e))?;
                encode(&response)
            }
            RaftMethod::Unspecified => Err(RpcError::UnknownMethod),
        }
    }

    /// Installs a snapshot that has come in completely.
    pub(crate) async fn install_snapshot(
        &self,
        header: &[u8],
        data: Bytes,
    ) -> Result<Vec<u8>, RpcError> {
        let (vote, meta): (Vote, SnapshotMeta) = decode("snapshot's header", header)?;
        let response = self
            .raft
            .install_full_snapshot(vote, snapshot(meta, data))
            .await
            .map_err(|e| stopped(&e))?;
        self.heard.now();
        encode(&response)
    }
}

fn decode<T: DeserializeOwned>(what: &'static str, payload: &[u8]) -> Result<T, RpcError> {
    postcard::from_bytes(payload).map_err(|source| RpcError::Decode { what, source })
}

fn encode<T: Serialize>(response: &T) -> Result<Vec<u8>, RpcError> {
    postcard::to_stdvec(response).map_err(|e| stopped(&e))
}

fn stopped(error: &impl ToString) -> RpcError {
    RpcError::Stopped(error.to_string())
}
