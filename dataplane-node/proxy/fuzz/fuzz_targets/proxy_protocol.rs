//! Headers of the PROXY protocol: what is read is read again as it was written, and no part of a header is another one.
#![no_main]

use lbfabric_proxy::proxy_protocol::{Header, Origin, Version, read, write};
use libfuzzer_sys::fuzz_target;

fn with_signature(bytes: &[u8]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n", bytes].concat()
}

/// Whether a header can say what it has: not so where values without addresses, or very long ones, were read.
fn is_sayable(header: &Header<'_>, length: usize) -> bool {
    let is_client = matches!(header.origin, Origin::Client { .. });
    header.version == Version::One || is_client && length <= 1 << 10
}

fn check(bytes: &[u8]) {
    let Ok(Some((header, length))) = read(bytes) else {
        return;
    };
    assert_eq!(read(&bytes[..length]), Ok(Some((header, length))));
    for count in 0..length.min(512) {
        assert_eq!(read(&bytes[..count]), Ok(None));
    }
    if is_sayable(&header, length) {
        let mut written = Vec::new();
        write(&mut written, &header);
        assert_eq!(read(&written), Ok(Some((header, written.len()))));
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&with_signature(bytes));
    check(&[b"PROXY ", bytes, b"\r\n"].concat());
});
