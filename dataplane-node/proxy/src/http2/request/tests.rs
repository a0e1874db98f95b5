use super::*;
use crate::http1::{FieldEdits, ForwardedPolicy, Identity};

fn parts(fields: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method("POST");
    request = request.uri("https://a.example:8443/b?c");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn writing(is_whole: bool, x_forwarded: ForwardedPolicy) -> Writing<'static> {
    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 16_384,
        target_bytes: 1_000,
        fields: 20,
    };
    Writing {
        forwarding: Forwarding {
            client: std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)),
            scheme: "https",
            host: None,
            edits: FieldEdits::NONE,
            identity: Identity::default(),
            x_forwarded,
            forwarded: ForwardedPolicy::Leave,
            traced: None,
        },
        limits: &LIMITS,
        is_whole,
        config: Box::leak(Box::default()),
        routes: Box::leak(Box::default()),
        watch: Box::leak(Box::new(Watch::of(None))),
        key: "dGhlIHNhbXBsZSBub25jZQ==",
    }
}

fn written(parts: &Parts, writing: &Writing<'_>) -> (Vec<String>, Asked) {
    let mut out = Vec::new();
    let (asked, _) = write(&mut out, parts, writing).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
    (lines.map(str::to_owned).collect(), asked)
}

#[test]
fn a_request_is_written_as_one_of_http1() {
    let parts = parts(&[
        ("content-length", "3"),
        ("te", "trailers"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-kept", "as it is"),
        ("cookie", "c=d"),
    ]);
    let (lines, asked) = written(&parts, &writing(false, ForwardedPolicy::Append));
    assert_eq!(
        lines,
        [
            "POST /b?c HTTP/1.1",
            "Host: a.example:8443",
            "x-kept: as it is",
            "cookie: a=b; c=d",
            "Content-Length: 3",
            "X-Forwarded-For: 192.0.2.1, 198.51.100.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: a.example:8443",
        ]
    );
    let wanted = Asked {
        method: "",
        body: Body::Length(3),
        is_idempotent: false,
        is_tunnel: false,
    };
    assert_eq!(asked, wanted);
}

#[test]
fn the_framing_is_ours() {
    let framing = |fields: &[(&str, &str)], is_whole: bool| {
        let (lines, asked) = written(&parts(fields), &writing(is_whole, ForwardedPolicy::Leave));
        (lines[2..].join("|"), asked.body)
    };
    let chunked = ("Transfer-Encoding: chunked".to_owned(), Body::Chunked);
    assert_eq!(framing(&[], false), chunked);
    let length = |it: u64| (format!("Content-Length: {it}"), Body::Length(it));
    assert_eq!(framing(&[], true), length(0));
    assert_eq!(framing(&[("content-length", "5")], false), length(5));
    assert_eq!(framing(&[("content-length", "0")], true), length(0));
}

#[test]
fn a_websocket_becomes_an_upgrade() {
    let mut parts = parts(&[
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "ours is another"),
        ("content-length", "3"),
    ]);
    parts.method = Method::CONNECT;
    let protocol = h2::ext::Protocol::from_static("websocket");
    parts.extensions.insert(protocol);
    let (lines, asked) = written(&parts, &writing(false, ForwardedPolicy::Leave));
    assert_eq!(
        lines,
        [
            "GET /b?c HTTP/1.1",
            "Host: a.example:8443",
            "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "Connection: upgrade",
            "Upgrade: websocket",
        ]
    );
    assert!(asked.is_tunnel && !asked.is_idempotent);
    assert_eq!(asked.body, Body::Length(0));
}

#[test]
fn a_head_of_http1_becomes_one_of_http2() {
    let head = Bytes::from_static(
        b"POST /b?c HTTP/1.1\r\nHost: a:80\r\nX-Kept: as it is\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    );
    let limits = HeadLimits::default();
    let request = convert(&head, &limits, "http", true).unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), "http://a:80/b?c");
    let fields: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(fields, [("x-kept", "as it is"), ("te", "trailers")]);
    let without = convert(&head, &limits, "http", false).unwrap();
    assert!(!without.headers().contains_key("te"));
    // HTTP/1.0 may leave the host out, HTTP/2 may not.
    let no_host = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
    assert!(convert(&no_host, &limits, "http", false).is_none());
}
