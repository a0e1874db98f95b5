use std::{collections::BTreeMap, num::NonZeroU64};

use lbfabric_proxy::observe::{Phase, ServerFailure, Timers};

use super::*;

const BEGAN: Duration = Duration::new(1_795_764_113, 7);
const TRACE_ID: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

/// One that the second server has answered.
pub(in crate::seeing) fn request() -> TracedRequest {
    let attempt = |span_id, server: &str, began, ended| TracedAttempt {
        span_id,
        server: server.into(),
        address: ([10, 0, 0, 1], 8080).into(),
        began: Duration::from_millis(began),
        ended: Duration::from_millis(ended),
        connect: Some(Duration::ZERO),
        status: None,
        failure: None,
    };
    TracedRequest {
        trace_id: TRACE_ID,
        span_id: 0x11,
        asked_by: NonZeroU64::new(0x00f0_67aa_0ba9_02b7),
        trace_state: "a=b".to_owned(),
        began: BEGAN,
        timers: Timers {
            request: Some(Duration::ZERO),
            queue: Some(Duration::from_millis(2)),
            connect: None,
            response: Some(Duration::from_micros(1_500)),
            total: Duration::from_millis(40),
        },
        client: [192, 0, 2, 7].into(),
        service: "shop".to_owned(),
        route: Some("cart".to_owned()),
        protocol: Protocol::Http11,
        tls_version: Some("TLSv1.3".to_owned()),
        method: "GET".to_owned(),
        path: "/a?b=c?d".to_owned(),
        host: "shop.example:8443".to_owned(),
        user_agent: "curl/8".to_owned(),
        status: 200,
        received: 80,
        sent: 1234,
        termination: Termination::NORMAL,
        refusal: None,
        attempts: vec![
            TracedAttempt {
                status: Some(503),
                ..attempt(0x22, "s1", 2, 10)
            },
            TracedAttempt {
                status: Some(200),
                ..attempt(0x33, "s2", 10, 40)
            },
        ],
    }
}

/// As text.
fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let text = |it: &KeyValue| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    let attributes: BTreeMap<_, _> = attributes.map(|it| (&*it.key, text(it))).collect();
    assert_eq!(
        attributes.len(),
        span.attributes.len(),
        "a key is there once"
    );
    attributes
}

fn is_error(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|it| it.code() == StatusCode::Error)
}

fn nanos(millis: u64) -> u64 {
    1_795_764_113_000_000_007 + millis * 1_000_000
}

#[test]
fn a_request_has_the_ids_and_times_of_its_record() {
    let request = request();
    let made: Vec<_> = spans(&request).collect();
    let ids = |it: &Span| (it.span_id.clone(), it.parent_span_id.clone());
    let id = |it: u64| it.to_be_bytes().to_vec();
    let all: Vec<_> = made.iter().map(ids).collect();
    let expected = [
        (id(0x11), id(0x00f0_67aa_0ba9_02b7)),
        (id(0x22), id(0x11)),
        (id(0x33), id(0x11)),
    ];
    assert_eq!(all, expected);
    for span in &made {
        assert_eq!(span.trace_id, TRACE_ID.to_be_bytes());
        assert_eq!(span.trace_state, "a=b");
    }
    let times = |it: &Span| (it.start_time_unix_nano, it.end_time_unix_nano);
    let times: Vec<_> = made.iter().map(times).collect();
    let expected = [(0, 40), (2, 10), (10, 40)].map(|(from, to)| (nanos(from), nanos(to)));
    assert_eq!(times, expected);
    let kinds: Vec<_> = made.iter().map(Span::kind).collect();
    assert_eq!(
        kinds,
        [SpanKind::Server, SpanKind::Client, SpanKind::Client]
    );
    // The client's span is remote, that of the request is not.
    let flags: Vec<_> = made.iter().map(|it| it.flags).collect();
    assert_eq!(flags, [0x301, 0x101, 0x101]);
}

#[test]
fn one_that_begins_a_trace_has_no_parent() {
    let request = TracedRequest {
        asked_by: None,
        ..request()
    };
    let made = spans(&request).next().expect("there is one");
    assert_eq!((made.parent_span_id, made.flags), (vec![], 0x101));
}

#[test]
fn attributes_are_those_of_the_conventions() {
    let request = request();
    let made: Vec<_> = spans(&request).collect();
    assert_eq!(made[0].name, "GET cart");
    let expected = [
        ("client.address", "192.0.2.7"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("lbfabric.queue_ms", "2"),
        ("lbfabric.received_bytes", "80"),
        ("lbfabric.request_ms", "0"),
        ("lbfabric.response_ms", "1.5"),
        ("lbfabric.route", "cart"),
        ("lbfabric.sent_bytes", "1234"),
        ("lbfabric.service", "shop"),
        ("lbfabric.termination", "--"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "1.1"),
        ("server.address", "shop.example"),
        ("server.port", "8443"),
        ("tls.protocol.version", "1.3"),
        ("url.path", "/a"),
        ("url.query", "b=c?d"),
        ("url.scheme", "https"),
        ("user_agent.original", "curl/8"),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(key, text)| (key, text.to_owned())).into();
    assert_eq!(attributes(&made[0]), expected);
    let expected = [
        ("error.type", "503"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "503"),
        ("lbfabric.connect_ms", "0"),
        ("lbfabric.server", "s1"),
        ("network.peer.address", "10.0.0.1"),
        ("network.peer.port", "8080"),
        ("server.address", "10.0.0.1"),
        ("server.port", "8080"),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(key, text)| (key, text.to_owned())).into();
    assert_eq!((&*made[1].name, attributes(&made[1])), ("GET", expected));
    let second = attributes(&made[2]);
    assert_eq!(second["http.request.resend_count"], "1");
    assert!(!second.contains_key("error.type"), "{second:?}");
    let errors: Vec<_> = made.iter().map(is_error).collect();
    assert_eq!(errors, [false, true, false]);
}

#[test]
fn what_went_wrong_is_said() {
    let of = |status, cause, phase, refusal: Option<&str>| {
        let request = TracedRequest {
            status,
            termination: Termination::new(cause, phase),
            refusal: refusal.map(str::to_owned),
            ..request()
        };
        let span = spans(&request).next().expect("there is one");
        let error = attributes(&span).get("error.type").cloned();
        (error.unwrap_or_default(), is_error(&span))
    };
    for (status, cause, phase, refusal, error, is_error) in [
        (200, Cause::Normal, Phase::Done, None, "", false),
        (404, Cause::Normal, Phase::Done, None, "", false),
        (500, Cause::Normal, Phase::Done, None, "500", true),
        (503, Cause::Local, Phase::Request, None, "503", true),
        (429, Cause::Proxy, Phase::Request, Some("rate"), "", false),
        (502, Cause::Server, Phase::Connect, None, "connect", true),
        (
            504,
            Cause::ServerTimeout,
            Phase::Headers,
            None,
            "answer-timeout",
            true,
        ),
        (
            502,
            Cause::Proxy,
            Phase::Headers,
            Some("version"),
            "malformed",
            true,
        ),
        (503, Cause::Proxy, Phase::Queue, Some("full"), "full", true),
        (200, Cause::Server, Phase::Data, None, "broken", true),
        (200, Cause::Client, Phase::Data, None, "client-gone", false),
        (
            408,
            Cause::ClientTimeout,
            Phase::Request,
            None,
            "client-timeout",
            false,
        ),
    ] {
        let told = of(status, cause, phase, refusal);
        assert_eq!(
            told,
            (error.to_owned(), is_error),
            "{status} {cause:?} {phase:?}"
        );
    }
    let mut request = request();
    request.attempts[0].status = None;
    request.attempts[0].failure = Some(ServerFailure::NoAnswer);
    let attempt = spans(&request).nth(1).expect("there is one");
    assert_eq!(attributes(&attempt)["error.type"], "no-answer");
    assert!(is_error(&attempt));
}

#[test]
fn methods_and_hosts_are_of_few_kinds() {
    let request = TracedRequest {
        method: "MAKE\u{fffd}".to_owned(),
        route: None,
        host: String::new(),
        ..request()
    };
    let span = spans(&request).next().expect("there is one");
    let attributes = attributes(&span);
    assert_eq!(span.name, "HTTP");
    assert_eq!(attributes["http.request.method"], "_OTHER");
    assert_eq!(attributes["http.request.method_original"], "MAKE\u{fffd}");
    assert!(!attributes.contains_key("server.address"), "{attributes:?}");
    for (text, name, port) in [
        ("a.example", "a.example", None),
        ("a.example:80", "a.example", Some(80)),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:8080", "2001:db8::1", Some(8080)),
        ("a.example:", "a.example:", None),
    ] {
        assert_eq!(host(text), (name, port), "{text}");
    }
}

#[test]
fn the_resource_is_the_node() {
    let span = Span {
        attributes: resource("edge", "lb1").attributes,
        ..Span::default()
    };
    let attributes = attributes(&span);
    assert_eq!(attributes["service.name"], "edge");
    assert_eq!(attributes["service.instance.id"], "lb1");
    assert_eq!(attributes["service.version"], env!("CARGO_PKG_VERSION"));
}
