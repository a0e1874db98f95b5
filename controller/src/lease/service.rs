use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::stream::BoxStream;
use lbfabric_model::{Name, lease::LeaseRequest};
use lbfabric_proto::{
    internal::v1::{WitnessAnswer, WitnessQuestion, witness_service_server::WitnessService},
    v1::{RenewRequest, RenewResponse, lease_service_server::LeaseService, renew_request},
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    keeper::{Event, NodeKey},
    seats::Seat,
};
use crate::status;

/// Answers that wait for a node or a member. What does not find room is said again, if it is still of use.
const OUTBOUND_MAX: usize = 8;

/// Serves nodes and members: hands on what they say.
#[derive(Clone)]
pub(crate) struct LeaseServer {
    events: mpsc::Sender<Event>,
    streams: Arc<AtomicU64>,
}

// === impl LeaseServer ===

impl LeaseServer {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            streams: Arc::default(),
        }
    }
}

#[tonic::async_trait]
impl LeaseService for LeaseServer {
    type RenewStream = BoxStream<'static, Result<RenewResponse, Status>>;

    async fn renew(
        &self,
        request: Request<Streaming<RenewRequest>>,
    ) -> Result<Response<Self::RenewStream>, Status> {
        let from = request.remote_addr();
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|it| it.message);
        let Some(renew_request::Message::Hello(hello)) = first else {
            return Err(status::no_hello());
        };
        let name = Name::parse(&hello.node, "hello.node");
        let node = name.map_err(|violation| status::invalid(&[violation]))?;
        let key = NodeKey {
            node,
            stream: self.streams.fetch_add(1, Ordering::Relaxed),
        };
        let (answers, outbound) = mpsc::channel(OUTBOUND_MAX);
        let port = u16::try_from(hello.peer_port)
            .ok()
            .filter(|port| *port != 0);
        let address = from
            .zip(port)
            .map(|(from, port)| (from.ip().to_canonical(), port));
        let came = Event::NodeCame(key.clone(), Seat { answers, address });
        let ended = |_: mpsc::error::SendError<Event>| status::stopping();
        self.events.send(came).await.map_err(ended)?;
        tokio::spawn(read_node(key, inbound, self.events.clone()));
        let outbound = ReceiverStream::new(outbound).map(Ok);
        Ok(Response::new(Box::pin(outbound)))
    }
}

async fn read_node(
    key: NodeKey,
    mut inbound: Streaming<RenewRequest>,
    events: mpsc::Sender<Event>,
) {
    while let Ok(Some(RenewRequest { message })) = inbound.message().await {
        let event = match message {
            Some(renew_request::Message::Request(request)) => {
                // One that is not understood is no renewal, and the node falls silent.
                let Ok(request) = LeaseRequest::from_proto(key.node.clone(), &request) else {
                    break;
                };
                Event::Request(request)
            }
            Some(renew_request::Message::Question(question)) => {
                Event::Question(key.clone(), question.asked_nanos)
            }
            Some(renew_request::Message::Hello(_)) => break,
            // Of another version.
            None => continue,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
    // Who is not there any more needs not be told.
    drop(events.send(Event::NodeLeft(key)).await);
}

#[tonic::async_trait]
impl WitnessService for LeaseServer {
    type FollowStream = BoxStream<'static, Result<WitnessAnswer, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<WitnessQuestion>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut inbound = request.into_inner();
        let (answers, outbound) = mpsc::channel(OUTBOUND_MAX);
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Ok(Some(question)) = inbound.message().await {
                let asked = Event::Witness(question, answers.clone());
                if events.send(asked).await.is_err() {
                    return;
                }
            }
        });
        let outbound = ReceiverStream::new(outbound).map(Ok);
        Ok(Response::new(Box::pin(outbound)))
    }
}
