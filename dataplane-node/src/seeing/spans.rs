//! Traced requests as OpenTelemetry's spans, with the attributes of its semantic conventions for HTTP, and the node's own below
//! `lbfabric.`: those of the access log.

use std::time::Duration;

use lbfabric_proto::otlp::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{Span, SpanFlags, Status, span::SpanKind, status::StatusCode},
};
use lbfabric_proxy::observe::{Cause, Protocol, Termination, TracedAttempt, TracedRequest};

/// The trace flags of what is recorded, W3C Trace Context section 3.2.2.5.
const SAMPLED: u32 = 1;

/// What all spans are of.
pub(crate) fn resource(service: &str, node: &str) -> Resource {
    let mut attributes = Attributes::default();
    attributes.text("service.name", service);
    attributes.text("service.instance.id", node);
    attributes.text("service.version", env!("CARGO_PKG_VERSION"));
    Resource {
        attributes: attributes.0,
        ..Resource::default()
    }
}

/// A span for the request, and one for each of its attempts.
pub(crate) fn spans(request: &TracedRequest) -> impl Iterator<Item = Span> {
    let attempts = (0..).zip(&request.attempts);
    let attempts = attempts.map(move |(at, attempt)| of_attempt(request, at, attempt));
    std::iter::once(of_request(request)).chain(attempts)
}

fn of_request(request: &TracedRequest) -> Span {
    let (method, original) = method(&request.method);
    let shown = if original.is_some() { "HTTP" } else { method };
    let is_ours =
        request.status >= 500 || matches!(cause(request), Cause::Server | Cause::ServerTimeout);
    let parent = request.asked_by.map_or(0, u64::from);
    Span {
        name: match &request.route {
            Some(route) => format!("{shown} {route}"),
            None => shown.to_owned(),
        },
        kind: SpanKind::Server.into(),
        attributes: attributes_of_request(request).0,
        status: is_ours.then(failed),
        ..span(
            request,
            (request.span_id, parent),
            (Duration::ZERO, request.timers.total),
        )
    }
}

fn attributes_of_request(request: &TracedRequest) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.method(request);
    let (path, query) = match request.path.split_once('?') {
        Some((path, query)) => (path, query),
        None => (&*request.path, ""),
    };
    attributes.text("url.path", path);
    attributes.text("url.query", query);
    let scheme = if request.tls_version.is_some() {
        "https"
    } else {
        "http"
    };
    attributes.text("url.scheme", scheme);
    let (host, port) = host(&request.host);
    attributes.text("server.address", host);
    attributes.number("server.port", port);
    attributes.text("client.address", &request.client.to_canonical().to_string());
    attributes.text("network.protocol.name", "http");
    attributes.text("network.protocol.version", version(request.protocol));
    let tls = request.tls_version.as_deref();
    attributes.text(
        "tls.protocol.version",
        tls.map_or("", |it| it.trim_start_matches("TLSv")),
    );
    attributes.text("user_agent.original", &request.user_agent);
    attributes.number(
        "http.response.status_code",
        Some(request.status).filter(|it| *it > 0),
    );
    attributes.text("error.type", &error(request));
    attributes.text("lbfabric.service", &request.service);
    attributes.text(
        "lbfabric.route",
        request.route.as_deref().unwrap_or_default(),
    );
    attributes.text(
        "lbfabric.refusal",
        request.refusal.as_deref().unwrap_or_default(),
    );
    let letters = request.termination.letters().map(char::from);
    attributes.text("lbfabric.termination", &String::from_iter(letters));
    attributes.number("lbfabric.received_bytes", Some(request.received));
    attributes.number("lbfabric.sent_bytes", Some(request.sent));
    let timers = &request.timers;
    attributes.time("lbfabric.request_ms", timers.request);
    attributes.time("lbfabric.queue_ms", timers.queue);
    attributes.time("lbfabric.connect_ms", timers.connect);
    attributes.time("lbfabric.response_ms", timers.response);
    attributes
}

fn of_attempt(request: &TracedRequest, at: u32, attempt: &TracedAttempt) -> Span {
    let mut attributes = Attributes::default();
    attributes.method(request);
    let address = attempt.address.ip().to_canonical().to_string();
    for name in ["server.address", "network.peer.address"] {
        attributes.text(name, &address);
    }
    for name in ["server.port", "network.peer.port"] {
        attributes.number(name, Some(attempt.address.port()));
    }
    attributes.number("http.request.resend_count", Some(at).filter(|at| *at > 0));
    attributes.number("http.response.status_code", attempt.status);
    // Of a client, 4xx is one as well.
    let status = attempt.status.filter(|it| *it >= 400);
    let error = match attempt.failure {
        Some(failure) => failure.name().to_owned(),
        None => status.map(|it| it.to_string()).unwrap_or_default(),
    };
    attributes.text("error.type", &error);
    attributes.text("lbfabric.server", &attempt.server);
    attributes.time("lbfabric.connect_ms", attempt.connect);
    let (method, original) = method(&request.method);
    Span {
        name: if original.is_some() { "HTTP" } else { method }.to_owned(),
        kind: SpanKind::Client.into(),
        attributes: attributes.0,
        status: (!error.is_empty()).then(failed),
        ..span(
            request,
            (attempt.span_id, request.span_id),
            (attempt.began, attempt.ended),
        )
    }
}

/// What spans have in common. Only the client's span is somebody else's.
fn span(
    request: &TracedRequest,
    (id, parent): (u64, u64),
    (began, ended): (Duration, Duration),
) -> Span {
    let is_remote = id == request.span_id && parent != 0;
    let remote = if is_remote {
        SpanFlags::ContextIsRemoteMask as u32
    } else {
        0
    };
    let at = |since: Duration| {
        let nanos = (request.began + since).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    };
    Span {
        trace_id: request.trace_id.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: match parent {
            0 => Vec::new(),
            parent => parent.to_be_bytes().to_vec(),
        },
        trace_state: request.trace_state.clone(),
        flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
        start_time_unix_nano: at(began),
        end_time_unix_nano: at(ended),
        ..Span::default()
    }
}

fn failed() -> Status {
    Status {
        code: StatusCode::Error.into(),
        ..Status::default()
    }
}

const fn cause(request: &TracedRequest) -> Cause {
    let Termination { cause, phase: _ } = request.termination;
    cause
}

/// What went wrong, if anything did: in a few words, of which there are few.
fn error(request: &TracedRequest) -> String {
    let failure = request.termination.server_failure();
    let why = match cause(request) {
        Cause::Client => "client-gone",
        Cause::ClientTimeout => "client-timeout",
        Cause::Server | Cause::ServerTimeout | Cause::Proxy | Cause::Normal | Cause::Local => {
            failure.map_or("", |it| it.name())
        }
    };
    let refusal = request.refusal.as_deref();
    match (why, request.status) {
        ("", 500..) => refusal.map_or_else(|| request.status.to_string(), str::to_owned),
        (why, _) => why.to_owned(),
    }
}

/// A method that is known, or the conventions' word for others with what it was.
fn method(method: &str) -> (&str, Option<&str>) {
    match method {
        "CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "QUERY"
        | "TRACE" => (method, None),
        other => ("_OTHER", Some(other)),
    }
}

/// The host that the client asks for, and the port if it names one.
fn host(host: &str) -> (&str, Option<u16>) {
    if let Some((name, port)) = host.rsplit_once(':')
        && let Ok(port) = port.parse()
    {
        return (bare(name), Some(port));
    }
    (bare(host), None)
}

/// An address of IPv6 without its brackets.
fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// As the conventions write it.
const fn version(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::Http2 => "2",
        // They have no requests.
        Protocol::Tcp | Protocol::Tls | Protocol::Udp => "",
    }
}

/// Attributes of a span; those that say nothing are left out.
#[derive(Debug, Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn put(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, Value::StringValue(text.to_owned()));
        }
    }

    fn number(&mut self, key: &str, number: Option<impl TryInto<i64>>) {
        if let Some(number) = number {
            self.put(key, Value::IntValue(number.try_into().unwrap_or(i64::MAX)));
        }
    }

    fn time(&mut self, key: &str, time: Option<Duration>) {
        if let Some(time) = time {
            self.put(key, Value::DoubleValue(time.as_secs_f64() * 1000.0));
        }
    }

    fn method(&mut self, request: &TracedRequest) {
        let (method, original) = method(&request.method);
        self.text("http.request.method", method);
        self.text("http.request.method_original", original.unwrap_or_default());
    }
}

#[cfg(test)]
pub(super) mod tests;
