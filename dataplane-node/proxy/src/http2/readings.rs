use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;

use super::{
    Http2Config,
    meter::Meter,
    request::{self, Writing},
    response,
};
use crate::{
    ProxyConfig,
    http1::{
        FieldEdits, FieldRoom, ForwardedPolicy, Forwarding, HeadLimits, Identity, Refusal,
        Response, ResponseHead,
    },
    observe::Watch,
};

/// The key of WebSocket handshakes that [`http1_request`] writes.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request of HTTP/2 as the head that goes to a server of HTTP/1.1, if it goes on: `is_whole` if no body follows. Nothing is added to it.
pub fn http1_request(parts: &Parts, is_whole: bool) -> Option<Vec<u8>> {
    let limits = HeadLimits::default();
    let writing = Writing {
        forwarding: Forwarding {
            client: std::net::Ipv4Addr::LOCALHOST.into(),
            scheme: "https",
            host: None,
            edits: FieldEdits::NONE,
            identity: Identity::default(),
            x_forwarded: ForwardedPolicy::Leave,
            forwarded: ForwardedPolicy::Leave,
            traced: None,
        },
        limits: &limits,
        is_whole,
        config: &ProxyConfig::default(),
        routes: &std::rc::Rc::default(),
        watch: &Watch::of(None),
        key: KEY,
    };
    let mut out = Vec::new();
    request::write(&mut out, parts, &writing).ok()?;
    Some(out)
}

/// The head of a request of HTTP/1.1 that was written for a server as the one that a server of HTTP/2 gets.
pub fn http2_request(head: Vec<u8>) -> Option<http::Request<()>> {
    request::convert(&Bytes::from(head), &HeadLimits::default(), "https", false)
}

/// The head of a server's answer over HTTP/1.1 as the one that a client of HTTP/2 gets.
pub fn http2_response(head: Vec<u8>, method: &str) -> Result<http::Response<()>, Refusal> {
    let bytes = Bytes::from(head);
    let mut room = FieldRoom::new();
    let head = ResponseHead::parse(&bytes, &mut room, &HeadLimits::default())?;
    let response = Response::of(&head, method)?;
    response::convert(&bytes, &head, &response)
}

/// What a peer of HTTP/2 does too much of, by the frames that come in these parts, each so much later than the one before. `block_bytes` is
/// how long a header block may be.
pub fn http2_flood<'p>(
    config: &Http2Config,
    block_bytes: usize,
    parts: impl IntoIterator<Item = (Duration, &'p [u8])>,
) -> Option<String> {
    let mut now = Instant::now();
    let mut meter = Meter::new(config, 0, block_bytes, now);
    parts.into_iter().find_map(|(later, bytes)| {
        now += later;
        let flood = meter.note(bytes, now).err()?;
        Some(format!("{flood:?}"))
    })
}
