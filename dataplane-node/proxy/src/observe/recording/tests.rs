use std::{net::SocketAddr, rc::Rc, sync::Arc};

use tokio::sync::mpsc;

use super::*;
use crate::{
    http1::{FieldRoom, HeadLimits},
    observe::{
        Cause, Ending, ObserveConfig, Peer, Phase, Protocol, SeenServer, SpanQueue, Termination,
        TraceConfig, Watch,
    },
};

const CLIENTS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const TRACE_ID: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

/// A worker's observer, which samples every trace that begins here, and what it exports.
struct Exported {
    observer: Rc<Observer>,
    queue: Arc<SpanQueue>,
    requests: mpsc::Receiver<Box<TracedRequest>>,
}

fn exported(room: usize) -> Exported {
    let (queue, requests) = SpanQueue::new(room);
    let queue = Arc::new(queue);
    let config = ObserveConfig {
        service: "shop".into(),
        routes: vec!["cart".into()],
        traces: Some(TraceConfig { sample_one_in: 1 }),
        spans: Some(queue.clone()),
        ..ObserveConfig::default()
    };
    Exported {
        observer: Observer::of(&config).unwrap(),
        queue,
        requests,
    }
}

impl Exported {
    /// A request that has arrived, with what its first server is told.
    fn asks(&self, fields: &str) -> (Watch, Option<Traced>) {
        let head = format!("GET /a?b HTTP/1.1\r\nHost: a.example:8080\r\n{fields}\r\n");
        let mut room = FieldRoom::new();
        let limits = HeadLimits::default();
        let head = RequestHead::parse(head.as_bytes(), &mut room, &limits).unwrap();
        let watch = Watch::of(Some(&self.observer));
        watch.head(9);
        watch.asked(Protocol::Http11, head.method, head.target, head.fields());
        watch.route(Some(0));
        let traced = watch.traced(head.method, &head);
        (watch, traced)
    }

    fn next(&mut self) -> TracedRequest {
        *self.requests.try_recv().unwrap()
    }
}

fn server(number: u8) -> Rc<SeenServer> {
    let address = SocketAddr::from(([10, 0, 0, number], 80));
    Rc::new(SeenServer::new(&format!("s{number}"), address))
}

fn ends(watch: &Watch, termination: Termination) {
    let ending = Ending {
        termination,
        ..Ending::default()
    };
    let peer = Peer {
        address: [192, 0, 2, 7].into(),
        tls: None,
    };
    watch.ends(ending, peer);
}

fn span_id(renewed: Option<Renewal>) -> u64 {
    let now = renewed.unwrap().now;
    TraceParent::parse(&now).unwrap().span_id()
}

#[test]
fn a_request_that_goes_well_has_two_spans_in_the_clients_trace() {
    let mut exported = exported(1);
    let fields = format!("traceparent: {CLIENTS}\r\ntracestate: a=b\r\ntracestate: c=d\r\n");
    let (watch, traced) = exported.asks(&fields);
    let told = traced.unwrap().parent;
    watch.server(&server(1));
    watch.connected(false);
    watch.answered(404);
    ends(&watch, Termination::NORMAL);
    let request = exported.next();
    assert_eq!((told.trace_id(), request.trace_id), (TRACE_ID, TRACE_ID));
    assert_eq!(
        request.asked_by.map(NonZeroU64::get),
        Some(0x00f0_67aa_0ba9_02b7)
    );
    assert_eq!(request.trace_state, "a=b,c=d");
    let texts = [
        &request.service,
        &request.method,
        &request.path,
        &request.host,
    ];
    assert_eq!(texts, ["shop", "GET", "/a?b", "a.example:8080"]);
    assert_eq!(
        (request.route.as_deref(), request.status),
        (Some("cart"), 404)
    );
    let [attempt] = &request.attempts[..] else {
        panic!("{request:?}");
    };
    assert_eq!(attempt.span_id, told.span_id());
    assert_ne!(attempt.span_id, request.span_id);
    assert_eq!((&*attempt.server, attempt.status), ("s1", Some(404)));
    assert_eq!(
        (attempt.failure, attempt.ended),
        (None, request.timers.total)
    );
    let reached = attempt.began + attempt.connect.unwrap() + request.timers.response.unwrap();
    assert!(reached <= attempt.ended, "{request:?}");
}

#[test]
fn each_attempt_has_a_span_and_each_server_that_was_reached_is_told_its_own() {
    let mut exported = exported(1);
    let (watch, traced) = exported.asks("");
    let first = traced.unwrap().parent;
    // One takes no connection, so it is told nothing.
    watch.server(&server(1));
    watch.retries(Some(ServerFailure::Connect));
    // One has closed the connection, is asked over another one, and has no answer.
    watch.server(&server(2));
    watch.connected(true);
    watch.retries(Some(ServerFailure::NoAnswer));
    let second = span_id(watch.renewed());
    watch.reconnects();
    watch.connected(false);
    watch.retries(Some(ServerFailure::NoAnswer));
    let third = span_id(watch.renewed());
    // One is busy.
    watch.server(&server(3));
    watch.connected(false);
    watch.turns_down(503);
    watch.retries(None);
    let last = span_id(watch.renewed());
    watch.server(&server(1));
    watch.connected(true);
    watch.answered(200);
    ends(&watch, Termination::NORMAL);
    let request = exported.next();
    assert_eq!(request.asked_by, None);
    let seen: Vec<_> = request.attempts.iter().collect();
    let of = |at: usize| (&*seen[at].server, seen[at].failure, seen[at].status);
    assert_eq!(of(0), ("s1", Some(ServerFailure::Connect), None));
    assert_eq!(of(1), ("s2", Some(ServerFailure::NoAnswer), None));
    assert_eq!(of(2), ("s2", Some(ServerFailure::NoAnswer), None));
    assert_eq!(of(3), ("s3", None, Some(503)));
    assert_eq!(of(4), ("s1", None, Some(200)));
    let ids: Vec<_> = seen.iter().map(|it| it.span_id).collect();
    assert_eq!(ids[1..], [first.span_id(), second, third, last]);
    let mut all = ids.clone();
    all.push(request.span_id);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "{ids:?}");
    assert!(seen.is_sorted_by(|one, next| one.ended <= next.began));
    assert!(seen.iter().all(|it| it.began <= it.ended));
    assert_eq!(request.spans(), 6);
}

#[test]
fn one_for_which_there_is_no_other_server_has_no_attempt_there() {
    let mut exported = exported(1);
    let (watch, _) = exported.asks("");
    watch.server(&server(1));
    watch.connected(false);
    watch.retries(Some(ServerFailure::NoAnswer));
    assert!(watch.renewed().is_some());
    ends(&watch, Termination::new(Cause::Server, Phase::Connect));
    assert_eq!(exported.next().attempts.len(), 1);
    let (watch, _) = exported.asks("");
    ends(&watch, Termination::new(Cause::Server, Phase::Connect));
    assert_eq!(exported.next().attempts, []);
}

#[test]
fn one_that_fails_in_the_end_says_at_what() {
    let mut exported = exported(1);
    let (watch, _) = exported.asks("");
    watch.server(&server(1));
    watch.connected(false);
    ends(
        &watch,
        Termination::new(Cause::ServerTimeout, Phase::Headers),
    );
    let [attempt] = &exported.next().attempts[..] else {
        panic!("there is one");
    };
    let failed = (attempt.status, attempt.failure);
    assert_eq!(failed, (None, Some(ServerFailure::AnswerTimeout)));
}

#[test]
fn what_is_not_sampled_is_not_kept() {
    let mut exported = exported(1);
    let (watch, traced) = exported.asks(&format!("traceparent: {UNSAMPLED}\r\n"));
    assert!(traced.is_some_and(|it| !it.parent.is_sampled()));
    watch.server(&server(1));
    watch.connected(false);
    watch.retries(Some(ServerFailure::NoAnswer));
    assert_eq!(watch.renewed(), None);
    ends(&watch, Termination::NORMAL);
    assert!(exported.requests.try_recv().is_err());
    assert_eq!(exported.queue.dropped(), 0);
}

#[test]
fn what_there_is_no_room_for_is_dropped_and_counted() {
    let mut exported = exported(2);
    for _ in 0..5 {
        let (watch, _) = exported.asks("");
        watch.server(&server(1));
        watch.connected(true);
        ends(&watch, Termination::NORMAL);
    }
    assert_eq!(exported.queue.dropped(), 3 * 2);
    exported.next();
    exported.next();
    assert!(exported.requests.try_recv().is_err());
}

#[test]
fn a_state_that_is_too_long_or_of_another_trace_is_left_out() {
    let mut exported = exported(2);
    let long = "a=".to_owned() + &"b".repeat(511);
    for fields in [
        format!("traceparent: {CLIENTS}\r\ntracestate: {long}\r\n"),
        "tracestate: a=b\r\n".to_owned(),
    ] {
        let (watch, _) = exported.asks(&fields);
        ends(&watch, Termination::NORMAL);
        assert_eq!(exported.next().trace_state, "");
    }
}

#[test]
fn a_head_is_patched_where_it_names_the_last_span() {
    let exported = exported(1);
    let (watch, traced) = exported.asks("");
    let before = traced.unwrap().parent.text();
    let head = |value: &[u8]| [b"GET / HTTP/1.1\r\ntraceparent: ", value, b"\r\n\r\n"].concat();
    let mut patched = head(&before);
    let renewal = watch.renewed().unwrap();
    renewal.patch(&mut patched);
    assert_eq!(patched, head(&renewal.now));
    assert_ne!(before, renewal.now);
    let mut other = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    renewal.patch(&mut other);
    assert_eq!(other, b"GET / HTTP/1.1\r\n\r\n");
}
