//! The engine and frames of HTTP/2 that are written by hand: `frames/requests.txt` has what fields and bodies become in HTTP/1.1, or that they are
//! refused, each with the section that it follows from; and floods end.
//!
//! `\r`, `\n`, `\s`, `\\` and `\x00` stand for the bytes. A verdict is `ok` with the method, the target, the host and the framing that the server
//! sees; or how the request is refused: `reset` and `goaway` with the code, `told` with the status, `broken` where either is right.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

#[path = "frames/draining.rs"]
mod draining;
#[path = "smuggling/escapes.rs"]
mod escapes;
#[path = "frames/floods.rs"]
mod floods;
#[path = "frames/server.rs"]
mod server;
#[path = "frames/websocket.rs"]
mod websocket;
#[path = "frames/wire.rs"]
mod wire;
#[path = "engine/worker.rs"]
mod worker;

use std::net::SocketAddr;

use escapes::unescaped;
use lbfabric_proxy::{ProxyConfig, http1::HeadLimits};
use server::Server;
use wire::{Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM};
use worker::engine;

struct Case<'a> {
    verdict: &'a str,
    body: &'a str,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    line: usize,
}

fn to(server: SocketAddr) -> ProxyConfig {
    ProxyConfig::to(&[server])
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, it)| !it.starts_with('#'));
    let cases = lines.map(|(line, text)| {
        let cells: Vec<_> = text.split(" | ").collect();
        let [verdict, section, body, fields @ ..] = &cells[..] else {
            panic!("line {line} is no case");
        };
        let rfcs = ["6585 ", "8441 ", "9110 ", "9112 ", "9113 "];
        assert!(rfcs.iter().any(|it| section.starts_with(it)), "line {line}");
        let field = |it: &&str| {
            // A colon or a space may begin a name. Without a value, it is empty.
            let name = it[1..].split(' ').next().unwrap_or_default().len() + 1;
            let value = it[name..].strip_prefix(' ').unwrap_or_default();
            (unescaped(&it[..name]), unescaped(value))
        };
        Case {
            verdict,
            body,
            fields: fields.iter().map(field).collect(),
            line,
        }
    });
    cases.collect()
}

/// Sends a case's stream, and says what comes of it.
fn run(case: &Case<'_>, engine: SocketAddr, server: &Server) -> String {
    let mut client = Client::connect(engine);
    let fields: Vec<(&[u8], &[u8])> = case.fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    let flags = if case.body == "end" { END_STREAM } else { 0 };
    client.request(1, flags, &fields);
    let parts: Vec<_> = case.body.split(' ').collect();
    for (at, part) in parts.iter().enumerate() {
        let last = if at + 1 == parts.len() { END_STREAM } else { 0 };
        // An engine that has closed already is no failure of the test.
        let _sent = match part.split_once('=') {
            Some(("data", data)) => client.send(DATA, last, 1, &unescaped(data)),
            Some(("trailers", trailer)) => {
                let at = trailer[1..].find(':').unwrap() + 1;
                let (name, value) = (unescaped(&trailer[..at]), unescaped(&trailer[at + 1..]));
                let block = wire::block(&[(&name, &value)]);
                client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block)
            }
            _ => Ok(()),
        };
    }
    let Some(frame) = client.next_of(&[HEADERS, RST_STREAM, GOAWAY]) else {
        return "closed".to_owned();
    };
    match frame.kind {
        RST_STREAM => format!("reset {}", frame.code()),
        GOAWAY => format!("goaway {}", frame.code()),
        _ if frame.status() == 200 => format!("ok {}", server.request()),
        _ => format!("told {}", frame.status()),
    }
}

#[test]
fn no_field_changes_the_framing() {
    let server = Server::start();
    let engine = engine(to(server.address));
    let cases = cases(include_str!("frames/requests.txt"));
    assert!(cases.len() > 250, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let got = run(case, engine, &server);
        let is_broken = got.starts_with("reset") || got.starts_with("goaway");
        if got != case.verdict && !(case.verdict == "broken" && is_broken) {
            wrong.push(format!("line {}: {got}, not {}", case.line, case.verdict));
        }
    }
    let none = server.none_more();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert_eq!(none, Ok(()));
}

#[test]
fn what_is_more_than_allowed_is_told() {
    let server = Server::start();
    let engine = engine(to(server.address));
    let limits = HeadLimits::default();
    let told = |path: &str, more: Vec<(Vec<u8>, Vec<u8>)>| {
        let mut fields = vec![
            (b":method".to_vec(), b"GET".to_vec()),
            (b":scheme".to_vec(), b"http".to_vec()),
            (b":path".to_vec(), path.as_bytes().to_vec()),
            (b":authority".to_vec(), b"a".to_vec()),
        ];
        fields.extend(more);
        let case = Case {
            verdict: "",
            body: "end",
            fields,
            line: 0,
        };
        run(&case, engine, &server)
    };
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    let longest = path(limits.target_bytes);
    assert_eq!(told(&longest, vec![]), format!("ok GET {longest} a none"));
    assert_eq!(told(&path(limits.target_bytes + 1), vec![]), "told 414");
    let fields = |count: usize| {
        let field = |n: usize| (format!("x-{n}").into_bytes(), b"y".to_vec());
        (0..count).map(field).collect::<Vec<_>>()
    };
    // The host is one of them.
    assert_eq!(told("/", fields(limits.fields - 1)), "ok GET / a none");
    assert_eq!(told("/", fields(limits.fields)), "told 431");
    let long = vec![(b"x-y".to_vec(), vec![b'z'; limits.head_bytes - 200])];
    assert_eq!(told("/", long), "told 431");
    assert_eq!(server.none_more(), Ok(()));
}
