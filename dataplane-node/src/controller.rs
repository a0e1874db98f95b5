//! The stream to the controller.
//!
//! ```text
//! member 1 ╮                      ┌─ Connected(Session), Delta, Closed ─► agent
//! member 2 ┼─ one at a time ─► follow
//! member 3 ╯                      └◄── Session: requests, reset ───────── agent
//! ```

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use lbfabric_proto::v1::{
    self, node_service_client::NodeServiceClient, sync_request, sync_response,
};
use tokio::{sync::mpsc, time};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tracing::{debug, info, warn};

use crate::{chain::Chain, jitter::Jitter};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Until the member has answered the request to open the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A delta may hold a whole fabric: 65,536 services and servers at some hundred bytes each.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Requests that wait for a slow member.
const OUTBOUND_MAX: usize = 16;

/// What happens on the stream.
#[derive(Debug)]
pub(crate) enum ControllerEvent {
    /// A member is being asked for a stream: it expects `Hello` first.
    Connected(Session),
    Delta(SessionId, Box<v1::Delta>),
    /// A question, to be answered on the same stream.
    Explain(SessionId, v1::ExplainQuery),
    /// A question about BGP, to be answered on the same stream.
    Speaker(SessionId, v1::SpeakerQuery),
    /// A question for lines of the access log.
    Log(SessionId, v1::LogQuery),
    /// One whose answers nobody reads any more.
    StopLog(SessionId, u64),
    Closed(SessionId),
}

/// Tells a stream from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionId(u64);

/// The agent's end of one stream.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    requests: mpsc::Sender<v1::SyncRequest>,
    log_lines: mpsc::Sender<v1::SyncRequest>,
    reset: CancellationToken,
}

impl Session {
    /// Sends a request; false if too many are waiting.
    pub(crate) fn send(&self, message: sync_request::Message) -> bool {
        let request = v1::SyncRequest {
            message: Some(message),
        };
        self.requests.try_send(request).is_ok()
    }

    /// Where answers go that others work out.
    pub(crate) fn requests(&self) -> mpsc::Sender<v1::SyncRequest> {
        self.requests.clone()
    }

    /// Where lines of the access log go: they leave room for the rest.
    pub(crate) fn log_lines(&self) -> mpsc::Sender<v1::SyncRequest> {
        self.log_lines.clone()
    }

    /// Opens the stream again, perhaps at another member.
    pub(crate) fn reset(&self) {
        self.reset.cancel();
    }
}

/// Keeps a stream to one of the members open, for ever.
pub(crate) async fn follow(
    node: String,
    members: Vec<String>,
    events: mpsc::Sender<ControllerEvent>,
) {
    if members.is_empty() {
        return;
    }
    let mut jitter = Jitter::new();
    let mut backoff = BACKOFF_MIN;
    // Nodes begin at different members.
    let mut hasher = DefaultHasher::new();
    node.hash(&mut hasher);
    let mut at = usize::try_from(hasher.finish() % members.len() as u64).unwrap_or(0);
    let mut failures: BTreeMap<usize, String> = BTreeMap::new();
    for session in 0.. {
        let member = &members[at];
        let id = SessionId(session);
        match run_session(id, member, &events).await {
            Ended::AgentGone => return,
            Ended::Broken { reason, delivered } => {
                if delivered {
                    backoff = BACKOFF_MIN;
                    info!(%member, %reason, "stream closed");
                } else if failures.insert(at, reason.clone()).as_ref() != Some(&reason) {
                    // Said once, not at each try.
                    warn!(%member, %reason, "no stream");
                }
                if delivered {
                    failures.clear();
                }
            }
        }
        if events.send(ControllerEvent::Closed(id)).await.is_err() {
            return;
        }
        at = (at + 1) % members.len();
        time::sleep(jitter.around(backoff, 25)).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

enum Ended {
    AgentGone,
    Broken { reason: String, delivered: bool },
}

async fn run_session(id: SessionId, member: &str, events: &mpsc::Sender<ControllerEvent>) -> Ended {
    let broken = |reason: String| Ended::Broken {
        reason,
        delivered: false,
    };
    let endpoint = match Endpoint::from_shared(format!("http://{member}")) {
        Ok(endpoint) => endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true),
        Err(error) => return broken(Chain(&error).to_string()),
    };
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => return broken(Chain(&error).to_string()),
    };
    let mut client = NodeServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (requests, outbound) = mpsc::channel(OUTBOUND_MAX);
    let (log_lines, lines) = mpsc::channel(1);
    let outbound = ReceiverStream::new(outbound).merge(ReceiverStream::new(lines));
    let reset = CancellationToken::new();
    let session = Session {
        id,
        requests,
        log_lines,
        reset: reset.clone(),
    };
    if events
        .send(ControllerEvent::Connected(session))
        .await
        .is_err()
    {
        return Ended::AgentGone;
    }
    let opened = time::timeout(OPEN_TIMEOUT, client.sync(outbound)).await;
    let mut stream = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return broken(status.to_string()),
        Err(_) => return broken("the member does not answer".to_owned()),
    };
    info!(%member, "stream open");
    let mut delivered = false;
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = reset.cancelled() => {
                return Ended::Broken { reason: "reset".to_owned(), delivered: false };
            }
        };
        let reason = match message {
            Ok(Some(v1::SyncResponse {
                message: Some(message),
            })) => {
                let event = match message {
                    sync_response::Message::Delta(delta) => {
                        delivered = true;
                        ControllerEvent::Delta(id, Box::new(delta))
                    }
                    sync_response::Message::Explain(query) => ControllerEvent::Explain(id, query),
                    sync_response::Message::Speaker(query) => ControllerEvent::Speaker(id, query),
                    sync_response::Message::FollowLog(query) => ControllerEvent::Log(id, query),
                    sync_response::Message::StopLog(query) => ControllerEvent::StopLog(id, query),
                };
                if events.send(event).await.is_err() {
                    return Ended::AgentGone;
                }
                continue;
            }
            Ok(Some(v1::SyncResponse { message: None })) => {
                debug!("a message that this version does not know");
                continue;
            }
            Ok(None) => "the member has closed it".to_owned(),
            Err(status) => status.to_string(),
        };
        return Ended::Broken { reason, delivered };
    }
}
