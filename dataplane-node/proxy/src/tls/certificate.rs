//! A certificate as a service presents it.

use std::sync::Arc;

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::{self, Decode as _},
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::Name,
};

/// A certificate with its chain and its key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    names: Arc<[Box<str>]>,
}

/// Why a certificate cannot be used. `name` is what its owner calls it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is none.
    #[error("certificate {name}: its chain is empty")]
    Empty {
        /// The certificate.
        name: String,
    },
    /// The host's own is not X.509.
    #[error("certificate {name}: it cannot be read")]
    X509 {
        /// The certificate.
        name: String,
        /// What is wrong.
        #[source]
        source: der::Error,
    },
    /// Rustls does not sign with such a key.
    #[error(
        "certificate {name}: its private key is not one that is supported: RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519"
    )]
    Key {
        /// The certificate.
        name: String,
        /// What rustls has against it.
        #[source]
        source: rustls::Error,
    },
    /// The key belongs to another certificate.
    #[error("certificate {name}: its private key is not the one that the certificate was made for")]
    KeyDiffers {
        /// The certificate.
        name: String,
    },
    /// No client could ask for it, and none that comes by address could verify it.
    #[error("certificate {name}: it names no host")]
    Nameless {
        /// The certificate.
        name: String,
    },
}

// === impl Certificate ===

impl Certificate {
    /// Takes a chain in DER, the host's own certificate first, and its private key in DER, as PKCS #8, SEC 1 or PKCS #1. `name` is what errors call it.
    pub fn from_der(name: &str, chain: &[Vec<u8>], key: &[u8]) -> Result<Self, CertificateError> {
        let owner = || name.to_owned();
        let first = chain.first();
        let first = first.ok_or_else(|| CertificateError::Empty { name: owner() })?;
        let first =
            CertificateInner::<Raw>::from_der(first).map_err(|source| CertificateError::X509 {
                name: owner(),
                source,
            })?;
        let hosts = hosts_of(&first);
        if hosts.is_empty() && !has_address(&first) {
            return Err(CertificateError::Nameless { name: owner() });
        }
        let key = PrivateKeyDer::try_from(key)
            .map_err(|why| rustls::Error::General(why.to_owned()))
            .and_then(|key| any_supported_type(&key))
            .map_err(|source| CertificateError::Key {
                name: owner(),
                source,
            })?;
        let chain = chain.iter().cloned().map(CertificateDer::from);
        let key = CertifiedKey::new(chain.collect(), key);
        match key.keys_match() {
            // Of a key that does not tell its public half nothing is known.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(CertificateError::KeyDiffers { name: owner() }),
        }
        Ok(Self {
            key: Arc::new(key),
            names: hosts.into(),
        })
    }

    /// The hosts that it is for, in lower case; the first label may be `*`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
impl Certificate {
    /// For another host.
    pub(super) fn rename(&mut self, name: &str) {
        self.names = [name.into()].into();
    }
}

/// The hosts that a certificate names, RFC 6125 section 6.4; one without alternative names says it in its subject.
/// Whether it is for an address, which no client asks for by name.
fn has_address(certificate: &CertificateInner<Raw>) -> bool {
    let found = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>();
    let is_address = |name: &GeneralName| matches!(name, GeneralName::IpAddress(_));
    matches!(found, Ok(Some((_, names))) if names.0.iter().any(is_address))
}

fn hosts_of(certificate: &CertificateInner<Raw>) -> Vec<Box<str>> {
    let certificate = certificate.tbs_certificate();
    let alternatives = certificate.get_extension::<SubjectAltName>();
    let names: Vec<_> = match &alternatives {
        Ok(Some((_, alternatives))) => {
            let dns = alternatives.0.iter().filter_map(|name| match name {
                GeneralName::DnsName(dns) => Some(dns.as_str().to_owned()),
                GeneralName::OtherName(_)
                | GeneralName::Rfc822Name(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EdiPartyName(_)
                | GeneralName::UniformResourceIdentifier(_)
                | GeneralName::IpAddress(_)
                | GeneralName::RegisteredId(_) => None,
            });
            dns.collect()
        }
        Ok(None) | Err(_) => common_name(certificate.subject()).into_iter().collect(),
    };
    let names = names.into_iter().filter(|name| is_host(name));
    names
        .map(|name| name.to_ascii_lowercase().into_boxed_str())
        .collect()
}

fn common_name(subject: &Name) -> Option<String> {
    let name = subject.common_name().ok()??;
    Some(name.value().into_owned())
}

/// A wildcard is a whole label, and the first.
fn is_host(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    !rest.is_empty() && !rest.contains(['*', ' ']) && rest.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests;
