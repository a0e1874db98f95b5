//! What servers are told of a client's certificate.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode as _,
};

use crate::http1::IdentityField;

/// The fields that servers find a client's certificate in. What a client says in fields of these names never gets to a server, whether
/// it has a certificate or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityFields {
    /// Its subject, RFC 4514: `CN=client,O=Example`.
    pub subject: Option<IdentityField>,
    /// The SHA-256 digest of the certificate, in small hexadecimal digits.
    pub fingerprint: Option<IdentityField>,
}

impl IdentityFields {
    pub(super) fn names(&self) -> Vec<IdentityField> {
        let both = [&self.subject, &self.fingerprint];
        both.into_iter().flatten().cloned().collect()
    }

    /// The lines of a head for a client's certificate, which was verified.
    pub(super) fn lines(&self, certificate: &[u8]) -> Box<[u8]> {
        let mut lines = String::new();
        if let Some(name) = &self.subject {
            line(&mut lines, name, &subject(certificate));
        }
        if let Some(name) = &self.fingerprint {
            line(&mut lines, name, &fingerprint(certificate));
        }
        lines.into_bytes().into()
    }
}

/// Of a certificate's subject; nothing if it has none, or none that is text.
pub(super) fn common_name(certificate: &[u8]) -> Option<Box<str>> {
    let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
    let name = certificate.tbs_certificate().subject().common_name();
    let name = name.ok()??.value().into_owned();
    let is_text = !name.chars().any(char::is_control);
    is_text.then(|| name.into())
}

fn line(to: &mut String, name: &IdentityField, value: &str) {
    write!(to, "{name}: {value}\r\n").expect("a string takes everything");
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").expect("a string takes everything");
        all
    })
}

/// Empty of a certificate whose subject says nothing that could be read. All that is not visible ASCII is written as RFC 4514 has it:
/// a backslash and two hexadecimal digits for each byte.
fn subject(certificate: &[u8]) -> String {
    let certificate = CertificateInner::<Raw>::from_der(certificate);
    let subject = certificate.map(|it| it.tbs_certificate().subject().to_string());
    let mut visible = String::new();
    for byte in subject.unwrap_or_default().bytes() {
        if matches!(byte, b' '..=b'~') {
            visible.push(char::from(byte));
        } else {
            write!(visible, "\\{byte:02x}").expect("a string takes everything");
        }
    }
    visible
}
