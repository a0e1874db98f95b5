//! Records on disk: the XXH3 digest of the encoding, then the encoding.
//!
//! ```text
//!  0               8
//! ┌───────────────┬─────────────────────┐
//! │ xxh3_64, LE   │ postcard encoding   │
//! └───────────────┴─────────────────────┘
//! ```

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_64;

const DIGEST_LEN: usize = 8;

/// Encodes a record; `what` names it in the error.
pub(crate) fn seal<T: Serialize>(what: &str, value: &T) -> io::Result<Vec<u8>> {
    let mut record = postcard::to_extend(value, vec![0; DIGEST_LEN])
        .map_err(|e| io::Error::other(format!("encoding {what}: {e}")))?;
    let digest = xxh3_64(&record[DIGEST_LEN..]);
    record[..DIGEST_LEN].copy_from_slice(&digest.to_le_bytes());
    Ok(record)
}

/// Decodes a record; a damaged one is `InvalidData`.
pub(crate) fn unseal<T: DeserializeOwned>(what: &str, record: &[u8]) -> io::Result<T> {
    let damaged = |how: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{what} is damaged on disk: {how}"),
        )
    };
    let Some((stored, encoding)) = record.split_first_chunk::<DIGEST_LEN>() else {
        return Err(damaged(format!("{} bytes", record.len())));
    };
    let (stored, actual) = (u64::from_le_bytes(*stored), xxh3_64(encoding));
    if stored != actual {
        return Err(damaged(format!(
            "its digest is {actual:016x}, stored is {stored:016x}"
        )));
    }
    postcard::from_bytes(encoding).map_err(|e| damaged(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_comes_back() {
        let record = seal("number", &7_u64).unwrap();
        assert_eq!(unseal::<u64>("number", &record).unwrap(), 7);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let record = seal("text", &"some longer text").unwrap();
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = unseal::<String>("text", &damaged).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_found() {
        let record = seal("text", &"some longer text").unwrap();
        for len in 0..record.len() {
            assert!(unseal::<String>("text", &record[..len]).is_err(), "{len}");
        }
    }
}
