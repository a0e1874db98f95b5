use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt, stream};
use lbfabric_model::{
    Apply, Command, CompiledFabric, Document, FabricState, Generation, NodeFacts, ObjectKey,
    Outcome, Role, SecretKey,
};
use lbfabric_proto::v1::{
    self,
    node_service_server::{NodeService, NodeServiceServer},
    sync_request, sync_response,
};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

/// A controller of one node: real model, real stream, no consensus.
pub(crate) struct PlayedController {
    pub(crate) address: SocketAddr,
    state: FabricState,
    fabric: watch::Sender<Arc<CompiledFabric>>,
    questions: broadcast::Sender<sync_response::Message>,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

/// What the node has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) hellos: Vec<v1::Hello>,
    pub(crate) results: Vec<v1::DeltaResult>,
    pub(crate) report: Option<v1::NodeReport>,
    pub(crate) explained: Vec<v1::ExplainReply>,
    pub(crate) log_lines: Vec<v1::LogLines>,
    pub(crate) spoken: Vec<v1::SpeakerReply>,
    /// How many streams there were, and how many of them are of agents that have ended: what is still under way from these is not heard.
    streams: usize,
    ended: usize,
}

struct Played {
    fabric: watch::Receiver<Arc<CompiledFabric>>,
    questions: broadcast::Sender<sync_response::Message>,
    heard: Arc<Mutex<Heard>>,
}

impl PlayedController {
    /// Listens on the loopback of the current namespace.
    pub(crate) async fn start() -> Self {
        let mut state = FabricState::default();
        let key = state.apply(Generation(1), &Command::SetHashKey(*b"0123456789abcdef"));
        assert!(matches!(key, Outcome::Applied { .. }), "{key:?}");
        let cookie_key = Command::SetCookieKey(SecretKey::new([9; 32]));
        state.apply(Generation(1), &cookie_key);
        state.apply(Generation(2), &ticket_key(1));
        let compiled = Arc::new(CompiledFabric::compile(&state, None));
        let (fabric, receiver) = watch::channel(compiled);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (questions, _) = broadcast::channel(8);
        let played = Played {
            fabric: receiver,
            questions: questions.clone(),
            heard: heard.clone(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = tonic::transport::Server::builder()
            .add_service(NodeServiceServer::new(played))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { server.await.expect("the played controller serves") });
        Self {
            address,
            state,
            fabric,
            questions,
            heard,
            task,
        }
    }

    /// Adds a key of tickets, and sends it.
    pub(crate) fn add_ticket_key(&mut self, period: u8) {
        let next = Generation(self.state.generation().0 + 1);
        self.state.apply(next, &ticket_key(period));
        self.send();
    }

    /// Applies a document, and sends what follows from it.
    pub(crate) fn apply(&mut self, spec: &v1::FabricSpec) {
        let document = Document::parse(spec).expect("a valid document");
        let command = Command::Apply(Apply {
            document,
            prune: true,
            expected_generation: None,
        });
        let next = Generation(self.state.generation().0 + 1);
        let outcome = self.state.apply(next, &command);
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        self.send();
    }

    fn send(&self) {
        let previous = self.fabric.borrow().clone();
        let compiled = CompiledFabric::compile(&self.state, Some(&previous));
        self.fabric.send_replace(Arc::new(compiled));
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.lock().expect("not poisoned").clone()
    }

    /// The last report, if it fulfils a condition.
    pub(crate) fn report_if(
        &self,
        condition: impl Fn(&v1::NodeReport) -> bool,
    ) -> Option<v1::NodeReport> {
        self.heard().report.filter(condition)
    }

    /// Asks the node what it would do with a packet; `id` is told back in the answer.
    pub(crate) fn ask(&self, id: u64, packet: v1::PacketQuestion) {
        let packet = Some(packet);
        self.say(sync_response::Message::Explain(v1::ExplainQuery {
            id,
            packet,
        }));
    }

    /// Says something to the node.
    pub(crate) fn say(&self, message: sync_response::Message) {
        let said = self.questions.send(message);
        said.expect("a node is connected");
    }

    /// What the node has said to a question.
    pub(crate) fn answer(&self, id: u64) -> Option<v1::explain_reply::Outcome> {
        let explained = self.heard().explained;
        explained.into_iter().find(|it| it.id == id)?.outcome
    }

    /// Forgets what was said, before an action whose effect is to be seen.
    pub(crate) fn forget(&self) {
        let mut heard = self.heard.lock().expect("not poisoned");
        *heard = Heard {
            streams: heard.streams,
            ended: heard.ended,
            ..Heard::default()
        };
    }

    /// Forgets an agent that has ended, with what it may have said last.
    pub(crate) fn forget_agent(&self) {
        self.forget();
        let mut heard = self.heard.lock().expect("not poisoned");
        heard.ended = heard.streams;
    }
}

fn ticket_key(period: u8) -> Command {
    Command::AddTicketKey {
        period: period.into(),
        secret: SecretKey::new([period; 32]),
    }
}

impl Drop for PlayedController {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tonic::async_trait]
impl NodeService for Played {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<v1::SyncResponse, Status>> + Send>>;

    async fn sync(
        &self,
        request: Request<Streaming<v1::SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests
            .message()
            .await?
            .and_then(|request| request.message);
        let Some(sync_request::Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message is Hello"));
        };
        let facts = NodeFacts {
            name: hello.name.clone(),
            role: Role::from_proto(hello.role()).ok_or_else(|| Status::invalid_argument("role"))?,
            addresses: hello
                .addresses
                .iter()
                .filter_map(|a| a.parse::<IpAddr>().ok())
                .collect(),
        };
        let mut held: BTreeMap<ObjectKey, u64> = hello
            .held
            .iter()
            .filter_map(|object| Some((ObjectKey::try_from(object.key?).ok()?, object.digest)))
            .collect();
        let stream = {
            let mut heard = self.heard.lock().expect("not poisoned");
            heard.hellos.push(hello);
            heard.streams += 1;
            heard.streams
        };
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let mut heard = heard.lock().expect("not poisoned");
                if stream <= heard.ended {
                    break;
                }
                match request.message {
                    Some(sync_request::Message::Result(result)) => heard.results.push(result),
                    Some(sync_request::Message::Report(report)) => heard.report = Some(report),
                    Some(sync_request::Message::Explained(reply)) => heard.explained.push(reply),
                    Some(sync_request::Message::Spoken(reply)) => heard.spoken.push(reply),
                    Some(sync_request::Message::LogLines(lines)) => heard.log_lines.push(lines),
                    other => panic!("unexpected: {other:?}"),
                }
            }
        });
        let deltas = WatchStream::new(self.fabric.clone()).map(move |fabric| {
            let snapshot = fabric.for_node(&facts);
            let delta = snapshot.delta(&held);
            held = snapshot.held();
            Ok(v1::SyncResponse {
                message: Some(sync_response::Message::Delta(delta)),
            })
        });
        let questions = BroadcastStream::new(self.questions.subscribe()).map(|message| {
            let message = message.expect("questions come one by one");
            Ok(v1::SyncResponse {
                message: Some(message),
            })
        });
        Ok(Response::new(Box::pin(stream::select(deltas, questions))))
    }
}
