//! The handshake of a WebSocket on the side of HTTP/1.1, RFC 6455 section 4. RFC 8441 does without.

use sha1::{Digest as _, Sha1};

use crate::http1::ResponseHead;

/// What a server mixes into its answer, to show that it knows what it is asked for.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

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
        let digest = Sha1::new().chain_update(self.0).chain_update(SALT);
        let mut accept = [0; 28];
        encode(&digest.finalize(), &mut accept);
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
    use crate::http1::{FieldRoom, HeadLimits};

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

    #[test]
    fn the_end_is_filled_up() {
        for (bytes, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            let mut encoded = [0; 4];
            encode(bytes.as_bytes(), &mut encoded);
            assert_eq!(encoded, text.as_bytes());
        }
    }
}
