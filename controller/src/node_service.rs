//! The nodes' streams.
//!
//! ```text
//!  node ── Hello, DeltaResult, NodeReport, ExplainReply, LogLines ──► inbound task ──► NodeRegistry
//!       ◄── Delta, ExplainQuery, LogQuery ── NodeStream ◄── watch ── CompiledFabric (one for all streams)
//! ```

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream::BoxStream};
use lbfabric_model::{CompiledFabric, Violation};
use lbfabric_proto::v1::{
    self, SyncRequest, SyncResponse, node_service_server::NodeService, sync_request,
};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use crate::{
    hello::Hello,
    node_registry::{NodeRegistry, SessionEnd, SessionId},
    node_stream::NodeStream,
    raft::RaftView,
    status,
};

/// How long a new stream may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// What nodes call.
pub(crate) struct NodeServer {
    pub(crate) registry: Arc<NodeRegistry>,
    pub(crate) compiled: watch::Receiver<Arc<CompiledFabric>>,
    pub(crate) view: watch::Receiver<RaftView>,
    pub(crate) stopping: CancellationToken,
}

// === impl NodeServer ===

#[tonic::async_trait]
impl NodeService for NodeServer {
    type SyncStream = BoxStream<'static, Result<SyncResponse, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let peer = request.remote_addr();
        let mut inbound = request.into_inner();
        let hello = read_hello(&mut inbound).await?;
        let session = self
            .registry
            .open(&hello)
            .map_err(|e| status::too_many_nodes(e.limit))?;
        info!(
            node = hello.facts.name,
            role = ?hello.facts.role,
            peer = peer.map(tracing::field::display),
            generation = hello.generation.0,
            held = hello.held.len(),
            "node connected"
        );
        tokio::spawn(read_inbound(
            inbound,
            self.registry.clone(),
            session.id.clone(),
            session.end.clone(),
        ));
        let stream = NodeStream::new(
            session,
            hello,
            self.compiled.clone(),
            self.view.clone(),
            self.stopping.clone(),
        );
        Ok(Response::new(Box::pin(messages(stream))))
    }
}

fn messages(stream: NodeStream) -> impl Stream<Item = Result<SyncResponse, Status>> + Send {
    futures::stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next_message().await {
            Ok(message) => {
                let message = SyncResponse {
                    message: Some(message),
                };
                Some((Ok(message), Some(stream)))
            }
            Err(status) => {
                info!(
                    node = stream.node(),
                    reason = status.message(),
                    "node stream ends"
                );
                Some((Err(status), None))
            }
        }
    })
}

async fn read_hello(inbound: &mut Streaming<SyncRequest>) -> Result<Hello, Status> {
    let first = time::timeout(HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_elapsed: time::error::Elapsed| status::no_hello())??;
    match first.and_then(|request| request.message) {
        Some(sync_request::Message::Hello(hello)) => {
            Hello::try_from(hello).map_err(|violations| status::invalid(&violations))
        }
        Some(
            sync_request::Message::Result(_)
            | sync_request::Message::Report(_)
            | sync_request::Message::Explained(_)
            | sync_request::Message::Spoken(_)
            | sync_request::Message::LogLines(_),
        )
        | None => Err(status::no_hello()),
    }
}

/// Takes in what the node says until it or we end the session.
async fn read_inbound(
    mut inbound: Streaming<SyncRequest>,
    registry: Arc<NodeRegistry>,
    id: SessionId,
    mut ended: watch::Receiver<Option<SessionEnd>>,
) {
    loop {
        let message = tokio::select! {
            _ = ended.wait_for(Option::is_some) => return,
            message = inbound.message() => message,
        };
        match message {
            Ok(Some(request)) => {
                if let Err(violation) = take(&registry, &id, request) {
                    registry.end(&id, SessionEnd::Invalid(violation));
                    return;
                }
            }
            Ok(None) => {
                registry.end(&id, SessionEnd::Gone);
                return;
            }
            Err(status) => {
                debug!(node = id.node, error = %status, "node stream broke");
                registry.end(&id, SessionEnd::Gone);
                return;
            }
        }
    }
}

fn take(registry: &NodeRegistry, id: &SessionId, request: SyncRequest) -> Result<(), Violation> {
    match request.message {
        Some(sync_request::Message::Report(report)) => registry.report(id, report)?,
        Some(sync_request::Message::Result(result)) => {
            log_refusals(&id.node, &result);
            registry.delta_result(id, &result);
        }
        Some(sync_request::Message::Explained(reply)) => registry.explained(id, reply),
        Some(sync_request::Message::Spoken(reply)) => registry.spoken(id, reply),
        Some(sync_request::Message::LogLines(lines)) => registry.log_lines(id, lines),
        Some(sync_request::Message::Hello(_)) => {
            return Err(Violation::new(
                "hello",
                "only the first message is a `Hello`: open another stream",
            ));
        }
        None => {
            return Err(Violation::new(
                "message",
                "required: a result, a report or an answer",
            ));
        }
    }
    Ok(())
}

fn log_refusals(node: &str, result: &v1::DeltaResult) {
    for refusal in &result.refusals {
        info!(
            node,
            generation = result.generation,
            reason = refusal.reason,
            "node refused an object"
        );
    }
}
