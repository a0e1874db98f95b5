use std::{net::SocketAddr, sync::Mutex, time::Instant};

use lbfabric_proto::otlp::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response};

use super::*;
use crate::seeing::spans::tests::request;

const DEADLINE: Duration = Duration::from_mins(1);

/// Keeps what it gets, and answers so.
#[derive(Clone)]
struct Played {
    heard: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    answer: Result<i64, Code>,
}

#[tonic::async_trait]
impl TraceService for Played {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.heard.lock().unwrap().push(request.into_inner());
        let rejected_spans = self.answer.map_err(|code| Status::new(code, "no"))?;
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success: (rejected_spans > 0).then(|| ExportTracePartialSuccess {
                rejected_spans,
                error_message: "too many".to_owned(),
            }),
        }))
    }
}

/// A collector at an address, as long as this lives.
async fn played(
    address: SocketAddr,
    answer: Result<i64, Code>,
) -> (SocketAddr, Played, AbortOnDropHandle<()>) {
    let played = Played {
        heard: Arc::default(),
        answer,
    };
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(played.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let task = tokio::spawn(async move { server.await.unwrap() });
    (address, played, AbortOnDropHandle::new(task))
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// An address where nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    listener.local_addr().unwrap()
}

fn start(address: SocketAddr) -> Collector {
    Collector::start(&format!("http://{address}"), "edge", "lb1").unwrap()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

impl Played {
    fn spans(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        let scopes = heard.iter().flat_map(|it| &it.resource_spans);
        let scopes = scopes.flat_map(|it| &it.scope_spans);
        scopes.map(|it| it.spans.len()).sum()
    }
}

#[tokio::test]
async fn spans_are_gathered_and_sent_with_the_nodes_resource() {
    let (address, played, _task) = played(anywhere(), Ok(0)).await;
    let collector = start(address);
    for _ in 0..10 {
        collector.queue().put(request());
    }
    until("the spans", || played.spans() == 30).await;
    let counts = collector.counts();
    until("the count", || counts.read()[2].1 == 30).await;
    assert_eq!(counts.read(), [("dropped", 0), ("failed", 0), ("sent", 30)]);
    let heard = played.heard.lock().unwrap();
    let [once] = &heard[..] else {
        panic!("{heard:?}");
    };
    let of = once.resource_spans[0].resource.as_ref();
    assert_eq!(of, Some(&resource("edge", "lb1")));
    let expected: Vec<_> = spans(&request()).collect();
    assert_eq!(once.resource_spans[0].scope_spans[0].spans[..3], expected);
}

#[tokio::test]
async fn one_that_is_away_gets_the_first_ones_when_it_comes_back() {
    let address = nowhere().await;
    let collector = start(address);
    let (queue, counts) = (collector.queue(), collector.counts());
    let begun = Instant::now();
    // Some are taken out of the queue at once, and held.
    while counts.read()[0].1 == 0 {
        queue.put(request());
        assert!(begun.elapsed() < DEADLINE, "there is no end of room");
        tokio::task::yield_now().await;
    }
    let filled = begun.elapsed();
    for _ in 0..1000 {
        queue.put(request());
    }
    let [(_, dropped), failed, sent] = counts.read();
    assert!(dropped >= 3 * 1000, "{dropped} after {filled:?}");
    assert_eq!((failed, sent), (("failed", 0), ("sent", 0)));
    let (_, played, _task) = played(address, Ok(0)).await;
    until("those that waited", || played.spans() >= 3 * ROOM).await;
    until("they are counted", || {
        counts.read()[2].1 == played.spans() as u64
    })
    .await;
    assert_eq!(counts.read()[1], ("failed", 0));
}

#[tokio::test]
async fn what_is_refused_is_counted_and_not_sent_again() {
    let (address, refusing, _task) = played(anywhere(), Err(Code::InvalidArgument)).await;
    let collector = start(address);
    collector.queue().put(request());
    let counts = collector.counts();
    until("the refusal", || counts.read()[1].1 == 3).await;
    assert_eq!((refusing.spans(), counts.read()[2].1), (3, 0));

    let (address, _, _task) = played(anywhere(), Ok(2)).await;
    let collector = start(address);
    collector.queue().put(request());
    let counts = collector.counts();
    until("the answer", || counts.read()[1].1 == 2).await;
    assert_eq!(counts.read(), [("dropped", 0), ("failed", 2), ("sent", 1)]);
}

#[tokio::test]
async fn the_end_sends_what_there_is_and_does_not_wait_for_who_is_away() {
    let (address, played, _task) = played(anywhere(), Ok(0)).await;
    let collector = start(address);
    for _ in 0..REQUESTS_AT_ONCE * 2 {
        collector.queue().put(request());
    }
    collector.finish().await;
    assert_eq!(played.spans(), REQUESTS_AT_ONCE * 2 * 3);

    let collector = start(nowhere().await);
    let counts = collector.counts();
    collector.queue().put(request());
    let begun = Instant::now();
    collector.finish().await;
    assert!(begun.elapsed() < END_PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(counts.read()[1], ("failed", 3));
}

#[tokio::test]
async fn addresses_of_other_kinds_are_refused() {
    for url in [
        "",
        "127.0.0.1:4317",
        "https://127.0.0.1:4317",
        "http://",
        "/",
    ] {
        let error = Collector::start(url, "edge", "lb1").unwrap_err();
        assert!(error.to_string().contains("http://HOST:PORT"), "{error}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    let all = (0..17).map(Code::from_i32);
    let passing: Vec<_> = all
        .filter(|code| is_passing(&Status::new(*code, "")))
        .collect();
    let expected = [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ];
    assert_eq!(passing, expected);
}

#[test]
fn batches_are_of_a_size_that_collectors_take() {
    let long = TracedRequest {
        path: "/".repeat(2048),
        user_agent: "x".repeat(2048),
        ..request()
    };
    let made = || std::iter::repeat_n(&long, REQUESTS_AT_ONCE).flat_map(spans);
    let batches = batches(made());
    assert!(batches.len() > 1);
    let total: usize = batches.iter().map(Vec::len).sum();
    assert_eq!(total, made().count());
    for batch in batches {
        let length = export(Resource::default(), batch).encoded_len();
        assert!(length < 2 * BYTES_AT_ONCE, "{length}");
    }
}
