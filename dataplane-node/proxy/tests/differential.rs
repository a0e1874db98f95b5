//! The engine's reading of heads against a slow one: of messages that are sound, nearly sound, and anything.

#[path = "smuggling/engine.rs"]
mod engine;
#[path = "smuggling/reference.rs"]
mod reference;

use engine::{request, response};
use proptest::{prelude::*, sample::select, strategy::ValueTree as _};
use reference::Verdict;

/// Of a request or a response: the first is sound, as most others are.
fn line(is_request: bool) -> impl Strategy<Value = &'static str> {
    let (sound, odd) = if is_request {
        (
            &[
                "GET / HTTP/1.1",
                "POST /a?b HTTP/1.1",
                "GET http://a/ HTTP/1.1",
                "GET / HTTP/1.0",
                "OPTIONS * HTTP/1.1",
            ][..],
            &[
                "GET  / HTTP/1.1",
                "GET / HTTP/1.2",
                "GET /#a HTTP/1.1",
                "G(T / HTTP/1.1",
                "GET /\u{e9} HTTP/1.1",
                "CONNECT a:80 HTTP/1.1",
                "GET * HTTP/1.1",
            ][..],
        )
    } else {
        (
            &[
                "HTTP/1.1 200 OK",
                "HTTP/1.0 200 OK",
                "HTTP/1.1 204 ",
                "HTTP/1.1 304 x",
                "HTTP/1.1 101 x",
                "HTTP/1.1 200",
            ][..],
            &[
                "HTTP/1.1  200 x",
                "HTTP/2.0 200 x",
                "HTTP/1.1 99 x",
                "HTTP/1.1 2000 x",
                "HTTP/1.1 500 \u{e9}",
                "HTTP/1.1 500 \u{1}",
                "HTTP/1.1 100 x",
            ][..],
        )
    };
    prop_oneof![9 => select(sound), 1 => select(odd)]
}

fn field() -> impl Strategy<Value = &'static str> {
    let sound = &[
        "X-A: b",
        "x-a:",
        "Content-Length: 5",
        "content-length:0",
        "Connection: close",
        "Connection: x, keep-alive",
        "Upgrade: a",
        "Content-Lengt: 6",
        "Accept: \u{e9}",
        "X-A: \t b: c \t",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
    ][..];
    let odd = &[
        "Host: a",
        "Host: b:80",
        "Content-Length: 05",
        "Content-Length: 5, 5",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding : chunked",
        "X A: b",
        ": b",
        "X-A",
        "X-A: \u{0}",
        " X-A: b",
        "Expect: x",
        "Content-Length: 9223372036854775808",
        "X-A: a\rb",
    ][..];
    prop_oneof![6 => select(sound), 1 => select(odd)]
}

/// A message, sometimes with a byte changed; or only bytes of the kind that messages are made of; or one that is cut off.
fn message(is_request: bool) -> impl Strategy<Value = Vec<u8>> {
    let end = || prop_oneof![40 => Just("\r\n"), 1 => select(&["\n", "\r", "\r\r\n", "\r\n "][..])];
    let host = prop_oneof![9 => Just("Host: a"), 1 => select(&["Host: a:80", "host:[::1]", "Host: ", "Host: a b", "X: y"][..])];
    let fields = prop::collection::vec((field(), end()), 0..4);
    let built = (line(is_request), host, end(), fields, end()).prop_map(
        |(line, host, end, fields, last)| {
            let mut text = [line, end, host, end].concat();
            for (field, end) in fields {
                text.push_str(field);
                text.push_str(end);
            }
            text.push_str(last);
            text.push_str("rest");
            text.into_bytes()
        },
    );
    let byte = select(&b"\r\n\t :;,/AaHh01\x00\x7f\xff#\"[]"[..]);
    let change = (any::<prop::sample::Index>(), byte.clone());
    let cut = any::<prop::sample::Index>();
    let disturbed = (
        built,
        prop::option::weighted(0.3, change),
        prop::option::weighted(0.1, cut),
    );
    let disturbed = disturbed.prop_map(|(mut bytes, change, cut)| {
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    });
    prop_oneof![9 => disturbed, 1 => prop::collection::vec(byte, 0..60)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn requests_are_read_as_the_reference_reads_them(bytes in message(true)) {
        prop_assert_eq!(request(&bytes), reference::request(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn responses_are_read_as_the_reference_reads_them(bytes in message(false)) {
        prop_assert_eq!(response(&bytes), reference::response(&bytes), "{}", bytes.escape_ascii());
    }
}

/// What is compared is of every kind.
#[test]
fn messages_are_sound_refused_and_partial() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for (is_request, read) in [(true, request as fn(&[u8]) -> Verdict), (false, response)] {
        let mut counts = [0; 3];
        for _ in 0..2_000 {
            let tree = message(is_request).new_tree(&mut runner);
            let bytes = tree.expect("it generates").current();
            counts[match read(&bytes) {
                Verdict::Partial => 0,
                Verdict::Refused => 1,
                Verdict::Sound { .. } => 2,
            }] += 1;
        }
        assert!(counts.iter().all(|it| *it >= 100), "{counts:?}");
    }
}
