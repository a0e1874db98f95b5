//! Heads that are sound, as they go on over HTTP/1.1: the other side, which the slow reference of the tests stands for, reads the same message,
//! nothing that is only of one connection is left, and what has gone on once goes on again as it is.
#![no_main]

#[path = "../../tests/smuggling/reference.rs"]
mod reference;

use std::net::Ipv6Addr;

use lbfabric_proxy::http1::{
    Answering, Body, FieldEdits, FieldRoom, ForwardedPolicy, Forwarding, HeadLimits, Identity,
    Refusal, Request, RequestHead, Response, ResponseHead, head_end, write_request, write_response,
};
use libfuzzer_sys::fuzz_target;
use reference::Verdict;

const POLICIES: [ForwardedPolicy; 3] = [
    ForwardedPolicy::Leave,
    ForwardedPolicy::Replace,
    ForwardedPolicy::Append,
];
/// Whom HTTP/1.1 says nothing of behind a connection's end, RFC 9110 section 7.6.1, but for what is written anew.
const LEFT_BEHIND: [&str; 6] = [
    "te",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "proxy-authenticate",
    "proxy-authorization",
];

fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let end = head_end(bytes, 0, &HeadLimits::default()).ok()??;
    Some(&bytes[..end])
}

fn forwarded(bytes: &[u8], policy: ForwardedPolicy) -> Result<(Vec<u8>, bool, Body), Refusal> {
    let limits = HeadLimits {
        head_bytes: usize::MAX,
        ..HeadLimits::default()
    };
    let mut room = FieldRoom::new();
    let head = RequestHead::parse(bytes, &mut room, &limits)?;
    let request = Request::of(&head)?;
    let forwarding = Forwarding {
        client: Ipv6Addr::LOCALHOST.into(),
        scheme: "https",
        host: None,
        edits: FieldEdits::NONE,
        x_forwarded: policy,
        forwarded: policy,
        identity: Identity::default(),
        traced: None,
    };
    let mut out = Vec::new();
    write_request(&mut out, &head, &request, &forwarding);
    Ok((out, request.host.is_some(), request.body))
}

fn meant(body: Body) -> reference::Body {
    match body {
        Body::Length(length) => reference::Body::Length(length),
        Body::Chunked => reference::Body::Chunked,
        Body::UntilClose => reference::Body::UntilClose,
    }
}

/// Names of a head's fields, in lower case.
fn names(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).into_owned();
    let lines = text.split("\r\n").skip(1);
    let named = lines.filter_map(|line| line.split_once(':'));
    named.map(|(name, _)| name.to_ascii_lowercase()).collect()
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|it| *it == name).count()
}

fn check_request(bytes: &[u8]) {
    let Some(head) = whole(bytes) else {
        return;
    };
    for policy in POLICIES {
        let Ok((out, has_host, body)) = forwarded(head, policy) else {
            return;
        };
        let names = names(&out);
        assert!(!names.iter().any(|it| LEFT_BEHIND.contains(&it.as_str())));
        assert_eq!(count(&names, "host"), 1, "{}", out.escape_ascii());
        if policy != ForwardedPolicy::Leave {
            assert_eq!(count(&names, "forwarded"), 1);
            assert_eq!(count(&names, "x-forwarded-for"), 1);
        }
        // Whoever does not say a host is sent on without one, which the engine itself takes from nobody.
        let named = if has_host {
            out.clone()
        } else {
            let at = out.windows(8).position(|it| it == b"Host: \r\n");
            let at = at.expect("it is empty") + 6;
            [&out[..at], b"a", &out[at..]].concat()
        };
        // More than the reference takes of a client.
        if named.len() > 16_000 || names.len() > 100 {
            continue;
        }
        match reference::request(&named) {
            Verdict::Sound {
                length,
                body: again,
                persists,
            } => {
                assert_eq!(length, named.len(), "{}", out.escape_ascii());
                assert_eq!(again, meant(body), "{}", out.escape_ascii());
                assert!(persists, "{}", out.escape_ascii());
            }
            verdict @ (Verdict::Partial | Verdict::Refused) => {
                panic!("{verdict:?}: {}", out.escape_ascii())
            }
        }
        if policy == ForwardedPolicy::Leave {
            let again = forwarded(&named, policy).expect("it is sound");
            assert_eq!(again.0, named, "{}", out.escape_ascii());
        }
    }
}

fn answered(bytes: &[u8], method: &str, minor: u8) -> Result<(Vec<u8>, Response), Refusal> {
    let mut room = FieldRoom::new();
    let head = ResponseHead::parse(bytes, &mut room, &HeadLimits::default())?;
    let response = Response::of(&head, method)?;
    let answering = Answering {
        minor,
        persists: minor == 1,
        edits: FieldEdits::NONE,
    };
    let mut out = Vec::new();
    write_response(&mut out, &head, &response, answering);
    Ok((out, response))
}

fn check_response(bytes: &[u8]) {
    let Some(head) = whole(bytes) else {
        return;
    };
    for minor in [0, 1] {
        let Ok((out, response)) = answered(head, "GET", minor) else {
            return;
        };
        let names = names(&out);
        assert!(!names.iter().any(|it| LEFT_BEHIND.contains(&it.as_str())));
        if names.len() > 100 || out.len() > 16_000 {
            continue;
        }
        let expected = match (response.body, minor) {
            (Body::Length(length), _) => reference::Body::Length(length),
            (Body::Chunked | Body::UntilClose, 0) => reference::Body::UntilClose,
            (Body::Chunked | Body::UntilClose, _) => reference::Body::Chunked,
        };
        let Verdict::Sound { length, body, .. } = reference::response(&out) else {
            panic!("{}", out.escape_ascii());
        };
        assert_eq!(
            (length, body),
            (out.len(), expected),
            "{}",
            out.escape_ascii()
        );
        if minor == 1 {
            let again = answered(&out, "GET", minor).expect("it is sound");
            assert_eq!(again.0, out, "{}", out.escape_ascii());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    check_request(bytes);
    check_response(bytes);
});
