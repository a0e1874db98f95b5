use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{RootCertStore, pki_types::CertificateDer};

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    /// Of their certificates: the same on all nodes that have the same.
    pub(super) digest: [u8; digest::SHA256_OUTPUT_LEN],
}

/// Why there is nobody to believe. `name` is what the authorities' owner calls them.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// One is not X.509.
    #[error("certificate authorities {name}: number {position} cannot be read")]
    X509 {
        /// The authorities.
        name: String,
        /// Its place, from 1 on.
        position: usize,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// There are none.
    #[error("certificate authorities {name}: there are none")]
    Empty {
        /// The authorities.
        name: String,
    },
}

impl Authorities {
    /// Takes certificates of authorities in DER. `name` is what errors call them.
    pub fn from_der(name: &str, certificates: &[Vec<u8>]) -> Result<Self, AuthoritiesError> {
        let certificates: Vec<_> = certificates
            .iter()
            .map(|it| CertificateDer::from(it.as_slice()))
            .collect();
        let mut roots = RootCertStore::empty();
        for (at, certificate) in certificates.iter().enumerate() {
            roots
                .add(certificate.clone().into_owned())
                .map_err(|source| AuthoritiesError::X509 {
                    name: name.to_owned(),
                    position: at + 1,
                    source,
                })?;
        }
        Self::of(name, roots, &certificates)
    }

    /// Those that the system believes. What of them cannot be read is left out.
    pub fn system() -> Result<Self, AuthoritiesError> {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        Self::of("of the system", roots, &certificates)
    }

    fn of(
        name: &str,
        roots: RootCertStore,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Self, AuthoritiesError> {
        if roots.is_empty() {
            return Err(AuthoritiesError::Empty {
                name: name.to_owned(),
            });
        }
        let mut context = digest::Context::new(&digest::SHA256);
        for certificate in certificates {
            context.update(digest::digest(&digest::SHA256, certificate).as_ref());
        }
        let digest = context.finish();
        Ok(Self {
            roots: Arc::new(roots),
            digest: std::array::from_fn(|at| digest.as_ref()[at]),
        })
    }
}
