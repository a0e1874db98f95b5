//! A pair of gRPC programs with the engine between them: HTTP/2 on both sides.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

#[path = "grpc/echo.rs"]
mod echo;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use echo::{Echo, Seen};
use lbfabric_proxy::{Http2Config, PoolConfig, ProxyConfig, ServerProtocol};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Code, Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint, Server},
};
use tonic_prost::ProstCodec;
use worker::engine;

const PATIENCE: Duration = Duration::from_secs(20);

struct Pair {
    client: Grpc<Channel>,
    seen: Arc<Seen>,
}

fn over_http2(server: SocketAddr) -> ProxyConfig {
    ProxyConfig {
        pools: vec![PoolConfig::of(&[server])],
        http2: Http2Config {
            servers: ServerProtocol::Http2,
            ..Http2Config::default()
        },
        ..ProxyConfig::default()
    }
}

impl Pair {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let echo = Echo(seen.clone());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = Server::builder().add_service(echo);
        tokio::spawn(server.serve_with_incoming(incoming));
        let engine = engine(over_http2(address));
        let endpoint = Endpoint::from_shared(format!("http://{engine}")).unwrap();
        let client = Grpc::new(endpoint.connect().await.unwrap());
        Self { client, seen }
    }

    async fn ready(&mut self) -> &mut Grpc<Channel> {
        self.client.ready().await.unwrap();
        &mut self.client
    }
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_and_its_trailers_go_both_ways() {
    let mut pair = Pair::start().await;
    let mut request = Request::new("hello".to_owned());
    request
        .metadata_mut()
        .insert("x-asked", "a".parse().unwrap());
    let grpc = pair.ready().await;
    let answer = grpc.unary(request, path("/echo.Echo/Unary"), codec()).await;
    let answer = answer.unwrap();
    assert_eq!(answer.get_ref(), "hello");
    assert_eq!(answer.metadata().get("x-answered").unwrap(), "a");
    // Status and message are trailers, or stand in the only head.
    for method in ["/echo.Echo/Fail", "/echo.Echo/FailLate"] {
        let grpc = pair.ready().await;
        let request = Request::new("no".to_owned());
        let status = grpc.server_streaming(request, path(method), codec()).await;
        let status = match status {
            Err(status) => status,
            Ok(answers) => {
                let mut answers = answers.into_inner();
                assert_eq!(answers.next().await.unwrap().unwrap(), "no");
                answers.next().await.unwrap().unwrap_err()
            }
        };
        assert_eq!(status.code(), Code::FailedPrecondition, "{method}");
        assert_eq!(status.message(), "not now, \u{e4}", "{method}");
        assert_eq!(status.metadata().get("x-detail").unwrap(), "d", "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_one_way_and_both_at_the_same_time() {
    let mut pair = Pair::start().await;
    let grpc = pair.ready().await;
    let request = Request::new("x".to_owned());
    let answers = grpc.server_streaming(request, path("/echo.Echo/Server"), codec());
    let answers: Vec<String> = answers
        .await
        .unwrap()
        .into_inner()
        .map(|it: Result<String, _>| it.unwrap())
        .collect()
        .await;
    assert_eq!(answers.len(), echo::STREAMED);
    let grpc = pair.ready().await;
    let parts = tokio_stream::iter((0..1_000).map(|n| n.to_string()));
    let request = Request::new(parts);
    let all = grpc
        .client_streaming(request, path("/echo.Echo/Client"), codec())
        .await;
    let wanted: String = (0..1_000).map(|n| n.to_string()).collect();
    assert_eq!(all.unwrap().into_inner(), wanted);
    // Each message only when the one before it has come back.
    let (say, said) = mpsc::channel(1);
    let grpc = pair.ready().await;
    let request = Request::new(ReceiverStream::new(said));
    let answers = grpc
        .streaming(request, path("/echo.Echo/Both"), codec())
        .await;
    let mut answers = answers.unwrap().into_inner();
    for n in 0..100 {
        say.send(format!("{n}")).await.unwrap();
        let answer: String = timeout(PATIENCE, answers.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(answer, format!("{n}"));
    }
    drop(say);
    assert!(timeout(PATIENCE, answers.next()).await.unwrap().is_none());
}

/// Who does not read stops the sender: what is on its way is bounded by windows and buffers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_stops_the_sender() {
    let mut pair = Pair::start().await;
    let grpc = pair.ready().await;
    let request = Request::new(String::new());
    let answers = grpc
        .server_streaming(request, path("/echo.Echo/Endless"), codec())
        .await;
    let mut answers = answers.unwrap().into_inner();
    let first: String = answers.next().await.unwrap().unwrap();
    let part = first.len();
    // Until nothing more goes.
    let mut last = 0;
    timeout(PATIENCE, async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let sent = pair.seen.sent.load(Ordering::Relaxed);
            if sent == last {
                break;
            }
            last = sent;
        }
    })
    .await
    .expect("the sender is stopped");
    assert!(last * part < 24 << 20, "{last} parts of {part} bytes");
    // Reading lets it go on.
    for _ in 0..2 * last {
        let answer: Option<Result<String, _>> = timeout(PATIENCE, answers.next()).await.unwrap();
        assert_eq!(answer.unwrap().unwrap().len(), part);
    }
    assert!(pair.seen.sent.load(Ordering::Relaxed) > last);
    // The server hears that nobody listens any more.
    drop(answers);
    timeout(PATIENCE, pair.seen.ended.notified()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_is_the_servers_to_know() {
    let mut pair = Pair::start().await;
    let grpc = pair.ready().await;
    let mut request = Request::new(String::new());
    request.set_timeout(Duration::from_secs(7));
    let answer = grpc
        .unary(request, path("/echo.Echo/Deadline"), codec())
        .await;
    let said: String = answer.unwrap().into_inner();
    assert_eq!(said, "7000000u");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_few_connections() {
    let pair = Pair::start().await;
    let calls = (0..500).map(|n| {
        let mut grpc = pair.client.clone();
        tokio::spawn(async move {
            grpc.ready().await.unwrap();
            let request = Request::new(format!("{n}"));
            let answer = grpc.unary(request, path("/echo.Echo/Unary"), codec()).await;
            assert_eq!(answer.unwrap().into_inner(), format!("{n}"));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        timeout(PATIENCE, call).await.unwrap().unwrap();
    }
    let peers = pair.seen.peers.lock().unwrap().len();
    assert!((1..=4).contains(&peers), "{peers} connections");
}
