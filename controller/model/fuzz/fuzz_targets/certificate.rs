//! A certificate of a user's, in whatever lines its text comes: what the API says of it is of these bytes.
#![no_main]

use lbfabric_model::certificate_status;
use lbfabric_proto::v1::{CertificateSpec, CertificateStatus};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|part| {
        let number = (0..3).fold(0, |number, at| {
            number << 8 | usize::from(part.get(at).copied().unwrap_or_default())
        });
        let digit = move |at: usize| char::from(DIGITS[number >> (18 - 6 * at) & 63]);
        (0..4).map(move |at| if at <= part.len() { digit(at) } else { '=' })
    });
    digits.collect()
}

/// RFC 7468 section 5, in lines of a length.
fn pem(der: &[u8], length: usize) -> String {
    let digits = base64(der);
    let lines = digits.as_bytes().chunks(length);
    let lines = lines.map(|line| format!("{}\n", String::from_utf8_lossy(line)));
    let body = lines.collect::<String>();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

fn status(chain: String) -> Option<CertificateStatus> {
    certificate_status(&CertificateSpec {
        name: "a".to_owned(),
        chain,
        ..CertificateSpec::default()
    })
}

fuzz_target!(|bytes: &[u8]| {
    // As text it may be anything.
    let _status = status(String::from_utf8_lossy(bytes).into_owned());
    let Some(said) = status(pem(bytes, 64)) else {
        return;
    };
    assert_eq!(status(pem(bytes, 76)), Some(said.clone()));
    let digest = Sha256::digest(bytes);
    let digits: String = digest.iter().map(|it| format!("{it:02x}")).collect();
    let plain = said.fingerprint.to_ascii_lowercase().replace(':', "");
    assert_eq!(plain, digits);
    // They go into tables and onto terminals.
    assert!(said.names.iter().all(|it| !it.is_empty()));
    let texts = said.names.iter().chain([&said.subject, &said.issuer]);
    for text in texts {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
});
