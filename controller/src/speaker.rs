//! Questions about BGP: from any member, by way of the members that nodes are connected to, through the nodes' streams.
//!
//! ```text
//!  SpeakerService ─► Asked::of ─┬──────────── here ────────────► NodeRegistry ─ Questions ─► NodeStream ─► node
//!                               └─ PeerService.AskSpeaker ─► ask_here ──┘       ▲
//!                                                                               └── SpeakerReply ◄── node
//! ```

use std::{sync::Arc, time::Duration};

use lbfabric_proto::{
    internal::v1::AskSpeakerRequest,
    v1::{
        self, speaker_question::About, speaker_reply::Outcome,
        speaker_service_server::SpeakerService,
    },
};
use tokio::{task::JoinSet, time};
use tonic::{Request, Response, Status};

use crate::{
    cluster::Cluster,
    explain::{ExplainError, unanswered, unknown},
    node_registry::NodeRegistry,
    node_status::NodeStatuses,
    status,
};

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What the way there and back may take on top, by way of another member.
const PEER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Shows what nodes announce.
pub(crate) struct SpeakerServer {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) registry: Arc<NodeRegistry>,
}

/// What nodes have said to a question.
#[derive(Default)]
struct Asked {
    /// By node.
    answers: Vec<Answered>,
    failures: Vec<v1::NodeFailure>,
    missing_members: Vec<String>,
}

struct Answered {
    node: String,
    status: Option<v1::BgpStatus>,
    answer: v1::SpeakerAnswer,
}

// === impl SpeakerServer ===

impl SpeakerServer {
    /// Asks one node, or all load balancers that speak BGP.
    async fn ask(&self, node: &str, about: About) -> Result<Asked, Status> {
        let statuses = NodeStatuses::collect(&self.cluster, &self.registry).await;
        let mut asked = Asked {
            missing_members: statuses.missing_members.clone(),
            ..Asked::default()
        };
        let mut tasks = JoinSet::new();
        if node.is_empty() {
            let all = statuses.nodes();
            for (name, known) in all.filter(|(_, it)| it.connected && it.bgp.is_some()) {
                tasks.spawn(self.ask_one(name, known, &about));
            }
        } else {
            match statuses.known(node) {
                Some(known) => drop(tasks.spawn(self.ask_one(node, known, &about))),
                None => {
                    return Err(status::explain_failed(&unknown(
                        &self.cluster,
                        &statuses,
                        node,
                    )));
                }
            }
        }
        for (name, answer) in tasks.join_all().await {
            match answer {
                Ok(answer) => {
                    let known = statuses.known(&name);
                    asked.answers.push(Answered {
                        status: known.and_then(|it| it.bgp.clone()),
                        node: name,
                        answer,
                    });
                }
                Err(status) if !node.is_empty() => return Err(status),
                Err(status) => asked.failures.push(v1::NodeFailure {
                    node: name,
                    reason: status.message().to_owned(),
                }),
            }
        }
        asked
            .answers
            .sort_by(|one, other| one.node.cmp(&other.node));
        asked
            .failures
            .sort_by(|one, other| one.node.cmp(&other.node));
        Ok(asked)
    }

    fn ask_one(
        &self,
        node: &str,
        known: &v1::NodeStatus,
        about: &About,
    ) -> impl Future<Output = (String, Result<v1::SpeakerAnswer, Status>)> + Send + use<> {
        let mut peers = self.cluster.peers();
        let peer = peers.find(|(member, _)| known.connected && member.to_string() == known.member);
        let registry = Arc::clone(&self.registry);
        let node = node.to_owned();
        let question = v1::SpeakerQuestion {
            about: Some(about.clone()),
        };
        async move {
            let answer = match peer {
                None => ask_here(&registry, &node, question).await,
                Some((_, mut peer)) => {
                    let mut request = Request::new(AskSpeakerRequest {
                        node: node.clone(),
                        question: Some(question),
                    });
                    request.set_timeout(PEER_TIMEOUT);
                    peer.ask_speaker(request).await.map(Response::into_inner)
                }
            };
            (node, answer)
        }
    }
}

#[tonic::async_trait]
impl SpeakerService for SpeakerServer {
    async fn list_neighbors(
        &self,
        request: Request<v1::ListNeighborsRequest>,
    ) -> Result<Response<v1::ListNeighborsResponse>, Status> {
        let v1::ListNeighborsRequest { node } = request.into_inner();
        let about = About::Neighbors(v1::NeighborsQuestion {});
        let asked = self.ask(&node, about).await?;
        let nodes = asked.answers.into_iter();
        let nodes = nodes.map(|it| v1::NodeNeighbors {
            node: it.node,
            status: it.status,
            neighbors: it.answer.neighbors,
        });
        Ok(Response::new(v1::ListNeighborsResponse {
            nodes: nodes.collect(),
            failures: asked.failures,
            missing_members: asked.missing_members,
        }))
    }

    async fn list_routes(
        &self,
        request: Request<v1::ListRoutesRequest>,
    ) -> Result<Response<v1::ListRoutesResponse>, Status> {
        let v1::ListRoutesRequest {
            node,
            neighbor,
            prefix,
            limit,
        } = request.into_inner();
        if !prefix.is_empty() {
            lbfabric_model::Prefix::parse(&prefix, "prefix")
                .map_err(|violation| status::invalid(&[violation]))?;
        }
        let about = About::Routes(v1::RoutesQuestion {
            neighbor,
            prefix,
            limit,
        });
        let asked = self.ask(&node, about).await?;
        let nodes = asked.answers.into_iter();
        let nodes = nodes.map(|it| v1::NodeRoutes {
            node: it.node,
            routes: it.answer.routes,
            left_out: it.answer.left_out,
        });
        Ok(Response::new(v1::ListRoutesResponse {
            nodes: nodes.collect(),
            failures: asked.failures,
            missing_members: asked.missing_members,
        }))
    }

    async fn get_vip_announcements(
        &self,
        request: Request<v1::GetVipAnnouncementsRequest>,
    ) -> Result<Response<v1::GetVipAnnouncementsResponse>, Status> {
        let v1::GetVipAnnouncementsRequest { vip } = request.into_inner();
        lbfabric_model::Prefix::parse(&vip, "vip")
            .map_err(|violation| status::invalid(&[violation]))?;
        let asked = self.ask("", About::Vip(v1::VipQuestion { vip })).await?;
        let announcements = asked.answers.into_iter().filter_map(|it| it.answer.vip);
        Ok(Response::new(v1::GetVipAnnouncementsResponse {
            announcements: announcements.collect(),
            failures: asked.failures,
            missing_members: asked.missing_members,
        }))
    }
}

/// Asks a node that is connected to this member.
pub(crate) async fn ask_here(
    registry: &NodeRegistry,
    node: &str,
    question: v1::SpeakerQuestion,
) -> Result<v1::SpeakerAnswer, Status> {
    let node = node.to_owned();
    let failed = |error: ExplainError| status::explain_failed(&error);
    let answer = registry
        .ask_speaker(&node, question)
        .map_err(|reason| failed(unanswered(node.clone(), reason)))?;
    let reply = match time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => return Err(failed(ExplainError::Gone { node })),
        Err(_) => return Err(failed(ExplainError::Timeout { node })),
    };
    match reply.outcome {
        Some(Outcome::Answer(answer)) => Ok(answer),
        Some(Outcome::Error(reason)) => Err(failed(ExplainError::Node { node, reason })),
        None => {
            let reason = "its answer says nothing".to_owned();
            Err(failed(ExplainError::Node { node, reason }))
        }
    }
}
