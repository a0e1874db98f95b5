use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    http1::{FieldEdits, Refusal, Response, ResponseHead, is_hop_by_hop},
    route,
    upstream::Permit,
};

/// A server's answer as it goes back over HTTP/2. `bytes` is what its head was read from, and stays for as long as a value of it does.
pub(super) fn convert(
    bytes: &Bytes,
    head: &ResponseHead<'_, '_>,
    response: &Response,
) -> Result<http::Response<()>, Refusal> {
    let mut fields = HeaderMap::with_capacity(16);
    // What a 1xx and a 204 say of their length is not to be said, RFC 9110 section 8.6.
    let has_no_length = response.is_interim || response.switches || response.status == 204;
    for field in head.fields() {
        let connection = head.fields().filter(|field| field.is("connection"));
        let stays = is_hop_by_hop(&field, connection.flat_map(|it| it.members()))
            || has_no_length && field.is("content-length")
            || response.switches && field.is("sec-websocket-accept");
        if stays {
            continue;
        }
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        fields.append(
            name.map_err(|_invalid| Refusal::FieldName)?,
            value.map_err(|_invalid| Refusal::FieldValue)?,
        );
    }
    let mut answer = http::Response::new(());
    let status = if response.switches {
        200
    } else {
        response.status
    };
    *answer.status_mut() = StatusCode::from_u16(status).map_err(|_invalid| Refusal::StartLine)?;
    *answer.headers_mut() = fields;
    Ok(answer)
}

/// An answer of HTTP/2 as it goes back over HTTP/2. The codec refuses one with connection-specific fields.
pub(super) fn relayed<B>(response: http::Response<B>) -> (http::Response<()>, B) {
    let (parts, body) = response.into_parts();
    let mut answer = http::Response::new(());
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    (answer, body)
}

/// Changes the fields of a head as a route says.
pub(super) fn edit(fields: &mut HeaderMap, edits: &FieldEdits) {
    for name in edits.dropped() {
        fields.remove(name);
    }
    append_lines(fields, edits.lines());
}

/// An answer of our own by a route, with its body.
pub(super) fn of_route(answer: route::Answer<'_>, is_head: bool) -> (http::Response<()>, Bytes) {
    let mut head = of_status(answer.status);
    append_lines(head.headers_mut(), &answer.lines);
    if matches!(answer.status, 204 | 304) {
        head.headers_mut().remove(header::CONTENT_LENGTH);
    } else {
        let length = HeaderValue::from(answer.body.len());
        head.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    let body = if is_head {
        Bytes::new()
    } else {
        Bytes::from(answer.body.into_owned())
    };
    (head, body)
}

/// Adds fields that are written as HTTP/1.1 has them.
fn append_lines(fields: &mut HeaderMap, lines: &[u8]) {
    let lines = lines.split(|byte| *byte == b'\n');
    let parts = lines.filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = memchr::memchr(b':', line)?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        Some((name, value))
    });
    for (name, value) in parts {
        fields.append(name, value);
    }
}

/// Adds the cookie that makes the client come back to the server, if it needs one.
pub(super) fn mark(head: &mut http::Response<()>, permit: &Permit) {
    let value = permit.mark_value().map(HeaderValue::from_str);
    if let Some(Ok(value)) = value {
        head.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// An answer of our own.
pub(super) fn of_status(status: u16) -> http::Response<()> {
    let mut answer = http::Response::new(());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let length = HeaderValue::from_static("0");
    answer
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, length);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{FieldRoom, HeadLimits};

    fn converted(lines: &str, method: &str) -> Result<String, Refusal> {
        let bytes = Bytes::from(format!("HTTP/1.1 {lines}\r\n\r\n"));
        let mut room = FieldRoom::new();
        let head = ResponseHead::parse(&bytes, &mut room, &HeadLimits::default())?;
        let response = Response::of(&head, method)?;
        let answer = convert(&bytes, &head, &response)?;
        let fields = answer.headers().iter();
        let fields = fields.map(|(name, value)| format!("|{name}: {}", value.to_str().unwrap()));
        Ok(format!(
            "{}{}",
            answer.status().as_u16(),
            fields.collect::<String>()
        ))
    }

    #[test]
    fn what_belongs_to_the_connection_stays_there() {
        for (lines, method, wanted) in [
            (
                "200 OK\r\nServer: x\r\nContent-Length: 5",
                "",
                "200|server: x|content-length: 5",
            ),
            (
                "200 OK\r\nContent-Length: 5",
                "HEAD",
                "200|content-length: 5",
            ),
            ("304 X\r\nContent-Length: 5", "", "304|content-length: 5"),
            ("204 X\r\nContent-Length: 0\r\nA: b", "", "204|a: b"),
            ("103 X\r\nLink: a\r\nLink: b", "", "103|link: a|link: b"),
            (
                "200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x",
                "",
                "200",
            ),
            (
                "200 OK\r\nConnection: X-Own, close\r\nX-Own: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c",
                "",
                "200",
            ),
            (
                "200 OK\r\nProxy-Connection: a\r\nX-Kept:  b \tc ",
                "",
                "200|x-kept: b \tc",
            ),
            (
                "101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: y",
                "",
                "200|sec-websocket-protocol: y",
            ),
            ("999 X", "", "999"),
        ] {
            assert_eq!(converted(lines, method).as_deref(), Ok(wanted), "{lines}");
        }
    }
}
