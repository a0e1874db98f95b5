//! Traces from curl through the engine to nginx: what the client says, what the collector gets and what the servers have seen are of one trace.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lbfabric_node::{NodeConfig, Role, TraceCollector};
use lbfabric_proto::{
    otlp::trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
    v1,
};

use crate::{
    fixture::{Fixture, attached, eventually},
    l7_clients::curl,
    l7_served::service,
    nginx::Nginx,
    played_collector::{PlayedCollector, attribute, hexadecimal},
    played_controller::PlayedController,
    seeing::{METRICS, counted},
    specs,
};

const COLLECTOR: &str = "127.0.0.1:4317";
/// The span that the client asks by.
const ASKED_BY: &str = "00f067aa0ba902b7";
/// Where services are reached, and where their servers listen: for HTTP/1.1 and for HTTP/2.
const VERSIONS: [(&str, u32, bool); 2] = [("81", 8081, false), ("82", 8082, true)];

/// One server has no time, the other one answers. Both write what they were told.
fn servers(log: &Path) -> String {
    let log = log.display();
    let server = |address: &str, status: u16| {
        format!(
            "server {{
                listen {address}:80; listen {address}:8081; listen {address}:8082 http2;
                access_log {log} told; return {status};
            }}"
        )
    };
    format!(
        "log_format told '$server_addr $status $http_traceparent $http_tracestate'; {} {}",
        server("10.88.0.2", 503),
        server("10.88.0.3", 200)
    )
}

/// Requests that meet the server without time are sent to the other one.
fn spec() -> v1::FabricSpec {
    let mut pool = specs::probed_pool();
    pool.backends[0].addresses.truncate(1);
    pool.backends.push(v1::BackendSpec {
        name: "s2".to_owned(),
        addresses: vec!["10.88.0.3".to_owned()],
        ..v1::BackendSpec::default()
    });
    let route = v1::RouteSpec {
        name: "all".to_owned(),
        r#match: Some(v1::RouteMatchSpec {
            path_prefix: "/".to_owned(),
            ..v1::RouteMatchSpec::default()
        }),
        forward: Some(v1::RouteForwardSpec {
            retries: Some(v1::RouteRetriesSpec {
                attempts: 1,
                on: vec![v1::RetryOn::RetryOn503.into()],
                budget_percent: 100,
                any_method: false,
            }),
            ..v1::RouteForwardSpec::default()
        }),
        ..v1::RouteSpec::default()
    };
    let traced = |(port, servers_port, is_http2): (&str, u32, bool)| {
        let proxy = v1::ProxySpec {
            trace: Some(v1::TraceSpec::default()),
            routes: vec![route.clone()],
            http2: Some(v1::Http2Spec {
                servers: is_http2,
                ..v1::Http2Spec::default()
            }),
            ..v1::ProxySpec::default()
        };
        service(&format!("web{port}"), port, servers_port, proxy)
    };
    v1::FabricSpec {
        pools: vec![pool],
        services: VERSIONS.map(traced).into(),
        ..v1::FabricSpec::default()
    }
}

/// What a server was told: `ADDRESS STATUS TRACEPARENT TRACESTATE`.
fn told(log: &Path, trace_id: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().filter(|it| it.contains(trace_id));
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    lines.map(words).collect()
}

fn both_healthy(report: &v1::NodeReport) -> bool {
    let healthy = report.backends.iter().filter(|it| it.healthy).count();
    attached(report) && report.refusals.is_empty() && healthy == 2
}

/// A request of a trace that the client has begun.
fn ask(fixture: &Fixture, port: &str, version: &str, (trace_id, flags): (&str, &str)) {
    let parent = format!("traceparent: 00-{trace_id}-{ASKED_BY}-{flags}");
    let url = format!("http://10.99.0.1:{port}/some/path?of=it");
    let fields = ["--header", &parent, "--header", "tracestate: vendor=one"];
    let arguments = [&[version, "--fail"][..], &fields, &[&url]].concat();
    curl(&fixture.peer, &arguments).expect("an answer");
}

fn millis(span: &Span, key: &str) -> f64 {
    let text = attribute(span, key).expect(key);
    text.parse().expect("a number")
}

/// The spans of a trace are what its servers were told.
async fn check(collector: &PlayedCollector, log: &Path, trace_id: &str, version: &str) -> usize {
    let spans = eventually("the spans", || {
        let spans = collector.spans_of(trace_id);
        (!spans.is_empty()).then_some(spans)
    })
    .await;
    // It ends the request, so it comes with the attempts' spans.
    let (server, attempts): (Vec<_>, Vec<_>) =
        spans.iter().partition(|it| it.kind() == SpanKind::Server);
    let [server] = server[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(hexadecimal(&server.parent_span_id), ASKED_BY);
    assert_eq!(
        (&*server.name, &*server.trace_state),
        ("GET all", "vendor=one")
    );
    for (key, text) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/some/path"),
        ("url.query", "of=it"),
        ("url.scheme", "http"),
        ("server.address", "10.99.0.1"),
        ("client.address", "10.88.0.2"),
        ("network.protocol.version", version),
        ("lbfabric.route", "all"),
    ] {
        assert_eq!(attribute(server, key).as_deref(), Some(text), "{key}");
    }
    assert!(server.status.is_none() && attribute(server, "error.type").is_none());
    let parts = ["request_ms", "queue_ms", "connect_ms", "response_ms"];
    let sum: f64 = parts
        .map(|it| millis(server, &format!("lbfabric.{it}")))
        .iter()
        .sum();
    let took = Duration::from_nanos(server.end_time_unix_nano - server.start_time_unix_nano);
    assert!(
        sum > 0.0 && sum <= took.as_secs_f64() * 1000.0 + 0.001,
        "{sum} {took:?}"
    );

    // nginx writes when it is done, which the client may be before.
    let seen = || Some(told(log, trace_id)).filter(|it| it.len() == attempts.len());
    let told = eventually("as many lines as attempts", seen).await;
    for (at, (attempt, told)) in attempts.iter().zip(&told).enumerate() {
        let [address, status, parent, state] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(attempt.kind(), SpanKind::Client);
        assert_eq!(attempt.parent_span_id, server.span_id);
        let expected = format!("00-{trace_id}-{}-01", hexadecimal(&attempt.span_id));
        assert_eq!((parent, &**state), (&expected, "vendor=one"));
        assert_eq!(
            attribute(attempt, "network.peer.address").as_ref(),
            Some(address)
        );
        assert_eq!(
            attribute(attempt, "http.response.status_code").as_ref(),
            Some(status)
        );
        let is_error = attempt.status.as_ref().map(Status::code) == Some(StatusCode::Error);
        assert_eq!(is_error, status == "503");
        let resent = attribute(attempt, "http.request.resend_count");
        assert_eq!(resent, (at > 0).then(|| at.to_string()));
        assert!(server.start_time_unix_nano <= attempt.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano <= server.end_time_unix_nano);
    }
    let ids: BTreeSet<_> = spans.iter().map(|it| &it.span_id).collect();
    assert_eq!(ids.len(), spans.len());
    attempts.len()
}

#[test]
fn what_clients_say_servers_hear_and_the_collector_gets_is_one_trace() {
    let fixture = Fixture::new();
    fixture.route_vips();
    fixture.node.ip(&["link", "set", "lo", "up"]);
    fixture
        .peer
        .ip(&["addr", "add", "10.88.0.3/24", "dev", "sv0"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("told");
    let listens = ["10.88.0.2:80", "10.88.0.3:8082"];
    let _nginx = Nginx::start(&fixture.peer, &servers(&log), &[], &listens);
    fixture.run(|| async {
        let collector = PlayedCollector::start(COLLECTOR.parse().expect("an address")).await;
        let mut controller = PlayedController::start().await;
        controller.apply(&spec());
        let config = NodeConfig {
            metrics_address: Some(METRICS.parse().expect("an address")),
            trace_collector: Some(TraceCollector {
                url: format!("http://{COLLECTOR}"),
                service_name: "edge".to_owned(),
            }),
            ..fixture.config(Role::LoadBalancer, controller.address)
        };
        let agent = fixture.start(config).await;
        eventually("the services", || controller.report_if(both_healthy)).await;
        let mut traces = 0_u32;
        let mut next = || {
            traces += 1;
            format!("4bf92f3577b34da6a3ce929d{traces:08x}")
        };
        let clients = [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")];
        for ((port, ..), (client, version)) in VERSIONS
            .into_iter()
            .flat_map(|it| clients.map(|client| (it, client)))
        {
            let silent = next();
            ask(&fixture, port, client, (&silent, "00"));
            // Until one has met both servers.
            let begun = Instant::now();
            loop {
                let trace_id = next();
                ask(&fixture, port, client, (&trace_id, "01"));
                if check(&collector, &log, &trace_id, version).await == 2 {
                    break;
                }
                assert!(
                    begun.elapsed() < Duration::from_mins(1),
                    "always the same server"
                );
            }
            let told = told(&log, &silent);
            assert!(told[0][2].ends_with("-00"), "{told:?}");
            assert_eq!(collector.spans_of(&silent), []);
        }
        // One that begins here.
        let before = collector.spans().len();
        curl(&fixture.peer, &["http://10.99.0.1:81/"]).expect("an answer");
        let more = || collector.spans().into_iter().nth(before);
        let begun = eventually("a span", more).await;
        assert_eq!((begun.parent_span_id, &*begun.trace_state), (vec![], ""));

        let resource = [("service.instance.id", "lb1"), ("service.name", "edge")];
        for (key, text) in resource {
            assert!(
                collector
                    .resources()
                    .contains(&(key.to_owned(), text.to_owned()))
            );
        }
        let sent = collector.spans().len();
        let line = format!("lbfabric_l7_spans_total{{result=\"sent\"}} {sent}");
        counted(&fixture.node, &line).await;
        agent.stop().await;
    });
}
