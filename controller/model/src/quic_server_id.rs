use std::fmt;

use lbfabric_abi::QUIC_SERVER_ID_MAX;

use crate::{Violation, name::shortened};

/// What a server puts into its QUIC connection IDs behind the first octet (draft-ietf-quic-load-balancers, plaintext form): 1
/// to 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuicServerId {
    /// The bytes, and zeros behind them.
    bytes: [u8; QUIC_SERVER_ID_MAX],
    length: u8,
}

impl QuicServerId {
    /// The ID of these bytes; `None` if they are none or too many.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = Self {
            bytes: [0; QUIC_SERVER_ID_MAX],
            length: u8::try_from(bytes.len()).ok()?,
        };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (!bytes.is_empty()).then_some(id)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }

    /// Parses hexadecimal digits.
    pub(crate) fn parse(text: &str, path: &str) -> Result<Self, Violation> {
        let digits = text.as_bytes();
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).ok()?;
            let digits = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
            digits.then(|| u8::from_str_radix(text, 16).ok())?
        };
        let bytes: Option<Vec<u8>> = (digits.len() <= 2 * QUIC_SERVER_ID_MAX)
            .then(|| digits.chunks(2).map(byte).collect())
            .flatten();
        bytes.and_then(|bytes| Self::new(&bytes)).ok_or_else(|| {
            Violation::new(
                path,
                format!(
                    "`{}` is not a server ID: write 1 to {QUIC_SERVER_ID_MAX} bytes, two hexadecimal digits each, as `0a1b2c`",
                    shortened(text)
                ),
            )
        })
    }
}

impl fmt::Display for QuicServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_in_pairs() {
        for text in ["00", "0a1b2c", "0102030405060708"] {
            let id = QuicServerId::parse(text, "p").expect("the test's ID is one");
            assert_eq!(id.to_string(), text);
            assert_eq!(QuicServerId::new(id.as_bytes()), Some(id));
        }
        assert_eq!(
            QuicServerId::parse("FF", "p"),
            QuicServerId::parse("ff", "p")
        );
        assert_ne!(
            QuicServerId::parse("01", "p"),
            QuicServerId::parse("0100", "p")
        );
        for bad in [
            "",
            "0",
            "abc",
            "0x01",
            "+1",
            "zz",
            "010203040506070809",
            "äö",
            " 01",
        ] {
            assert!(QuicServerId::parse(bad, "p").is_err(), "{bad}");
        }
    }
}
