//! A TLS client's first message: the same in whatever records it comes, and no part of it is a whole one.
#![no_main]

use lbfabric_proxy::tls_hello::{ClientHello, HELLO_BYTES, read};
use libfuzzer_sys::fuzz_target;

/// The content of records, and how many bytes they are.
fn content(mut records: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some((header, behind)) = records.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let (now, rest) = behind.split_at(length);
        content.extend(now);
        records = rest;
    }
    content
}

fn in_records(content: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).expect("a record is shorter");
        [&[22, 3, 1][..], &length.to_be_bytes(), part].concat()
    };
    content.chunks(size).flat_map(record).collect()
}

fn said(hello: &ClientHello<'_>) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
    let name = hello.server_name.map(|it| it.to_vec());
    (name, hello.protocols().map(|it| it.to_vec()).collect())
}

fn check(bytes: &[u8]) {
    let Ok(Some((hello, length))) = read(bytes) else {
        return;
    };
    if let Some(name) = hello.server_name {
        assert!(!name.is_empty() && name.len() <= 253 && name.is_ascii());
        assert!(
            !name
                .iter()
                .any(|it| it.is_ascii_uppercase() || it.is_ascii_control())
        );
    }
    for count in 0..length.min(600) {
        assert_eq!(read(&bytes[..count]), Ok(None));
    }
    let content = content(&bytes[..length]);
    for size in [1, 7, 16_000] {
        let again = in_records(&content, size);
        if again.len() <= HELLO_BYTES {
            let (other, length) = read(&again).expect("it is sound").expect("it is whole");
            assert_eq!(length, again.len());
            assert_eq!(said(&other), said(&hello));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // In one record, with lengths that fit: the rest is left to be found.
    let length = u32::try_from(bytes.len() + 34)
        .expect("it is short")
        .to_be_bytes();
    let body = [&[1][..], &length[1..], &[3, 3], &[7; 32], bytes].concat();
    if body.len() <= 16_000 {
        check(&in_records(&body, 16_000));
    }
});
