use std::borrow::Cow;

use super::{FieldValue, InvalidRoute};
use crate::http1::{Field, FieldEdits, reason};

/// Bytes of a fixed answer's body.
const BODY_MAX: usize = 64 << 10;
/// Causes of answers that are no refusals.
const FIXED: &str = "fixed";
pub(super) const REDIRECT: &str = "redirect";

/// An answer that a route gives by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAnswer {
    pub(super) status: u16,
    pub(super) content_type: Option<FieldValue>,
    pub(super) body: Box<[u8]>,
}

impl FixedAnswer {
    /// With a body of a type, or without both.
    pub fn new(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Self, InvalidRoute> {
        if !(200..600).contains(&status) {
            let reason = format!("is a final one, 200 to 599, not {status}");
            return Err(InvalidRoute::new("answer.status", reason));
        }
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            let reason = format!(
                "an answer with status {status} has none, RFC 9110 section 15: leave it out"
            );
            return Err(InvalidRoute::new("answer.body", reason));
        }
        if body.len() > BODY_MAX {
            let reason = format!("has at most {BODY_MAX} bytes, not {}", body.len());
            return Err(InvalidRoute::new("answer.body", reason));
        }
        if content_type.is_some() == body.is_empty() {
            let reason = "a body has a type, as text/plain, and an answer without a body has none";
            return Err(InvalidRoute::new("answer.content_type", reason));
        }
        let content_type = content_type.map(FieldValue::parse).transpose();
        Ok(Self {
            status,
            content_type: content_type.map_err(|error| error.within("answer.content_type"))?,
            body: body.into(),
        })
    }
}

/// An answer that the engine gives in place of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'t> {
    /// 200 to 599.
    pub status: u16,
    /// Whole lines with their ends, none of them of the framing.
    pub lines: Vec<u8>,
    /// Empty for none.
    pub body: Cow<'t, [u8]>,
    /// The name of its counter.
    pub cause: &'static str,
}

impl<'t> Answer<'t> {
    /// A refusal, with its status as its body.
    pub(super) fn told(status: u16, cause: &'static str) -> Self {
        Self {
            status,
            lines: b"Content-Type: text/plain\r\n".to_vec(),
            body: format!("{status} {}\n", reason(status)).into_bytes().into(),
            cause,
        }
    }

    /// Why the request is refused, unless it is answered as it is to be.
    pub fn refusal(&self) -> Option<&'static str> {
        (!matches!(self.cause, FIXED | REDIRECT)).then_some(self.cause)
    }

    /// With a field more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        for part in [name, ": ", value, "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
        self
    }

    pub(super) fn fixed(fixed: &'t FixedAnswer) -> Self {
        let answer = Self {
            status: fixed.status,
            lines: Vec::new(),
            body: Cow::Borrowed(&fixed.body),
            cause: FIXED,
        };
        match &fixed.content_type {
            Some(content_type) => answer.with("Content-Type", content_type.as_str()),
            None => answer,
        }
    }

    /// With a route's changes to its head.
    pub(super) fn edited(mut self, edits: &FieldEdits) -> Self {
        if *edits != *FieldEdits::NONE {
            let mut lines = Vec::with_capacity(self.lines.len() + edits.lines().len());
            for line in self.lines.split_inclusive(|byte| *byte == b'\n') {
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                let name = std::str::from_utf8(name).unwrap_or_default();
                if !edits.drops(&Field { name, value: b"" }) {
                    lines.extend_from_slice(line);
                }
            }
            lines.extend_from_slice(edits.lines());
            self.lines = lines;
        }
        self
    }

    /// Writes it, head and body, for a request with a method; `persists` is whether another request may come over the connection, of a client
    /// of HTTP/1 with this minor version.
    pub fn write(&self, out: &mut Vec<u8>, method: &str, minor: u8, persists: bool) {
        let status = self.status;
        out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
        out.extend_from_slice(&self.lines);
        // RFC 9110 section 8.6: neither has a length.
        if !matches!(status, 204 | 304) {
            out.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        out.extend_from_slice(match (persists, minor) {
            (false, _) => b"Connection: close\r\n",
            (true, 0) => b"Connection: keep-alive\r\n",
            (true, _) => b"",
        });
        out.extend_from_slice(b"\r\n");
        if method != "HEAD" {
            out.extend_from_slice(&self.body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed_by_their_body() {
        let write = |answer: &Answer<'_>, method, minor, persists| {
            let mut out = Vec::new();
            answer.write(&mut out, method, minor, persists);
            String::from_utf8(out).unwrap()
        };
        let hello = FixedAnswer::new(200, Some("text/plain"), b"hello").unwrap();
        let hello = Answer::fixed(&hello);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n";
        assert_eq!(write(&hello, "GET", 1, true), format!("{head}\r\nhello"));
        assert_eq!(write(&hello, "HEAD", 1, true), format!("{head}\r\n"));
        assert_eq!(
            write(&hello, "GET", 0, true),
            format!("{head}Connection: keep-alive\r\n\r\nhello")
        );
        assert_eq!(
            write(&hello, "GET", 1, false),
            format!("{head}Connection: close\r\n\r\nhello")
        );
        let none = FixedAnswer::new(204, None, b"").unwrap();
        assert_eq!(
            write(&Answer::fixed(&none), "GET", 1, true),
            "HTTP/1.1 204 No Content\r\n\r\n"
        );
        let told = Answer::told(405, "method").with("Allow", "GET");
        let expected = "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nAllow: GET\r\nContent-Length: 23\r\n\r\n405 Method Not Allowed\n";
        assert_eq!(write(&told, "POST", 1, true), expected);
    }

    #[test]
    fn answers_that_could_not_be_are_refused() {
        for (status, content_type, body, field) in [
            (199, None, &b""[..], "answer.status"),
            (600, None, b"", "answer.status"),
            (204, Some("text/plain"), b"a", "answer.body"),
            (304, Some("text/plain"), b"a", "answer.body"),
            (
                200,
                Some("text/plain"),
                &vec![b'a'; BODY_MAX + 1],
                "answer.body",
            ),
            (200, None, b"a", "answer.content_type"),
            (200, Some("text/plain"), b"", "answer.content_type"),
            (
                200,
                Some("text/plain\r\nX: y"),
                b"a",
                "answer.content_type.value",
            ),
        ] {
            let error = FixedAnswer::new(status, content_type, body).unwrap_err();
            assert_eq!(error.field, field, "{status} {content_type:?}");
        }
    }
}
