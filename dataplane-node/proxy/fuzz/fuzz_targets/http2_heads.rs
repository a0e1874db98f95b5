//! Heads between HTTP/2 and HTTP/1.1: a request that goes on is one to the slow reference of the tests, with the framing that was meant and the
//! fields that came, and comes back the same; an answer has nothing that HTTP/2 does not have.
#![no_main]

#[path = "../../tests/smuggling/reference.rs"]
mod reference;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, request::Parts, uri};
use lbfabric_proxy::{
    http1::{HeadLimits, head_end},
    readings::{KEY, http1_request, http2_request, http2_response},
};
use libfuzzer_sys::fuzz_target;
use reference::Verdict;

/// What no message of HTTP/2 has, RFC 9113 section 8.2.2: the codec refuses it of clients.
const OF_CONNECTION: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];
/// What does not go on besides.
const LEFT_BEHIND: [&str; 5] = [
    "te",
    "trailer",
    "close",
    "proxy-authenticate",
    "proxy-authorization",
];

/// As the codec makes one of a header block: a line each for the method, the scheme, the authority and the path; the others are fields.
fn parts(bytes: &[u8], is_websocket: bool) -> Option<Parts> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let method = Method::from_bytes(lines.next()?).ok()?;
    let scheme = lines.next()?;
    let authority = lines.next()?;
    let path = lines.next()?;
    let mut of_uri = uri::Parts::default();
    if !authority.is_empty() {
        of_uri.authority = Some(authority.try_into().ok()?);
        of_uri.scheme = Some(scheme.try_into().ok()?);
    }
    if !path.is_empty() {
        of_uri.path_and_query = Some(path.try_into().ok()?);
    }
    let mut fields = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon]).ok()?;
        if !OF_CONNECTION.contains(&name.as_str()) {
            fields.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
        }
    }
    let mut request = Request::new(());
    *request.method_mut() = if is_websocket {
        Method::CONNECT
    } else {
        method
    };
    *request.uri_mut() = Uri::from_parts(of_uri).ok()?;
    *request.headers_mut() = fields;
    if is_websocket {
        let protocol = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
    }
    Some(request.into_parts().0)
}

/// The fields of a head of HTTP/1.1, names in lower case.
fn fields(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = head.strip_suffix(b"\r\n\r\n").expect("it ends");
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    let fields = lines.map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.windows(2).position(|it| it == b": ").expect("a field");
        let name = String::from_utf8(line[..colon].to_vec()).expect("a token");
        (name.to_ascii_lowercase(), line[colon + 2..].to_vec())
    });
    fields.collect()
}

/// The fields that have to go on, in their order: cookies as one, behind all others.
fn expected(parts: &Parts, is_websocket: bool) -> Vec<(String, Vec<u8>)> {
    let all = || parts.headers.iter();
    let cookies: Vec<_> = all()
        .filter(|it| it.0 == "cookie")
        .map(|it| it.1.as_bytes())
        .collect();
    let is_one = |name: &str| name == "cookie" && cookies.len() > 1;
    let stays = |name: &str| {
        name == "host"
            || name == "content-length"
            || LEFT_BEHIND.contains(&name)
            || is_websocket && name == "sec-websocket-key"
            || is_one(name)
    };
    let kept = all().filter(|(name, _)| !stays(name.as_str()));
    let mut fields: Vec<_> = kept
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    if cookies.len() > 1 {
        // One that is empty leaves a space at its end, which no value has.
        let joined = cookies.join(&b"; "[..]);
        fields.push(("cookie".to_owned(), joined.trim_ascii().to_vec()));
    }
    if is_websocket {
        fields.push(("sec-websocket-key".to_owned(), KEY.as_bytes().to_vec()));
    }
    fields
}

fn check_request(bytes: &[u8], is_whole: bool, is_websocket: bool) {
    let Some(parts) = parts(bytes, is_websocket) else {
        return;
    };
    let Some(out) = http1_request(&parts, is_whole) else {
        return;
    };
    let shown = out.escape_ascii();
    let length = parts.headers.get("content-length");
    let body = match length.map(|it| it.to_str().expect("digits").parse().expect("a number")) {
        _ if is_websocket => reference::Body::Length(0),
        Some(length) => reference::Body::Length(length),
        None if is_whole => reference::Body::Length(0),
        None => reference::Body::Chunked,
    };
    let verdict = Verdict::Sound {
        length: out.len(),
        body,
        persists: true,
    };
    assert_eq!(reference::request(&out), verdict, "{shown}");
    let path = parts.uri.path_and_query().expect("it has one").as_str();
    let line = out.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let method = if is_websocket {
        "GET"
    } else {
        parts.method.as_str()
    };
    assert_eq!(line, format!("{method} {path} HTTP/1.1").as_bytes());
    let fields = fields(&out);
    let host = parts.uri.authority().map(|it| it.as_str().as_bytes());
    let host = host.or_else(|| parts.headers.get("host").map(|it| it.as_bytes()));
    assert_eq!(fields[0], ("host".to_owned(), host.expect("one").to_vec()));
    let is_framing = |name: &str| OF_CONNECTION.contains(&name) || name == "content-length";
    let kept: Vec<_> = fields[1..]
        .iter()
        .filter(|(name, _)| !is_framing(name))
        .cloned()
        .collect();
    assert_eq!(kept, expected(&parts, is_websocket), "{shown}");
    if is_websocket {
        return;
    }
    if let Some(back) = http2_request(out.clone()) {
        let (back, ()) = back.into_parts();
        assert!(
            OF_CONNECTION
                .iter()
                .all(|it| !back.headers.contains_key(*it))
        );
        assert_eq!(http1_request(&back, is_whole), Some(out.clone()), "{shown}");
    }
}

fn check_response(bytes: &[u8]) {
    let Ok(Some(end)) = head_end(bytes, 0, &HeadLimits::default()) else {
        return;
    };
    let Ok(answer) = http2_response(bytes[..end].to_vec(), "GET") else {
        return;
    };
    let Verdict::Sound { .. } = reference::response(bytes) else {
        panic!("it is none to the reference: {}", bytes.escape_ascii());
    };
    let status = answer.status().as_u16();
    let fields = answer.headers();
    assert!(OF_CONNECTION.iter().all(|it| !fields.contains_key(*it)));
    if status < 200 || status == 204 {
        assert!(!fields.contains_key("content-length"));
    }
    assert!(fields.get_all("content-length").iter().count() <= 1);
    for value in fields.values() {
        assert_eq!(value.as_bytes().trim_ascii(), value.as_bytes());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((flags, rest)) = bytes.split_first() else {
        return;
    };
    check_request(rest, flags & 1 != 0, flags & 2 != 0);
    check_response(bytes);
});
