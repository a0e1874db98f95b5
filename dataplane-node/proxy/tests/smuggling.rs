//! Messages that are understood in one way, or refused: `smuggling/requests.txt` and `smuggling/responses.txt`, each with its verdict and
//! the section that it follows from. `\r`, `\n`, `\t`, `\\` and `\x00` stand for what they do in Rust.
//!
//! A verdict is `ok`, with the body and whether the connection persists; or the name of a refusal; or `refused`, where several are right.

#[path = "smuggling/chunks.rs"]
mod chunks;
#[path = "smuggling/escapes.rs"]
mod escapes;

use chunks::Read;
use escapes::unescaped;
use lbfabric_proxy::http1::{
    Body, ChunkReader, Chunked, FieldRoom, HeadLimits, Refusal, Request, RequestHead, Response,
    ResponseHead, head_end,
};

struct Case<'a> {
    verdict: &'a str,
    /// Between the section and the message.
    method: &'a str,
    bytes: Vec<u8>,
    line: usize,
}

fn cases(text: &str, columns: usize) -> Vec<Case<'_>> {
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, it)| !it.starts_with('#'));
    let cases = lines.map(|(line, text)| {
        let cells: Vec<_> = text.splitn(columns, " | ").collect();
        let [verdict, section, .., bytes] = &cells[..] else {
            panic!("line {line} is no case");
        };
        assert!(
            section.starts_with("9110 ") || section.starts_with("9112 "),
            "line {line}"
        );
        Case {
            verdict,
            method: cells[2],
            bytes: unescaped(bytes),
            line,
        }
    });
    cases.collect()
}

/// Feeds a message in parts of a size, until its head is there.
fn head(bytes: &[u8], part: usize) -> Result<&[u8], Refusal> {
    let (mut seen, mut have) = (0, 0);
    loop {
        have = bytes.len().min(have + part);
        if let Some(end) = head_end(&bytes[..have], seen, &HeadLimits::default())? {
            return Ok(&bytes[..end]);
        }
        assert!(have < bytes.len(), "the head has no end");
        seen = have;
    }
}

fn described(body: Body, persists: bool) -> String {
    let body = match body {
        Body::Length(length) => length.to_string(),
        Body::Chunked => "chunked".to_owned(),
        Body::UntilClose => "close".to_owned(),
    };
    format!("ok body={body} {}", if persists { "keep" } else { "close" })
}

fn request(bytes: &[u8], part: usize) -> Result<String, Refusal> {
    let head = head(bytes, part)?;
    let mut room = FieldRoom::new();
    let parsed = RequestHead::parse(head, &mut room, &HeadLimits::default())?;
    let request = Request::of(&parsed)?;
    if request.body == Body::Chunked {
        Read::all(&bytes[head.len()..], std::iter::repeat(part))?;
    }
    Ok(described(request.body, request.persists))
}

fn response(bytes: &[u8], method: &str, part: usize) -> Result<String, Refusal> {
    let head = head(bytes, part)?;
    let mut room = FieldRoom::new();
    let parsed = ResponseHead::parse(head, &mut room, &HeadLimits::default())?;
    let response = Response::of(&parsed, method)?;
    if response.body == Body::Chunked {
        Read::all(&bytes[head.len()..], std::iter::repeat(part))?;
    }
    Ok(described(response.body, response.persists))
}

fn check(cases: &[Case<'_>], read: impl Fn(&Case<'_>, usize) -> Result<String, Refusal>) {
    let mut wrong = Vec::new();
    for case in cases {
        // However the bytes come.
        for part in [usize::MAX / 2, 1, 3] {
            let got = read(case, part);
            let is_right = match &got {
                Ok(described) => case.verdict == described,
                Err(refusal) => case.verdict == "refused" || case.verdict == refusal.name(),
            };
            if !is_right {
                let shown = case.bytes.escape_ascii();
                wrong.push(format!(
                    "line {}: {got:?}, not {}: {shown}",
                    case.line, case.verdict
                ));
                break;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn requests_are_understood_in_one_way_or_refused() {
    let cases = cases(include_str!("smuggling/requests.txt"), 3);
    assert!(cases.len() > 300, "{} cases", cases.len());
    check(&cases, |case, part| request(&case.bytes, part));
}

#[test]
fn responses_are_understood_in_one_way_or_refused() {
    let cases = cases(include_str!("smuggling/responses.txt"), 4);
    assert!(cases.len() > 90, "{} cases", cases.len());
    check(&cases, |case, part| {
        response(&case.bytes, case.method, part)
    });
}
