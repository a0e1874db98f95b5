//! Questions about packets: from any member, by way of the member that a node is connected to, through the node's stream.
//!
//! ```text
//!  FabricService.Explain ─► explain ─┬─────────── here ──────────► NodeRegistry ─ Questions ─► NodeStream ─► node
//!                                    └─ PeerService.Explain ─► explain_here ──┘       ▲
//!                                                                                     └── ExplainReply ◄── node
//! ```

use std::{collections::BTreeMap, time::Duration};

use lbfabric_model::PacketQuestion;
use lbfabric_proto::v1;
use tokio::{
    sync::{mpsc, oneshot},
    time,
};
use tonic::{Request, Status};

use crate::{cluster::Cluster, node_registry::NodeRegistry, node_status::NodeStatuses, status};

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What the way there and back may take on top, by way of another member.
const PEER_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Questions that wait to be sent to one node.
const WAITING_MAX: usize = 16;

/// What a node answers.
pub(crate) type Answer = oneshot::Receiver<v1::ExplainReply>;

/// The questions to one node on one stream, each until its answer comes or nobody waits for it any more.
pub(crate) struct Questions {
    outbound: mpsc::Sender<v1::ExplainQuery>,
    open: BTreeMap<u64, oneshot::Sender<v1::ExplainReply>>,
    last_id: u64,
}

/// Why a node cannot be asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AskError {
    #[error("is not known")]
    Unknown,
    #[error("is not connected to any controller member")]
    NotConnected,
    #[error("is a server, and forwards nothing: ask a load balancer")]
    Server,
    #[error("runs version {version}, which cannot explain packets: upgrade it")]
    TooOld { version: String },
    #[error("has {WAITING_MAX} questions waiting already: try again")]
    Busy,
}

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

// === impl Questions ===

impl Questions {
    /// None so far, and the end that they are sent from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<v1::ExplainQuery>) {
        let (outbound, waiting) = mpsc::channel(WAITING_MAX);
        let questions = Self {
            outbound,
            open: BTreeMap::new(),
            last_id: 0,
        };
        (questions, waiting)
    }

    /// Asks about a packet.
    pub(crate) fn ask(&mut self, packet: v1::PacketQuestion) -> Result<Answer, AskError> {
        self.open.retain(|_, answer| !answer.is_closed());
        self.last_id += 1;
        let query = v1::ExplainQuery {
            id: self.last_id,
            packet: Some(packet),
        };
        self.outbound.try_send(query).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::NotConnected,
        })?;
        let (answer, waiting) = oneshot::channel();
        self.open.insert(self.last_id, answer);
        Ok(waiting)
    }

    /// Hands an answer to whoever waits for it.
    pub(crate) fn answer(&mut self, reply: v1::ExplainReply) {
        if let Some(waiting) = self.open.remove(&reply.id) {
            // Who does not wait any more has given up.
            drop(waiting.send(reply));
        }
    }

    /// Tells all who wait that no answer will come.
    pub(crate) fn abandon(&mut self) {
        self.open.clear();
    }
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
        let declared = cluster
            .local()
            .state
            .object(v1::Kind::Node, &node)
            .is_some();
        let members = statuses.missing_members.join(", ");
        return Err(status::explain_failed(
            &match (declared, members.is_empty()) {
                (_, false) => ExplainError::Missing { node, members },
                (true, true) => unanswered(node, AskError::NotConnected),
                (false, true) => unanswered(node, AskError::Unknown),
            },
        ));
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

fn unanswered(node: String, reason: AskError) -> ExplainError {
    ExplainError::Ask { node, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(id: u64) -> v1::ExplainReply {
        v1::ExplainReply { id, outcome: None }
    }

    #[test]
    fn each_answer_goes_to_its_question() {
        let (mut questions, mut outbound) = Questions::new();
        let mut first = questions.ask(v1::PacketQuestion::default()).unwrap();
        let mut second = questions.ask(v1::PacketQuestion::default()).unwrap();
        let ids = [outbound.try_recv(), outbound.try_recv()].map(|query| query.unwrap().id);
        questions.answer(reply(ids[1]));
        assert_eq!(second.try_recv(), Ok(reply(ids[1])));
        assert!(first.try_recv().is_err());
        // One that nobody asked for, or that comes twice, is nobody's.
        questions.answer(reply(ids[1]));
        questions.answer(reply(77));
        questions.abandon();
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_node_that_takes_no_questions_is_not_flooded() {
        let (mut questions, outbound) = Questions::new();
        for _ in 0..WAITING_MAX {
            drop(questions.ask(v1::PacketQuestion::default()).unwrap());
        }
        let full = questions.ask(v1::PacketQuestion::default());
        assert_eq!(full.unwrap_err(), AskError::Busy);
        // Those that nobody waits for are forgotten.
        assert!(questions.open.is_empty());
        drop(outbound);
        let gone = questions.ask(v1::PacketQuestion::default());
        assert_eq!(gone.unwrap_err(), AskError::NotConnected);
    }
}
