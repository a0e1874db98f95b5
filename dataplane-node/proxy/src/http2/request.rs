use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts};
use httparse::Header;

use super::response;
use crate::{
    config::ProxyConfig,
    http1::{
        Body, FIELDS_MAX, FieldRoom, Forwarding, HeadLimits, Refusal, Request, RequestHead,
        is_hop_by_hop, write_request,
    },
    observe::{Protocol, Watch},
    route::RouteRequest,
    routing::{RouteWorker, Routed},
};

/// What of a request is needed after its head has been sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// As far as an answer's framing goes by it.
    pub(super) method: &'static str,
    pub(super) body: Body,
    /// Sent twice it does the same as sent once, RFC 9110 section 9.2.2.
    pub(super) is_idempotent: bool,
    /// It asks for a WebSocket, RFC 8441.
    pub(super) is_tunnel: bool,
}

/// How a request that came over HTTP/2 is written for a server.
pub(super) struct Writing<'a> {
    pub(super) forwarding: Forwarding<'a>,
    pub(super) limits: &'a HeadLimits,
    /// No body follows.
    pub(super) is_whole: bool,
    /// What the service does with requests, and what of it is the worker's.
    pub(super) config: &'a ProxyConfig,
    pub(super) routes: &'a Rc<RouteWorker>,
    pub(super) watch: &'a Watch,
    /// The key of a WebSocket handshake, RFC 6455 section 4.1: HTTP/2 has none.
    pub(super) key: &'a str,
}

/// Why a request does not go on.
#[derive(Debug)]
pub(super) enum NotWritten {
    Refused(Refusal),
    /// Its route gives this answer, with this body.
    Answered(Box<http::Response<()>>, Bytes),
}

impl From<Refusal> for NotWritten {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Writes a request as it goes to a server of HTTP/1.1. The codec has seen to what RFC 9113 section 8 says of pseudo-fields, of
/// connection-specific fields, of names in upper case and of bytes that a field cannot have.
pub(super) fn write(
    out: &mut Vec<u8>,
    parts: &Parts,
    writing: &Writing<'_>,
) -> Result<(Asked, Routed), NotWritten> {
    let is_tunnel = is_tunnel(parts)?;
    let method = if is_tunnel {
        "GET"
    } else {
        parts.method.as_str()
    };
    let host = host(parts)?;
    let cookie = joined_cookies(parts);
    let mut fields = Vec::with_capacity(parts.headers.len() + 6);
    fields.push(field("host", host));
    for (name, value) in &parts.headers {
        if !is_token(name) {
            return Err(Refusal::FieldName.into());
        }
        check_value(value.as_bytes())?;
        let is_replaced = *name == header::HOST
            || *name == header::COOKIE && cookie.is_some()
            || is_tunnel && (*name == header::SEC_WEBSOCKET_KEY || *name == header::CONTENT_LENGTH);
        if !is_replaced {
            fields.push(field(name.as_str(), value.as_bytes()));
        }
    }
    if let Some(cookie) = &cookie {
        fields.push(field("cookie", cookie));
    }
    if is_tunnel {
        fields.push(field("connection", b"upgrade"));
        fields.push(field("upgrade", b"websocket"));
        fields.push(field("sec-websocket-key", writing.key.as_bytes()));
    } else if !parts.headers.contains_key(header::CONTENT_LENGTH) {
        if !writing.is_whole {
            fields.push(field("transfer-encoding", b"chunked"));
        } else if matches!(method, "POST" | "PUT" | "PATCH") {
            // RFC 9110 section 8.6.
            fields.push(field("content-length", b"0"));
        }
    }
    let head = RequestHead::of_fields(method, target(parts)?, &fields, writing.limits)?;
    let watch = writing.watch;
    watch.asked(
        Protocol::Http2,
        parts.method.as_str(),
        head.target,
        head.fields(),
    );
    let request = Request::of(&head)?;
    let asked = RouteRequest {
        method,
        host: request.host,
        target: request.path,
        scheme: writing.forwarding.scheme,
        client: writing.forwarding.client,
        body: request.body,
        head_bytes: head_bytes(&head),
        fields: &head,
    };
    let table = &writing.config.routes;
    let way = writing
        .routes
        .decide(table, &asked)
        .map_err(|(route, answer)| {
            watch.answers(route, &answer);
            // Nobody else is told.
            let _traced = watch.traced(parts.method.as_str(), &head);
            let (head, body) = response::of_route(answer, method == "HEAD");
            NotWritten::Answered(Box::new(head), body)
        })?;
    let routed = writing.routes.routed(&way, writing.config);
    watch.route(way.route);
    let forwarding = Forwarding {
        traced: watch.traced(parts.method.as_str(), &head),
        ..writing.forwarding
    };
    let forwarding = routed.forwarding(forwarding, writing.config);
    let request = Request {
        path: way.target.as_deref().unwrap_or(request.path),
        ..request
    };
    write_request(out, &head, &request, &forwarding);
    let is_safe = matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
    );
    let asked = Asked {
        method: if method == "HEAD" { "HEAD" } else { "" },
        body: request.body,
        is_idempotent: is_safe && !is_tunnel && request.body == Body::Length(0),
        is_tunnel,
    };
    Ok((asked, routed))
}

/// As many as it would have in HTTP/1.1.
fn head_bytes(head: &RequestHead<'_, '_>) -> usize {
    let fields = head
        .fields()
        .map(|it| it.name.len() + it.value.len() + ": \r\n".len());
    head.method.len() + head.target.len() + "  HTTP/1.1\r\n\r\n".len() + fields.sum::<usize>()
}

/// A request's head of HTTP/1.1, as [`write`] and `write_request` write it, as one of HTTP/2. `accepts_trailers` is what a client says with
/// `te`, which does not go on in HTTP/1.1.
pub(super) fn convert(
    head: &Bytes,
    limits: &HeadLimits,
    scheme: &str,
    accepts_trailers: bool,
) -> Option<http::Request<()>> {
    // What was added to it is not the client's.
    let limits = HeadLimits {
        head_bytes: usize::MAX,
        fields: FIELDS_MAX,
        ..*limits
    };
    let mut room = FieldRoom::new();
    let head_of = RequestHead::parse(head, &mut room, &limits).ok()?;
    let mut fields = HeaderMap::with_capacity(16);
    let mut host = None;
    for field in head_of.fields() {
        if field.is("host") {
            host = Some(field.value);
        } else if !is_hop_by_hop(&field, std::iter::empty()) {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).ok()?;
            fields.append(name, value);
        }
    }
    if accepts_trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host?)
        .path_and_query(head_of.target)
        .build();
    let mut request = http::Request::new(());
    *request.method_mut() = Method::from_bytes(head_of.method.as_bytes()).ok()?;
    *request.uri_mut() = uri.ok()?;
    *request.headers_mut() = fields;
    Some(request)
}

/// A handshake of a WebSocket as it is over HTTP/2, RFC 8441 section 5.
pub(super) fn into_tunnel(mut request: http::Request<()>) -> http::Request<()> {
    *request.method_mut() = Method::CONNECT;
    let protocol = h2::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    for name in [header::SEC_WEBSOCKET_KEY, header::CONTENT_LENGTH] {
        request.headers_mut().remove(name);
    }
    request
}

fn field<'a>(name: &'a str, value: &'a [u8]) -> Header<'a> {
    Header { name, value }
}

/// Whether it is the one CONNECT that is served: any other would make this a proxy of another kind.
fn is_tunnel(parts: &Parts) -> Result<bool, Refusal> {
    if parts.method != Method::CONNECT {
        return Ok(false);
    }
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    if protocol.is_some_and(|it| it.as_str() == "websocket") {
        Ok(true)
    } else {
        Err(Refusal::Method)
    }
}

/// The host, which `:authority` and `Host` say alike if both do, RFC 9113 section 8.3.1.
fn host(parts: &Parts) -> Result<&[u8], Refusal> {
    let mut named = parts.headers.get_all(header::HOST).iter();
    let first = named.next();
    if named.next().is_some() {
        return Err(Refusal::SeveralHosts);
    }
    let authority = parts.uri.authority().map(|it| it.as_str().as_bytes());
    match (authority, first.map(http::HeaderValue::as_bytes)) {
        (Some(authority), Some(named)) if !authority.eq_ignore_ascii_case(named) => {
            Err(Refusal::HostDiffers)
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Refusal::NoHost),
    }
}

/// The path with its query: nothing that HTTP/1.1 would take for another form of a target.
fn target(parts: &Parts) -> Result<&str, Refusal> {
    let is_known = |scheme: &str| scheme == "http" || scheme == "https";
    if !parts.uri.scheme_str().is_none_or(is_known) {
        return Err(Refusal::Target);
    }
    let path = parts.uri.path_and_query().ok_or(Refusal::Target)?.as_str();
    let is_form = path.starts_with('/') || path == "*" && parts.method == Method::OPTIONS;
    if is_form {
        Ok(path)
    } else {
        Err(Refusal::Target)
    }
}

/// Whether a name is one, RFC 9110 section 5.1: the codec lets quotes pass, which no name has.
pub(super) fn is_token(name: &HeaderName) -> bool {
    memchr::memchr(b'"', name.as_str().as_bytes()).is_none()
}

/// No space at either end, RFC 9113 section 8.2.1.
fn check_value(value: &[u8]) -> Result<(), Refusal> {
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Err(Refusal::FieldValue),
        _ => Ok(()),
    }
}

/// Several `Cookie` fields as the one that HTTP/1.1 has, RFC 9113 section 8.2.3.
fn joined_cookies(parts: &Parts) -> Option<Vec<u8>> {
    let mut cookies = parts.headers.get_all(header::COOKIE).iter();
    let (first, second) = (cookies.next()?, cookies.next()?);
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    Some(joined)
}

#[cfg(test)]
mod tests;
