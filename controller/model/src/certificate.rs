//! Certificates with their private keys, checked as far as no clock is needed for it.

mod facts;
pub(crate) mod pem;

use std::sync::Arc;

use lbfabric_proto::v1;
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use self::facts::Facts;
use crate::{Name, Violation, fields::Fields};

/// Certificates of a fabric.
pub const CERTIFICATES_MAX: u32 = 16_384;
/// Certificates of a chain.
const CHAIN_MAX: usize = 10;
/// Bytes of a chain or a key as text.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A certificate, and the key that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The object's name.
    pub name: Name,
    /// The certificate, and those that lead from it to its issuer: at least one.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key; none: the one that the fabric has.
    pub key: Option<Arc<PrivateKeyDer<'static>>>,
    facts: Facts,
}

// === impl Certificate ===

impl Certificate {
    pub(crate) fn parse(
        spec: &v1::CertificateSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let mut refuse = |field: &str, reason: String| {
            violations.push(Violation::new(format!("{path}.{field}"), reason));
        };
        let key = match parse_key(&spec.key) {
            Ok(key) => key,
            Err(reason) => {
                refuse("key", reason);
                None
            }
        };
        let chain = parse_chain(&spec.chain).map_err(|reason| refuse("chain", reason));
        let name = Name::parse(&spec.name, &format!("{path}.name"))
            .map_err(|v| violations.push(v))
            .ok();
        let (chain, facts) = chain.ok()?;
        let certificate = Self {
            name: name?,
            chain,
            key,
            facts,
        };
        if let Some(key) = &certificate.key
            && !certificate.fits(key)
        {
            violations.push(Violation::new(
                format!("{path}.key"),
                "it is another certificate's: give the key that the first certificate of `chain` was made with",
            ));
        }
        (violations.len() == before).then_some(certificate)
    }

    /// Whether a key is this certificate's.
    pub(crate) fn fits(&self, key: &PrivateKeyDer<'_>) -> bool {
        let public = any_supported_type(key)
            .ok()
            .and_then(|key| Some(key.public_key()?.as_ref().to_vec()));
        public.is_some_and(|public| public == self.facts.public_key)
    }

    /// The specification, with the key.
    pub fn to_spec(&self) -> v1::CertificateSpec {
        v1::CertificateSpec {
            chain: self.chain.iter().map(|it| pem::certificate(it)).collect(),
            key: self
                .key
                .as_ref()
                .map(|key| pem::key(key))
                .unwrap_or_default(),
            name: self.name.to_string(),
        }
    }

    /// What the first certificate says.
    pub fn status(&self) -> v1::CertificateStatus {
        let Facts {
            names,
            subject,
            issuer,
            not_before,
            not_after,
            key_type,
            public_key: _,
            fingerprint,
        } = &self.facts;
        v1::CertificateStatus {
            names: names.clone(),
            subject: subject.clone(),
            issuer: issuer.clone(),
            not_before: *not_before,
            not_after: *not_after,
            key_type: key_type.clone(),
            fingerprint: fingerprint.clone(),
        }
    }

    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.put_list("chain.names", &self.facts.names);
        fields.put("chain.fingerprint", &self.facts.fingerprint);
        fields.put("chain.not_after", self.facts.not_after);
        fields.put("chain.certificates", self.chain.len());
        fields
    }
}

/// The SHA-256 digest of a certificate, in hexadecimal digits.
pub(crate) fn hex_digest(der: &CertificateDer<'_>) -> String {
    facts::hex_digest(der)
}

/// What a specification's certificate says; none if the specification is not right.
pub fn certificate_status(spec: &v1::CertificateSpec) -> Option<v1::CertificateStatus> {
    let certificate = Certificate::parse(spec, "", &mut Vec::new())?;
    Some(certificate.status())
}

fn parse_chain(text: &str) -> Result<(Vec<CertificateDer<'static>>, Facts), String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!(
            "{} bytes: {TEXT_BYTES_MAX} at most, for up to {CHAIN_MAX} certificates",
            text.len()
        ));
    }
    let chain = pem::read_chain(text)?;
    if !(1..=CHAIN_MAX).contains(&chain.len()) {
        return Err(format!(
            "{} certificates in PEM: 1 to {CHAIN_MAX} are right, the server's own first",
            chain.len()
        ));
    }
    let mut parsed = Vec::new();
    for (i, der) in chain.iter().enumerate() {
        let certificate = facts::decode(der)
            .map_err(|error| format!("certificate {} is not readable: {error}", i + 1))?;
        parsed.push(certificate);
    }
    for (i, pair) in parsed.windows(2).enumerate() {
        let (one, next) = (pair[0].tbs_certificate(), pair[1].tbs_certificate());
        if one.issuer() != next.subject() {
            return Err(format!(
                "certificate {} is issued by `{}`, and certificate {} is `{}`: put each one's issuer behind it, the server's own first",
                i + 1,
                one.issuer(),
                i + 2,
                next.subject()
            ));
        }
    }
    let facts = Facts::of(&chain[0], &parsed[0])?;
    Ok((chain, facts))
}

fn parse_key(text: &str) -> Result<Option<Arc<PrivateKeyDer<'static>>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("{} bytes: {TEXT_BYTES_MAX} at most", text.len()));
    }
    let key = pem::read_key(text)?;
    if any_supported_type(&key).is_err() {
        return Err(
            "a key of a kind that is not supported: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits is right"
                .to_owned(),
        );
    }
    Ok(Some(Arc::new(key)))
}

#[cfg(test)]
mod tests;
