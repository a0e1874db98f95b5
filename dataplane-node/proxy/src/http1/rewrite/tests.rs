use std::num::NonZeroU64;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{
    http1::{FieldRoom, HeadLimits, IdentityField, Refusal},
    observe::TraceParent,
};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

fn forwarding(x_forwarded: ForwardedPolicy, forwarded: ForwardedPolicy) -> Forwarding<'static> {
    Forwarding {
        client: CLIENT,
        scheme: "http",
        host: None,
        edits: FieldEdits::NONE,
        x_forwarded,
        forwarded,
        identity: Identity::default(),
        traced: None,
    }
}

fn leave() -> Forwarding<'static> {
    forwarding(ForwardedPolicy::Leave, ForwardedPolicy::Leave)
}

/// A head of these lines.
fn head(lines: &[&str]) -> String {
    format!("{}\r\n\r\n", lines.join("\r\n"))
}

fn request(lines: &[&str], forwarding: &Forwarding<'_>) -> String {
    let head = head(lines);
    let mut room = FieldRoom::new();
    let parsed = RequestHead::parse(head.as_bytes(), &mut room, &HeadLimits::default()).unwrap();
    let request = Request::of(&parsed).unwrap();
    let mut out = Vec::new();
    write_request(&mut out, &parsed, &request, forwarding);
    String::from_utf8(out).unwrap()
}

fn response(lines: &[&str], method: &str, minor: u8) -> String {
    let head = head(lines);
    let mut room = FieldRoom::new();
    let parsed = ResponseHead::parse(head.as_bytes(), &mut room, &HeadLimits::default()).unwrap();
    let response = Response::of(&parsed, method).unwrap();
    let mut out = Vec::new();
    let persists = response.persists;
    write_response(
        &mut out,
        &parsed,
        &response,
        Answering {
            minor,
            persists,
            edits: FieldEdits::NONE,
        },
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_without_a_host_gets_an_empty_one() {
    let sent = request(&["GET /a HTTP/1.0", "X-Kept: 1"], &leave());
    assert_eq!(sent, head(&["GET /a HTTP/1.1", "Host: ", "X-Kept: 1"]));
    let host = Forwarding {
        host: Some("b"),
        ..leave()
    };
    assert_eq!(
        request(&["GET /a HTTP/1.0"], &host),
        head(&["GET /a HTTP/1.1", "Host: b"])
    );
}

#[test]
fn what_belongs_to_the_connection_stays_there() {
    let sent = request(
        &[
            "POST /a?b HTTP/1.1",
            "host: a",
            "Connection: keep-alive, X-Own",
            "Keep-Alive: timeout=5",
            "X-Own: 1",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: x",
            "TE: trailers",
            "Trailer: X",
            "X-Kept:  as it is ",
            "content-length: 005",
        ],
        &leave(),
    );
    let expected = [
        "POST /a?b HTTP/1.1",
        "Host: a",
        "X-Kept: as it is",
        "Content-Length: 5",
    ];
    assert_eq!(sent, head(&expected));
}

/// A line as it comes, and as it goes on if it does.
fn line() -> impl Strategy<Value = (&'static str, Option<&'static str>)> {
    select(&[
        ("A: b", Some("A: b")),
        ("accept-x: b c, d", Some("accept-x: b c, d")),
        ("B:b", Some("B: b")),
        ("C:   b", Some("C: b")),
        ("D: b \t", Some("D: b")),
        ("E:", Some("E: ")),
        ("F: ", Some("F: ")),
        ("G: a: b", Some("G: a: b")),
        ("Own-1: x", None),
        ("own-2:x", None),
        ("Keep-Alive: x", None),
        ("te: x", None),
        ("Close: x", None),
        ("Upgrade: x", None),
        ("Trailer: x", None),
        ("Proxy-Authenticate: x", None),
    ])
}

proptest! {
    /// Whatever stands beside them, and whether they are copied one by one or many at once.
    #[test]
    fn fields_go_on_in_their_order(lines in prop::collection::vec(line(), 0..12)) {
        let connection = "Connection: keep-alive, own-1 , OWN-2";
        let coming = lines.iter().map(|(coming, _)| *coming).chain([connection]);
        let going = lines.iter().filter_map(|(_, going)| *going);
        let start = ["GET / HTTP/1.1", "Host: a"];
        let sent = request(&start.into_iter().chain(coming.clone()).collect::<Vec<_>>(), &leave());
        prop_assert_eq!(sent, head(&start.into_iter().chain(going.clone()).collect::<Vec<_>>()));
        let start = ["HTTP/1.1 200 OK"];
        let end = ["Content-Length: 1"];
        let sent = response(&start.into_iter().chain(coming).chain(end).collect::<Vec<_>>(), "GET", 1);
        prop_assert_eq!(sent, head(&start.into_iter().chain(going).chain(end).collect::<Vec<_>>()));
    }
}

#[test]
fn numbers_and_addresses_are_as_others_write_them() {
    let mut out = Vec::new();
    let mut line = Line(&mut out);
    let numbers = [0, 7, 10, 1_234_567_890, u64::MAX];
    for number in numbers {
        line.decimal(number);
        line.all(&[b" "]);
    }
    let addresses = ["0.0.0.0", "192.0.2.10", "255.255.255.255", "2001:db8::1"];
    for address in addresses {
        line.address(address.parse().unwrap());
        line.all(&[b" "]);
    }
    let expected = numbers.map(|it| it.to_string()).join(" ") + " " + &addresses.join(" ") + " ";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn an_absolute_target_becomes_a_path() {
    let sent = request(
        &["GET http://a.example:80/x HTTP/1.1", "Host: A.example:80"],
        &leave(),
    );
    assert_eq!(sent, head(&["GET /x HTTP/1.1", "Host: a.example:80"]));
}

#[test]
fn an_upgrade_goes_on() {
    let lines = [
        "GET / HTTP/1.1",
        "Host: a",
        "Connection: Upgrade",
        "Upgrade: websocket",
    ];
    assert_eq!(
        request(&lines, &leave()),
        head(&[
            "GET / HTTP/1.1",
            "Host: a",
            "Connection: upgrade",
            "Upgrade: websocket"
        ])
    );
    // Nobody has asked for it on this connection.
    assert_eq!(
        request(&[lines[0], lines[1], lines[3]], &leave()),
        head(&["GET / HTTP/1.1", "Host: a"])
    );
}

#[test]
fn a_server_is_told_of_its_client_as_the_policy_says() {
    use ForwardedPolicy::{Append, Leave, Replace};
    let lines = [
        "GET / HTTP/1.1",
        "Host: a",
        "X-Forwarded-For: 192.0.2.1, 192.0.2.2",
        "x-forwarded-for: 192.0.2.3",
        "X-Forwarded-Proto: https",
        "Forwarded: for=192.0.2.1",
    ];
    assert_eq!(request(&lines, &forwarding(Leave, Leave)), head(&lines));
    assert_eq!(
        request(&lines, &forwarding(Replace, Replace)),
        head(&[
            lines[0],
            lines[1],
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: a",
            "Forwarded: for=198.51.100.7;host=\"a\";proto=http",
        ])
    );
    assert_eq!(
        request(&lines, &forwarding(Append, Append)),
        head(&[
            lines[0],
            lines[1],
            "X-Forwarded-For: 192.0.2.1, 192.0.2.2, 192.0.2.3, 198.51.100.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: a",
            "Forwarded: for=192.0.2.1, for=198.51.100.7;host=\"a\";proto=http",
        ])
    );
    let v6 = Forwarding {
        client: "2001:db8::7".parse().unwrap(),
        ..forwarding(Leave, Replace)
    };
    assert_eq!(
        request(&lines[..2], &v6),
        head(&[
            lines[0],
            lines[1],
            "Forwarded: for=\"[2001:db8::7]\";host=\"a\";proto=http"
        ])
    );
}

#[test]
fn a_trace_is_ours_once_we_take_part_in_it() {
    let lines = [
        "GET / HTTP/1.1",
        "Host: a",
        "TraceParent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate: a=b",
    ];
    assert_eq!(request(&lines, &leave()), head(&lines));
    let traced = |asked_by| Forwarding {
        traced: Some(Traced {
            parent: TraceParent::start(0x11, 0x23, true),
            asked_by: NonZeroU64::new(asked_by),
        }),
        ..leave()
    };
    let ours = "traceparent: 00-00000000000000000000000000000011-0000000000000023-01";
    assert_eq!(
        request(&lines, &traced(1)),
        head(&[lines[0], lines[1], lines[3], ours])
    );
    // A state belongs to the trace that is not taken over.
    assert_eq!(
        request(&lines, &traced(0)),
        head(&[lines[0], lines[1], ours])
    );
}

#[test]
fn answers_are_framed_for_their_client() {
    let ok = "HTTP/1.1 200 OK";
    let chunked = [ok, "Transfer-Encoding: chunked"];
    assert_eq!(response(&chunked, "GET", 1), head(&chunked));
    assert_eq!(
        response(&chunked, "GET", 0),
        head(&[ok, "Connection: keep-alive"])
    );
    // Until the server closes: the client's connection may go on.
    assert_eq!(
        response(&["HTTP/1.0 200 OK", "Server: x"], "GET", 1),
        head(&[
            ok,
            "Server: x",
            "Transfer-Encoding: chunked",
            "Connection: close"
        ])
    );
    let long = [ok, "Content-Length: 999"];
    assert_eq!(response(&long, "HEAD", 1), head(&long));
    assert_eq!(
        response(&["HTTP/1.1 204 No Content"], "GET", 1),
        head(&["HTTP/1.1 204 No Content"])
    );
    assert_eq!(
        response(
            &[
                "HTTP/1.1 101 Switching",
                "upgrade: x",
                "connection: upgrade"
            ],
            "GET",
            1
        ),
        head(&[
            "HTTP/1.1 101 Switching",
            "Connection: upgrade",
            "Upgrade: x"
        ])
    );
    let early = ["HTTP/1.1 103 Early Hints", "Link: </a>"];
    assert_eq!(response(&early, "GET", 1), head(&early));
}

#[test]
fn what_is_too_long_is_told_as_such() {
    let limits = HeadLimits {
        head_bytes: 64,
        target_bytes: 8,
        fields: 2,
    };
    let parse = |text: &str| {
        let end = crate::http1::head_end(text.as_bytes(), 0, &limits)?;
        let mut room = FieldRoom::new();
        let head = &text.as_bytes()[..end.expect("it is whole")];
        RequestHead::parse(head, &mut room, &limits).map(|_| ())
    };
    assert_eq!(parse(&head(&["GET /2345678 HTTP/1.1", "Host: a"])), Ok(()));
    let long = parse(&head(&["GET /23456789 HTTP/1.1", "Host: a"]));
    assert_eq!(long, Err(Refusal::TargetTooLong));
    let many = parse(&head(&["GET / HTTP/1.1", "Host: a", "a: b", "c: d"]));
    assert_eq!(many, Err(Refusal::TooManyFields));
    let large = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(64));
    assert_eq!(parse(&large), Err(Refusal::HeadTooLong));
    let lines = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(39));
    assert_eq!(
        (lines.len(), parse(&lines)),
        (65, Err(Refusal::HeadTooLong))
    );
}

#[test]
fn a_certificate_is_told_of_by_us_alone() {
    let names = [IdentityField::new("X-Client").unwrap()];
    let lines = b"X-Client: CN=us\r\n";
    let mut forwarding = leave();
    let said = [
        "GET / HTTP/1.1",
        "Host: a",
        "x-client: CN=them",
        "X_Client: CN=them",
        "X-Client-: kept",
    ];
    let begin = "GET / HTTP/1.1\r\nHost: a\r\n";
    forwarding.identity.names = &names;
    assert_eq!(
        request(&said, &forwarding),
        format!("{begin}X-Client-: kept\r\n\r\n")
    );
    forwarding.identity.lines = lines;
    assert_eq!(
        request(&said, &forwarding),
        format!("{begin}X-Client-: kept\r\nX-Client: CN=us\r\n\r\n")
    );
}

#[test]
fn names_are_tokens_that_frame_nothing() {
    for name in ["X-Client", "a", "x_y", "!#$%&'*+-.^_`|~09"] {
        assert!(IdentityField::new(name).is_some(), "{name}");
    }
    for name in [
        "",
        "a b",
        "a:",
        "a\r\n",
        "\u{fc}",
        "Host",
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "TE",
    ] {
        assert!(IdentityField::new(name).is_none(), "{name:?}");
    }
}
