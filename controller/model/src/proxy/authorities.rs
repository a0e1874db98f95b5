use rustls::{RootCertStore, pki_types::CertificateDer};

use crate::{
    Violation,
    certificate::{hex_digest, pem},
    fields::Fields,
};

/// Certificates of authorities.
const CERTIFICATES_MAX: usize = 64;
/// Bytes of them as text.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Those who must have issued a certificate: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// Their certificates.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    pub(super) fn parse(text: &str, path: &str, violations: &mut Vec<Violation>) -> Option<Self> {
        match read(text) {
            Ok(certificates) => Some(Self { certificates }),
            Err(reason) => {
                violations.push(Violation::new(path, reason));
                None
            }
        }
    }

    /// In PEM.
    pub(super) fn to_text(&self) -> String {
        self.certificates
            .iter()
            .map(|it| pem::certificate(it))
            .collect()
    }

    pub(super) fn fields(&self, path: &str, fields: &mut Fields) {
        fields.put_list(path, self.certificates.iter().map(|it| hex_digest(it)));
    }
}

fn read(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!(
            "{} bytes: {TEXT_BYTES_MAX} at most, for up to {CERTIFICATES_MAX} certificates",
            text.len()
        ));
    }
    let certificates = pem::read_chain(text)?;
    if !(1..=CERTIFICATES_MAX).contains(&certificates.len()) {
        return Err(format!(
            "{} certificates in PEM: give the authorities', 1 to {CERTIFICATES_MAX}",
            certificates.len()
        ));
    }
    let mut roots = RootCertStore::empty();
    for (i, certificate) in certificates.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("certificate {} is not readable: {error}", i + 1))?;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn parse(text: &str) -> Result<Authorities, String> {
        let mut violations = Vec::new();
        let parsed = Authorities::parse(text, "ca", &mut violations);
        parsed.ok_or_else(|| violations[0].to_string())
    }

    #[test]
    fn certificates_and_nothing_else() {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["ca".to_owned()]).unwrap();
        let own = own.self_signed(&key).unwrap().pem();
        let two = parse(&format!("A remark\n{own}Another\n{own}")).unwrap();
        assert_eq!(two.certificates.len(), 2);
        assert_eq!(parse(&two.to_text()), Ok(two));
        let key = key.serialize_pem();
        for (text, told) in [
            (String::new(), "0 certificates in PEM"),
            (own.repeat(65), "65 certificates in PEM"),
            ("x".repeat(70_000), "70000 bytes: 65536 at most"),
            (format!("{own}{key}"), "a private key stands in it"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
                "certificate 1 is not readable",
            ),
        ] {
            let refused = parse(&text).unwrap_err();
            assert!(refused.starts_with("ca: "), "{refused}");
            assert!(refused.contains(told), "{refused}");
            assert!(!refused.contains(key.lines().nth(1).unwrap()), "{refused}");
        }
    }
}
