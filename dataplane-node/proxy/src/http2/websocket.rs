//! The handshake of a WebSocket on the side of HTTP/1.1, RFC 6455 section 4. RFC 8441 does without.

use sha1::{Digest as _, Sha1};

use crate::http1::{
    Body, FIELDS_MAX, FieldRoom, HeadLimits, Refusal, Request, RequestHead, ResponseHead,
};

/// What a server mixes into its answer, to show that it knows what it is asked for.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client of HTTP/1.1 asks of a server of HTTP/2 beside HTTP, by `Upgrade`.
pub(crate) enum Upgrade {
    /// Nothing, or what need not be taken notice of, RFC 9110 section 7.8.
    None,
    /// A WebSocket, with this in the answer.
    WebSocket(Accept),
    /// What only HTTP/1.1 has a way for.
    Other,
}

/// What a client hears of a server that has taken its key, RFC 6455 section 4.2.2.
pub(crate) struct Accept([u8; 28]);

/// A handshake's key.
pub(super) struct Key([u8; 24]);

impl Key {
    /// Base64 of 16 bytes that nobody knows before.
    pub(super) fn random() -> Self {
        Self::of(rand::random())
    }

    fn of(bytes: [u8; 16]) -> Self {
        let mut text = [0; 24];
        encode(&bytes, &mut text);
        Self(text)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }

    /// Whether a server has taken it.
    pub(super) fn is_accepted(&self, head: &ResponseHead<'_, '_>) -> bool {
        let Accept(accept) = Accept::of(&self.0);
        let only = |name: &'static str, value: &[u8]| {
            let mut fields = head.fields().filter(|field| field.is(name));
            let field = fields.next();
            field.is_some_and(|it| it.value.eq_ignore_ascii_case(value)) && fields.next().is_none()
        };
        let mut accepts = head.fields().filter(|it| it.is("sec-websocket-accept"));
        accepts.next().is_some_and(|it| it.value == accept)
            && accepts.next().is_none()
            && only("upgrade", b"websocket")
    }
}

// === impl Accept ===

impl Accept {
    fn of(key: &[u8; 24]) -> Self {
        let digest = Sha1::new().chain_update(key).chain_update(SALT);
        let mut accept = [0; 28];
        encode(&digest.finalize(), &mut accept);
        Self(accept)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

// === impl Upgrade ===

impl Upgrade {
    /// Of a request's head as it would go on to a server of HTTP/1.1.
    pub(crate) fn of(head: &[u8], limits: &HeadLimits) -> Result<Self, Refusal> {
        // What was added to it is not the client's.
        let limits = HeadLimits {
            head_bytes: usize::MAX,
            fields: FIELDS_MAX,
            ..*limits
        };
        let mut room = FieldRoom::new();
        let head = RequestHead::parse(head, &mut room, &limits)?;
        let request = Request::of(&head)?;
        match request.upgrade {
            None => Ok(Self::None),
            // The server speaks it already.
            Some(protocol) if protocol.eq_ignore_ascii_case(b"h2c") => Ok(Self::None),
            Some(protocol) if !protocol.eq_ignore_ascii_case(b"websocket") => Ok(Self::Other),
            Some(_) if head.method != "GET" => Ok(Self::None),
            Some(_) if request.body != Body::Length(0) => Err(Refusal::WebSocket),
            Some(_) => {
                let mut keys = head.fields().filter(|it| it.is("sec-websocket-key"));
                let key = keys
                    .next()
                    .and_then(|it| <&[u8; 24]>::try_from(it.value).ok());
                let key = key.filter(|key| is_key(key) && keys.next().is_none());
                key.map(|key| Self::WebSocket(Accept::of(key)))
                    .ok_or(Refusal::WebSocket)
            }
        }
    }
}

/// Whether it is base64 of 16 bytes.
fn is_key(key: &[u8; 24]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key[..22].iter().all(is_digit) && key.ends_with(b"==")
}

/// Base64 with padding, RFC 4648 section 4; `text` is as long as it gets.
fn encode(bytes: &[u8], text: &mut [u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (three, four) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, digit) in four.iter_mut().enumerate() {
            *digit = if at <= three.len() {
                ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]
            } else {
                b'='
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 section 1.3.
    #[test]
    fn the_handshake_of_the_rfc() {
        let key = Key::of(*b"the sample nonce");
        assert_eq!(key.text(), "dGhlIHNhbXBsZSBub25jZQ==");
        let is_accepted = |fields: &str| {
            let head = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n");
            let mut room = FieldRoom::new();
            let limits = HeadLimits::default();
            let head = ResponseHead::parse(head.as_bytes(), &mut room, &limits);
            key.is_accepted(&head.unwrap())
        };
        let upgrade = "Upgrade: WebSocket\r\nConnection: Upgrade\r\n";
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(is_accepted(&format!("{upgrade}{accept}")));
        assert!(!is_accepted(accept));
        assert!(!is_accepted(&format!("{upgrade}{accept}\r\n{accept}")));
        assert!(!is_accepted(&format!("{upgrade}{}", accept.to_lowercase())));
        assert!(!is_accepted(&upgrade[..upgrade.len() - 2]));
    }

    fn upgrade(request: &str) -> Result<String, Refusal> {
        let head = request.replace('\n', "\r\n") + "\r\n\r\n";
        let upgrade = Upgrade::of(head.as_bytes(), &HeadLimits::default())?;
        Ok(match upgrade {
            Upgrade::None => "none".to_owned(),
            Upgrade::WebSocket(accept) => accept.text().to_owned(),
            Upgrade::Other => "other".to_owned(),
        })
    }

    #[test]
    fn a_request_asks_for_one_thing() {
        const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let asking = |protocol: &str, rest: &str| {
            format!("GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: {protocol}{rest}")
        };
        let of = |protocol: &str, rest: &str| upgrade(&asking(protocol, rest));
        let accept = Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        assert_eq!(of("WebSocket", &format!("\n{KEY}")), accept);
        for bad in [
            "",
            "\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
            "\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=a",
            "\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25j,Q==",
            &format!("\n{KEY}\n{KEY}"),
            &format!("\n{KEY}\nContent-Length: 1"),
            &format!("\n{KEY}\nTransfer-Encoding: chunked"),
        ] {
            assert_eq!(of("websocket", bad), Err(Refusal::WebSocket), "{bad}");
        }
        let posted = asking("websocket", &format!("\n{KEY}")).replace("GET", "POST");
        assert_eq!(upgrade(&posted), Ok("none".to_owned()));
        assert_eq!(of("h2c", ""), Ok("none".to_owned()));
        assert_eq!(of("SPDY/3.1", ""), Ok("other".to_owned()));
        let unlisted = "GET / HTTP/1.1\nHost: a\nUpgrade: websocket";
        assert_eq!(upgrade(unlisted), Ok("none".to_owned()));
    }

    #[test]
    fn the_end_is_filled_up() {
        for (bytes, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            let mut encoded = [0; 4];
            encode(bytes.as_bytes(), &mut encoded);
            assert_eq!(encoded, text.as_bytes());
        }
    }
}
