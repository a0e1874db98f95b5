//! Bodies between the two versions.

use std::{cell::Cell, io, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    answer::{Gone, Sending},
    request::is_token,
};
use crate::{
    alarm::{Alarm, Late},
    http1::{Body, ChunkReader, Chunked, FIELDS_MAX, Refusal},
    socket::Socket,
    stream::{Incoming, write},
};

/// Why a request's body does not arrive whole.
#[derive(Debug)]
pub(super) enum NotSent {
    /// The client breaks it off, or says nothing for too long.
    Client {
        is_late: bool,
    },
    Server,
    /// It is longer than its route allows.
    TooLong,
}

/// Why a body of HTTP/1.1 does not go on whole.
#[derive(Debug)]
pub(crate) enum NotRead {
    /// It breaks off, or nothing of it comes for too long.
    Sender {
        is_late: bool,
    },
    /// It is not what its framing says, or longer than it may be.
    Refused(Refusal),
    Receiver(Gone),
}

impl From<Gone> for NotRead {
    fn from(gone: Gone) -> Self {
        Self::Receiver(gone)
    }
}

/// Sends a request's body to a server of HTTP/1.1. The codec has seen to it that it is as long as its head says.
pub(super) async fn send(
    from: &mut RecvStream,
    to: &Socket,
    framed: Body,
    (silence, mut most): (Duration, u64),
    count: &Cell<u64>,
) -> Result<(), NotSent> {
    const BROKEN_OFF: NotSent = NotSent::Client { is_late: false };
    let (alarm, mut out) = (Alarm::new(), Vec::new());
    loop {
        let next = alarm.within(silence, |cx| from.poll_data(cx)).await;
        let data = match next {
            Ok(Some(Ok(data))) => data,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BROKEN_OFF),
            Err(Late) => return Err(NotSent::Client { is_late: true }),
        };
        let left = most.checked_sub(data.len() as u64);
        most = left.ok_or(NotSent::TooLong)?;
        count.set(count.get() + data.len() as u64);
        let sent = match framed {
            _ if data.is_empty() => Ok(()),
            Body::Chunked => {
                out.clear();
                chunk(&mut out, &data);
                write(to, &out, b"", silence).await
            }
            Body::Length(_) | Body::UntilClose => write(to, &data, b"", silence).await,
        };
        sent.map_err(|_gone| NotSent::Server)?;
        // Only now may as much come again.
        let released = from.flow_control().release_capacity(data.len());
        released.map_err(|_closed| BROKEN_OFF)?;
    }
    if framed == Body::Chunked {
        let trailers = alarm.within(silence, |cx| from.poll_trailers(cx)).await;
        let Ok(Ok(trailers)) = trailers else {
            return Err(BROKEN_OFF);
        };
        let end = last_chunk(trailers.as_ref()).ok_or(BROKEN_OFF)?;
        write(to, &end, b"", silence)
            .await
            .map_err(|_gone| NotSent::Server)?;
    }
    Ok(())
}

/// Writes a chunk, RFC 9112 section 7.1; of no data there is none, as that would be the end.
pub(crate) fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(!data.is_empty());
    out.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The end of a body in chunks, RFC 9112 section 7.1.2; none if a trailer cannot stand there.
pub(crate) fn last_chunk(trailers: Option<&HeaderMap>) -> Option<Vec<u8>> {
    let mut end = b"0\r\n".to_vec();
    for (name, value) in trailers.into_iter().flatten() {
        if !is_token(name) {
            return None;
        }
        if may_trail(name) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                end.extend_from_slice(part);
            }
        }
    }
    end.extend_from_slice(b"\r\n");
    Some(end)
}

/// Whether a field may stand in a trailer: none that a message's framing, routing or meaning goes by, RFC 9110 section 6.5.1.
fn may_trail(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "authorization"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "cookie"
            | "expect"
            | "host"
            | "keep-alive"
            | "proxy-authorization"
            | "proxy-connection"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Sends a body of HTTP/1.1 on, beginning with what the buffer has of it. In chunks it has so many bytes at most; more are refused.
pub(crate) async fn read(
    from: &mut Incoming<'_>,
    to: &mut Sending,
    body: Body,
    silence: Duration,
    most: u64,
) -> Result<(), NotRead> {
    match body {
        Body::Length(length) => by_length(from, to, length, silence).await,
        Body::Chunked => in_chunks(from, to, silence, most).await,
        Body::UntilClose => until_close(from, to, silence).await,
    }
}

async fn by_length(
    from: &mut Incoming<'_>,
    to: &mut Sending,
    mut left: u64,
    silence: Duration,
) -> Result<(), NotRead> {
    while left > 0 {
        if filled(from, to, silence).await? == 0 {
            return Err(NotRead::Sender { is_late: false });
        }
        let filled = from.filled();
        let count = usize::try_from(left).map_or(filled.len(), |left| left.min(filled.len()));
        let data = Bytes::copy_from_slice(&filled[..count]);
        from.consume(count);
        left -= count as u64;
        to.data(data, left == 0).await?;
    }
    Ok(())
}

async fn until_close(
    from: &mut Incoming<'_>,
    to: &mut Sending,
    silence: Duration,
) -> Result<(), NotRead> {
    while filled(from, to, silence).await? > 0 {
        let data = Bytes::copy_from_slice(from.filled());
        from.consume(data.len());
        to.data(data, false).await?;
    }
    Ok(to.end(None)?)
}

async fn in_chunks(
    from: &mut Incoming<'_>,
    to: &mut Sending,
    silence: Duration,
    mut most: u64,
) -> Result<(), NotRead> {
    let (mut reader, mut last) = (ChunkReader::new(), Vec::new());
    while !reader.is_done() {
        if filled(from, to, silence).await? == 0 {
            return Err(NotRead::Sender { is_late: false });
        }
        // All that the buffer has in one part.
        let (mut at, bytes) = (0, from.filled());
        let mut data = BytesMut::new();
        while at < bytes.len() && !reader.is_done() {
            let part = reader.next(&bytes[at..]);
            match part.map_err(NotRead::Refused)? {
                Chunked::Data(count) => {
                    let left = most.checked_sub(count as u64);
                    most = left.ok_or(NotRead::Refused(Refusal::BodyTooLong))?;
                    if data.is_empty() {
                        data.reserve(bytes.len() - at);
                    }
                    data.extend_from_slice(&bytes[at..at + count]);
                    last.clear();
                    at += count;
                }
                Chunked::Frame(count) | Chunked::End(count) => {
                    last.extend_from_slice(&bytes[at..at + count]);
                    at += count;
                }
            }
        }
        from.consume(at);
        let trailers = if reader.is_done() {
            trailers(&last).ok_or(NotRead::Refused(Refusal::FieldName))?
        } else {
            HeaderMap::new()
        };
        let ends = reader.is_done() && trailers.is_empty();
        if ends && data.is_empty() {
            to.end(None)?;
        }
        to.data(data.freeze(), ends).await?;
        if !trailers.is_empty() {
            to.end(Some(trailers))?;
        }
    }
    Ok(())
}

/// The fields of a trailer, from all that came behind the data.
fn trailers(last: &[u8]) -> Option<HeaderMap> {
    let last = last.strip_prefix(b"\r\n").unwrap_or(last);
    let lines = &last[memchr::memchr(b'\n', last)? + 1..];
    let mut trailers = HeaderMap::new();
    if lines == b"\r\n" {
        return Some(trailers);
    }
    let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let parsed = httparse::parse_headers(lines, &mut room).ok()?;
    let httparse::Status::Complete((length, fields)) = parsed else {
        return None;
    };
    if length != lines.len() {
        return None;
    }
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        if may_trail(&name) {
            trailers.append(name, value);
        }
    }
    Some(trailers)
}

/// Waits until the buffer has something, and says how much; 0 at the end.
async fn filled(
    from: &mut Incoming<'_>,
    to: &mut Sending,
    silence: Duration,
) -> Result<usize, NotRead> {
    if !from.filled().is_empty() {
        return Ok(from.filled().len());
    }
    let alarm = from.alarm;
    let read = pin!(alarm.within(silence, |cx| from.poll_read(cx)));
    let read = to.or_gone(read).await?;
    let read: io::Result<usize> = read.map_err(|Late| NotRead::Sender { is_late: true })?;
    read.map_err(|_broken| NotRead::Sender { is_late: false })
}
