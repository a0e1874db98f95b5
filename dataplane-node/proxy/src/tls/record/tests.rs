use proptest::prelude::*;
use rustls::crypto::cipher::{AeadKey, Iv};

use super::*;

/// The same keys for both ends.
fn pair(version: ProtocolVersion, kind: u8, sequence: u64) -> [RecordKeys; 2] {
    [(); 2].map(|()| {
        let (key, iv) = (AeadKey::from([7; 32]), Iv::new([9; 12]));
        let secrets = match kind {
            0 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
            _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
        };
        RecordKeys::new(version, (sequence, secrets)).unwrap()
    })
}

fn versions() -> impl Strategy<Value = (ProtocolVersion, u8)> {
    let version = prop_oneof![
        Just(ProtocolVersion::TLSv1_2),
        Just(ProtocolVersion::TLSv1_3)
    ];
    (version, 0..2u8)
}

proptest! {
    #[test]
    fn what_is_sealed_opens((version, kind) in versions(), first in prop::collection::vec(any::<u8>(), 0..9000), then in prop::collection::vec(any::<u8>(), 0..7000)) {
        let [mut seal, mut open] = pair(version, kind, 5);
        let mut out = vec![0; first.len() + then.len() + OVERHEAD_MAX];
        for content in [Content::Data, Content::Handshake, Content::Alert] {
            let length = seal.seal(content, [&first, &then], &mut out).unwrap();
            prop_assert_eq!(record_length(&out[..length]), Ok(Some(length)));
            prop_assert_eq!(record_length(&out[..length - 1]), Ok(None));
            let (what, range) = open.open(&mut out[..length]).unwrap();
            prop_assert_eq!(what, content);
            prop_assert_eq!(&out[range], [&first[..], &then].concat());
        }
    }

    #[test]
    fn what_is_changed_does_not((version, kind) in versions(), content in prop::collection::vec(any::<u8>(), 0..50), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let [mut seal, mut open] = pair(version, kind, 0);
        let mut out = vec![0; content.len() + OVERHEAD_MAX];
        let length = seal.seal(Content::Data, [&content, b""], &mut out).unwrap();
        let at = at.index(length);
        out[at] ^= 1 << bit;
        // RFC 5246 section 6.2.3.3 has the version without the length of the sealed record; the header's are checked beforehand.
        prop_assume!(version == ProtocolVersion::TLSv1_3 || !(1..HEADER_BYTES).contains(&at));
        prop_assert!(open.open(&mut out[..length]).is_err());
    }

    #[test]
    fn any_bytes_are_looked_at((version, kind) in versions(), mut bytes in prop::collection::vec(any::<u8>(), 0..100), content in 19..25u8, opened in any::<bool>()) {
        let [_, mut open] = pair(version, kind, 0);
        if opened && bytes.len() >= HEADER_BYTES {
            let length = bytes.len() - HEADER_BYTES;
            bytes[..HEADER_BYTES].copy_from_slice(&header(content, length));
        }
        if let Ok(Some(length)) = record_length(&bytes) {
            prop_assert!(open.open(&mut bytes[..length]).is_err());
        }
    }
}

#[test]
fn replayed_and_reordered_records_do_not_open() {
    let [mut seal, mut open] = pair(ProtocolVersion::TLSv1_3, 0, 0);
    let mut records = [[0; 30]; 2].map(|mut out| {
        let length = seal.seal(Content::Data, [b"x", b""], &mut out).unwrap();
        out[..length].to_vec()
    });
    let replayed = records[0].clone();
    assert_eq!(open.open(&mut records[1].clone()), Err(Alert::BadRecordMac));
    assert!(open.open(&mut records[0]).is_ok());
    assert_eq!(open.open(&mut replayed.clone()), Err(Alert::BadRecordMac));
    assert!(open.open(&mut records[1]).is_ok());
}

#[test]
fn a_key_seals_so_much_and_no_more() {
    let [mut seal, _] = pair(ProtocolVersion::TLSv1_2, 0, SEALED_MAX - 1);
    let mut out = [0; 40];
    assert!(seal.is_worn());
    assert!(seal.seal(Content::Data, [b"x", b""], &mut out).is_some());
    assert!(seal.seal(Content::Data, [b"x", b""], &mut out).is_none());
}

#[test]
fn zeros_alone_are_no_record_and_too_long_is_none_either() {
    let [seal, mut open] = pair(ProtocolVersion::TLSv1_3, 0, 0);
    let nonce = || Nonce::assume_unique_for_key(seal.nonce_bytes());
    let sealed = |plain: &[u8]| {
        let head = header(23, plain.len() + TAG_BYTES);
        let mut body = plain.to_vec();
        seal.key
            .seal_in_place_append_tag(nonce(), Aad::from(head), &mut body)
            .unwrap();
        [&head[..], &body].concat()
    };
    assert_eq!(
        open.open(&mut sealed(&[0; 9])),
        Err(Alert::UnexpectedMessage)
    );
    open.sequence = 0;
    let mut long = vec![b'x'; CONTENT_MAX + 1];
    long.push(23);
    assert_eq!(open.open(&mut sealed(&long)), Err(Alert::RecordOverflow));
    open.sequence = 0;
    // As much padding as there may be.
    let mut padded = vec![0; CONTENT_MAX + 1];
    padded[..2].copy_from_slice(&[b'x', 23]);
    let mut record = sealed(&padded);
    assert_eq!(open.open(&mut record), Ok((Content::Data, 5..6)));
    assert_eq!(
        record_length(&[23, 3, 3, 0x48, 1]),
        Err(Alert::RecordOverflow)
    );
    assert_eq!(
        record_length(&[24, 3, 3, 0, 1]),
        Err(Alert::UnexpectedMessage)
    );
    assert_eq!(
        record_length(&[23, 2, 3, 0, 1]),
        Err(Alert::UnexpectedMessage)
    );
}
