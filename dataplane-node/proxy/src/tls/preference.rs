//! Which ciphers a client would rather have.

use super::record::HEADER_BYTES;

/// `ChaCha20` of TLS 1.3, and of TLS 1.2 with ECDHE.
const CHACHA: [u16; 3] = [0x1303, 0xcca8, 0xcca9];

/// Whether a client's first record asks for `ChaCha20` above all: then it has no instructions for AES, RFC 8439 section 1. False also of what
/// is no `ClientHello`, and of one whose list of ciphers is not in its first record.
pub(super) fn prefers_chacha(record: &[u8]) -> bool {
    first_suite(record).is_some_and(|suite| CHACHA.contains(&suite))
}

/// RFC 8446 section 4.1.2.
fn first_suite(record: &[u8]) -> Option<u16> {
    const KIND_AND_LENGTH: usize = 4;
    const VERSION_AND_RANDOM: usize = 2 + 32;
    let hello = record.get(HEADER_BYTES..)?;
    if hello.first() != Some(&1) {
        return None;
    }
    let rest = hello.get(KIND_AND_LENGTH + VERSION_AND_RANDOM..)?;
    let (session, rest) = rest.split_first()?;
    let (length, suites) = rest.get(usize::from(*session)..)?.split_first_chunk()?;
    let suites = suites.get(..usize::from(u16::from_be_bytes(*length)))?;
    let (suites, _) = suites.as_chunks();
    let mut suites = suites.iter().map(|suite| u16::from_be_bytes(*suite));
    // Some that mean nothing, so that servers stay open for new ones: RFC 8701.
    suites.find(|suite| suite & 0x0f0f != 0x0a0a)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(session: u8, suites: &[u16]) -> Vec<u8> {
        let mut hello = vec![22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3];
        hello.extend([0; 32]);
        hello.push(session);
        hello.extend(vec![9; usize::from(session)]);
        let length = u16::try_from(suites.len() * 2).unwrap();
        hello.extend(length.to_be_bytes());
        hello.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
        hello
    }

    #[test]
    fn the_first_that_means_something_counts() {
        for session in [0, 32] {
            let prefers = |suites: &[u16]| prefers_chacha(&hello(session, suites));
            assert!(prefers(&[0x1303, 0x1301]));
            assert!(prefers(&[0xcca9]));
            assert!(prefers(&[0x1a1a, 0xcca8, 0x1301]));
            assert!(!prefers(&[0x1301, 0x1303]));
            assert!(!prefers(&[0x1302]));
            assert!(!prefers(&[0x1a1a]));
            assert!(!prefers(&[]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(mut bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0..90usize) {
            prefers_chacha(&bytes);
            if bytes.len() > HEADER_BYTES {
                bytes[HEADER_BYTES] = 1;
                prefers_chacha(&bytes);
            }
            let hello = hello(32, &[0x1303]);
            let cut = cut.min(hello.len());
            prop_assert_eq!(prefers_chacha(&hello[..cut]), cut == hello.len());
        }
    }
}
