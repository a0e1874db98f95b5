//! Headers that are understood in one way, or refused: `proxy_protocol/headers.txt`, each with its verdict and the section that it follows
//! from.

#[path = "smuggling/escapes.rs"]
mod escapes;

use std::fmt::Write as _;

use escapes::unescaped;
use lbfabric_proxy::proxy_protocol::{Extras, Header, Origin, Tls, read};

struct Case<'a> {
    verdict: &'a str,
    header: Vec<u8>,
    behind: Vec<u8>,
    line: usize,
}

fn cases() -> Vec<Case<'static>> {
    let text = include_str!("proxy_protocol/headers.txt");
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, it)| !it.starts_with('#'));
    let cases = lines.map(|(line, text)| {
        let cells: Vec<_> = text.split(" | ").collect();
        let (verdict, header, behind) = match cells[..] {
            [verdict, section, header] if section.starts_with("2.") => (verdict, header, ""),
            [verdict, section, header, behind] if section.starts_with("2.") => {
                (verdict, header, behind)
            }
            _ => panic!("line {line} is no case"),
        };
        Case {
            verdict,
            header: bytes(header),
            behind: bytes(behind),
            line,
        }
    });
    cases.collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (inside, behind) = quoted.split_once('"').expect("a text has an end");
            bytes.extend(unescaped(inside));
            rest = behind.trim_start();
        } else {
            let (token, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            if token == "sig" {
                bytes.extend(b"\r\n\r\n\0\r\nQUIT\n");
            } else if let Some((count, byte)) = token.split_once('*') {
                let count = count.parse().expect("a number");
                bytes.extend(hexadecimal(byte).repeat(count));
            } else {
                bytes.extend(hexadecimal(token));
            }
            rest = behind.trim_start();
        }
    }
    bytes
}

fn hexadecimal(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    let pairs = (0..text.len()).step_by(2);
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
    pairs.map(byte).collect()
}

/// What a verdict says of a header.
fn described(header: &Header<'_>) -> String {
    let mut text = match header.origin {
        Origin::Proxy => "ok proxy".to_owned(),
        Origin::Unknown => "ok unknown".to_owned(),
        Origin::Client {
            client,
            service,
            is_datagram,
        } => {
            let kind = if is_datagram { " datagrams" } else { "" };
            format!("ok {client} {service}{kind}")
        }
    };
    let Extras {
        alpn,
        authority,
        unique_id,
        tls,
    } = header.extras;
    let lossless = |it: &[u8]| String::from_utf8(it.to_vec()).expect("the cases have text");
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            write!(text, " {name}={value}").expect("a text takes everything");
        }
    };
    add("alpn", alpn.map(lossless));
    add("authority", authority.map(str::to_owned));
    add("id", unique_id.map(lossless));
    add("tls", tls.map(|tls| described_tls(&tls)));
    text
}

fn described_tls(tls: &Tls<'_>) -> String {
    let facts = [
        (tls.is_used, "used"),
        (tls.has_certificate, "certificate"),
        (tls.has_certificate_in_session, "session"),
        (tls.is_verified, "verified"),
    ];
    let texts = [
        ("version", tls.version),
        ("cn", tls.common_name),
        ("cipher", tls.cipher),
        ("signature", tls.signature),
        ("key", tls.key),
    ];
    let facts = facts
        .iter()
        .filter(|it| it.0)
        .map(|(_, name)| (*name).to_owned());
    let texts = texts
        .iter()
        .filter_map(|(name, text)| Some(format!("{name}={}", (*text)?)));
    facts.chain(texts).collect::<Vec<_>>().join(" ")
}

fn verdict(bytes: &[u8]) -> (String, usize) {
    match read(bytes) {
        Err(refusal) => (refusal.name().to_owned(), 0),
        Ok(None) => ("partial".to_owned(), 0),
        Ok(Some((header, length))) => (described(&header), length),
    }
}

#[test]
fn each_header_has_its_verdict() {
    let cases = cases();
    assert!(cases.len() > 300, "{} cases", cases.len());
    for case in cases {
        let whole = [&case.header[..], &case.behind].concat();
        let (got, length) = verdict(&whole);
        assert_eq!(got, case.verdict, "line {}", case.line);
        let sound = case.verdict.starts_with("ok ");
        let expected = if sound { case.header.len() } else { 0 };
        assert_eq!(length, expected, "line {}", case.line);
        // A part of it is never something else.
        for count in 0..case.header.len() {
            let (part, _) = verdict(&case.header[..count]);
            let may_be = part == "partial" || !sound && part == case.verdict;
            assert!(may_be, "line {}, {count} bytes: {part}", case.line);
        }
    }
}
