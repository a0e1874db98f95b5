//! What a certificate says, RFC 5280.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aws_lc_rs::digest::{SHA256, digest};
use x509_cert::{
    Certificate,
    der::{
        Decode as _, Encode as _, Reader as _, SliceReader, asn1::UintRef, oid::ObjectIdentifier,
    },
    ext::pkix::{SubjectAltName, name::GeneralName},
    spki::SubjectPublicKeyInfoOwned,
};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 5480 section 2.1.1.1.
const CURVES: [(ObjectIdentifier, &str); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), "P-256"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "P-384"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521"),
];

/// What users and nodes need to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// DNS names in lower case, and IP addresses: at least one.
    pub(super) names: Vec<String>,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) key_type: String,
    /// Its `SubjectPublicKeyInfo`.
    pub(super) public_key: Vec<u8>,
    /// SHA-256, in hexadecimal digits.
    pub(super) fingerprint: String,
}

pub(super) fn decode(der: &[u8]) -> Result<Certificate, x509_cert::der::Error> {
    Certificate::from_der(der)
}

impl Facts {
    pub(super) fn of(der: &[u8], certificate: &Certificate) -> Result<Self, String> {
        let tbs = certificate.tbs_certificate();
        let names = names(certificate)?;
        let public = tbs.subject_public_key_info();
        let seconds = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        Ok(Self {
            names,
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            not_before: seconds(tbs.validity().not_before),
            not_after: seconds(tbs.validity().not_after),
            key_type: key_type(public),
            public_key: public
                .to_der()
                .map_err(|error| format!("its key is not readable: {error}"))?,
            fingerprint: hex_digest(der),
        })
    }
}

fn names(certificate: &Certificate) -> Result<Vec<String>, String> {
    let found = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>();
    let found = found.map_err(|error| format!("its names are not readable: {error}"))?;
    let names: Vec<_> = found
        .iter()
        .flat_map(|(_, names)| &names.0)
        .filter_map(name)
        .collect();
    if names.is_empty() {
        return Err(
            "the first certificate has no subject alternative name that is a DNS name or an IP address: clients would refuse it"
                .to_owned(),
        );
    }
    Ok(names)
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        // No client asks for others, and some would speak to the terminal that they are shown on.
        GeneralName::DnsName(name) => {
            let is_name = !name.is_empty() && name.as_str().bytes().all(|it| it.is_ascii_graphic());
            is_name.then(|| name.as_str().to_ascii_lowercase())
        }
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(|it| IpAddr::from(Ipv4Addr::from(it)));
            let v6 = <[u8; 16]>::try_from(octets).map(|it| IpAddr::from(Ipv6Addr::from(it)));
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

fn key_type(key: &SubjectPublicKeyInfoOwned) -> String {
    let unknown = || format!("of algorithm {}", key.algorithm.oid);
    match key.algorithm.oid {
        RSA => modulus_bits(key.subject_public_key.raw_bytes())
            .map_or_else(unknown, |bits| format!("RSA {bits}")),
        EC => {
            let curve = key.algorithm.parameters.as_ref();
            let curve = curve.and_then(|it| it.decode_as::<ObjectIdentifier>().ok());
            let curve = CURVES.iter().find(|(oid, _)| Some(*oid) == curve);
            curve.map_or_else(unknown, |(_, curve)| format!("ECDSA {curve}"))
        }
        ED25519 => "Ed25519".to_owned(),
        _ => unknown(),
    }
}

/// Of an `RSAPublicKey`, RFC 8017 appendix A.1.1.
fn modulus_bits(key: &[u8]) -> Option<u32> {
    let mut reader = SliceReader::new(key).ok()?;
    let modulus = reader.sequence(|inner| {
        let modulus = UintRef::decode(inner)?;
        UintRef::decode(inner)?;
        Ok::<_, x509_cert::der::Error>(modulus)
    });
    let bytes = modulus.ok()?.as_bytes();
    let bits = u32::try_from(bytes.len()).ok()? * 8;
    Some(bits - bytes.first()?.leading_zeros())
}

pub(super) fn hex_digest(der: &[u8]) -> String {
    hex(digest(&SHA256, der).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a text takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use x509_cert::der::asn1::Ia5String;

    use super::*;

    #[test]
    fn names_are_what_clients_can_ask_for() {
        let said = |text: &str| name(&GeneralName::DnsName(Ia5String::new(text).unwrap()));
        assert_eq!(said("*.A.example").as_deref(), Some("*.a.example"));
        for text in ["", "a\u{e}b", "\u{1b}[2J", "a b"] {
            assert_eq!(said(text), None, "{text:?}");
        }
    }
}
