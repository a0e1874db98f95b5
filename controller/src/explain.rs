//! Questions about packets: from any member, by way of the member that a node is connected to, through the node's stream.
//!
//! ```text
//!  FabricService.Explain ─► explain ─┬─────────── here ──────────► NodeRegistry ─ Questions ─► NodeStream ─► node
//!                                    └─ PeerService.Explain ─► explain_here ──┘       ▲
//!                                                                                     └── ExplainReply ◄── node
//! ```

use std::time::Duration;

use lbfabric_model::PacketQuestion;
use lbfabric_proto::v1;
use tokio::{sync::oneshot, time};
use tonic::{Request, Status};

use crate::{
    cluster::Cluster, node_registry::NodeRegistry, node_status::NodeStatuses, questions::AskError,
    status,
};

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What the way there and back may take on top, by way of another member.
const PEER_TIMEOUT: Duration = Duration::from_millis(2_500);
/// What a node answers.
pub(crate) type Answer = oneshot::Receiver<v1::ExplainReply>;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    #[error("node `{node}` {reason}")]
    Ask { node: String, reason: AskError },
    /// It may be connected to one of those.
    #[error(
        "node `{node}` is not known here, and these controller members could not be asked: {members}"
    )]
    Missing { node: String, members: String },
    #[error("node `{node}` did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout { node: String },
    #[error("node `{node}` has ended its stream before it answered")]
    Gone { node: String },
    #[error("node `{node}`: {reason}")]
    Node { node: String, reason: String },
}

/// Asks a node, wherever it is connected.
pub(crate) async fn explain(
    cluster: &Cluster,
    registry: &NodeRegistry,
    request: v1::ExplainRequest,
) -> Result<v1::ExplainResponse, Status> {
    let packet = request.packet.clone().unwrap_or_default();
    PacketQuestion::parse(&packet, "packet").map_err(|violations| status::invalid(&violations))?;
    if request.node.is_empty() {
        return Err(status::invalid_field("node", "required: the node's name"));
    }
    let statuses = NodeStatuses::collect(cluster, registry).await;
    let node = request.node.clone();
    let Some(known) = statuses.known(&node) else {
        let error = unknown(cluster, &statuses, &node);
        return Err(status::explain_failed(&error));
    };
    if !known.connected {
        let error = unanswered(node, AskError::NotConnected);
        return Err(status::explain_failed(&error));
    }
    let mut peers = cluster.peers();
    let Some((_, mut peer)) = peers.find(|(member, _)| member.to_string() == known.member) else {
        return explain_here(cluster, registry, request).await;
    };
    let mut request = Request::new(request);
    request.set_timeout(PEER_TIMEOUT);
    Ok(peer.explain(request).await?.into_inner())
}

/// Asks a node that is connected to this member.
pub(crate) async fn explain_here(
    cluster: &Cluster,
    registry: &NodeRegistry,
    request: v1::ExplainRequest,
) -> Result<v1::ExplainResponse, Status> {
    let v1::ExplainRequest { node, packet } = request;
    match ask(registry, node.clone(), packet.unwrap_or_default()).await {
        Ok(explanation) => Ok(v1::ExplainResponse {
            node,
            member: cluster.name(),
            explanation: Some(explanation),
        }),
        Err(error) => Err(status::explain_failed(&error)),
    }
}

async fn ask(
    registry: &NodeRegistry,
    node: String,
    packet: v1::PacketQuestion,
) -> Result<v1::Explanation, ExplainError> {
    let answer = match registry.ask(&node, packet) {
        Ok(answer) => answer,
        Err(reason) => return Err(unanswered(node, reason)),
    };
    let reply = match time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => return Err(ExplainError::Gone { node }),
        Err(_) => return Err(ExplainError::Timeout { node }),
    };
    match reply.outcome {
        Some(v1::explain_reply::Outcome::Explanation(explanation)) => Ok(*explanation),
        Some(v1::explain_reply::Outcome::Error(reason)) => Err(ExplainError::Node { node, reason }),
        None => {
            let reason = "its answer says nothing".to_owned();
            Err(ExplainError::Node { node, reason })
        }
    }
}

/// A node that no member knows, as far as they could be asked.
pub(crate) fn unknown(cluster: &Cluster, statuses: &NodeStatuses, node: &str) -> ExplainError {
    let node = node.to_owned();
    let state = cluster.local().state;
    let declared = state.object(v1::Kind::Node, &node).is_some();
    let members = statuses.missing_members.join(", ");
    match (declared, members.is_empty()) {
        (_, false) => ExplainError::Missing { node, members },
        (true, true) => unanswered(node, AskError::NotConnected),
        (false, true) => unanswered(node, AskError::Unknown),
    }
}

pub(crate) fn unanswered(node: String, reason: AskError) -> ExplainError {
    ExplainError::Ask { node, reason }
}
