//! A gRPC server of one service, without generated code.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::{Notify, mpsc};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::http,
    metadata::MetadataMap,
    server::{Grpc, NamedService, StreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;

/// Messages of `/echo.Echo/Server`.
pub(crate) const STREAMED: usize = 1_000;
const PART_BYTES: usize = 10_000;

/// What a server has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Parts of an endless answer.
    pub(crate) sent: AtomicUsize,
    /// Its end.
    pub(crate) ended: Notify,
    pub(crate) peers: Mutex<BTreeSet<SocketAddr>>,
}

#[derive(Clone)]
pub(crate) struct Echo(pub(crate) Arc<Seen>);

impl NamedService for Echo {
    const NAME: &'static str = "echo.Echo";
}

type Answers = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;
type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = Method {
            seen: self.0.clone(),
            name: request.uri().path().to_owned(),
        };
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            // To the server's side of the wire, all methods are streams.
            Ok(Grpc::new(codec).streaming(method, request).await)
        })
    }
}

struct Method {
    seen: Arc<Seen>,
    name: String,
}

impl StreamingService<String> for Method {
    type Response = String;
    type ResponseStream = Answers;
    type Future = Answering<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let (seen, name) = (self.seen.clone(), self.name.clone());
        let peer = request.remote_addr().unwrap();
        seen.peers.lock().unwrap().insert(peer);
        Box::pin(async move { answer(&seen, &name, request).await })
    }
}

async fn answer(
    seen: &Arc<Seen>,
    name: &str,
    request: Request<Streaming<String>>,
) -> Result<Response<Answers>, Status> {
    let (metadata, _, mut messages) = request.into_parts();
    let answers: Answers = match name.trim_start_matches("/echo.Echo/") {
        "Unary" | "Both" => Box::pin(messages),
        "Server" => Box::pin(tokio_stream::iter((0..STREAMED).map(|n| Ok(n.to_string())))),
        "Client" => {
            let mut all = String::new();
            while let Some(part) = messages.next().await {
                all.push_str(&part?);
            }
            one(all)
        }
        "Fail" => return Err(failure()),
        "FailLate" => {
            let first = messages.next().await.unwrap();
            Box::pin(tokio_stream::iter([first, Err(failure())]))
        }
        "Deadline" => one(text(&metadata, "grpc-timeout")),
        "Endless" => Box::pin(ReceiverStream::new(endless(seen.clone()))),
        other => return Err(Status::unimplemented(other)),
    };
    let mut response = Response::new(answers);
    if metadata.contains_key("x-asked") {
        let asked = metadata.get("x-asked").unwrap().clone();
        response.metadata_mut().insert("x-answered", asked);
    }
    // RFC 9110 section 10.1.4: without it, no server of gRPC may send trailers.
    assert_eq!(text(&metadata, "te"), "trailers");
    Ok(response)
}

fn one(message: String) -> Answers {
    Box::pin(tokio_stream::once(Ok(message)))
}

fn text(metadata: &MetadataMap, name: &str) -> String {
    let value = metadata.get(name).map(|it| it.to_str().unwrap());
    value.unwrap_or_default().to_owned()
}

fn failure() -> Status {
    let mut status = Status::failed_precondition("not now, \u{e4}");
    status
        .metadata_mut()
        .insert("x-detail", "d".parse().unwrap());
    status
}

fn endless(seen: Arc<Seen>) -> mpsc::Receiver<Result<String, Status>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while sender.send(Ok("x".repeat(PART_BYTES))).await.is_ok() {
            seen.sent.fetch_add(1, Ordering::Relaxed);
        }
        seen.ended.notify_one();
    });
    receiver
}
