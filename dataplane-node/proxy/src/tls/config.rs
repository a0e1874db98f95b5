use std::{sync::Arc, time::Duration};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{cipher_suite, default_provider, kx_group},
    },
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use tokio::{net::TcpStream, time::timeout};

use super::{
    authorities::Authorities,
    certificates::Certificates,
    handshake::{self, Choices, Handshake, HandshakeError},
    identity::IdentityFields,
    resolver::Resolver,
    socket::TlsSocket,
    tickets::{TicketConfig, Tickets},
};
use crate::http1::IdentityField;

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinimumVersion {
    /// TLS 1.2, RFC 5246, with ECDHE and AEAD ciphers only.
    #[default]
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl MinimumVersion {
    pub(super) const fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => BOTH.split_at(1).0,
        }
    }
}

/// What a service offers by ALPN, RFC 7301. A client that knows none of it is refused; one that does not ask is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocols {
    /// `http/1.1` and `http/1.0`.
    #[default]
    Http1,
    /// `h2` before the others.
    Http2,
    /// Nothing: what clients ask for is passed over.
    None,
}

impl Protocols {
    fn names(self) -> Vec<Vec<u8>> {
        let names: &[&str] = match self {
            Self::Http1 => &["http/1.1", "http/1.0"],
            Self::Http2 => &["h2", "http/1.1", "http/1.0"],
            Self::None => &[],
        };
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }
}

/// Whether clients are asked for certificates of their own.
#[derive(Clone, Debug, Default)]
pub enum ClientCertificates {
    /// They are not.
    #[default]
    Off,
    /// Who has one shows it; one that these authorities have not issued is refused.
    Optional(Authorities),
    /// Who has none that these authorities have issued is refused.
    Required(Authorities),
}

/// How a service speaks TLS with its clients.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Shared with the options that follow these, as far as they stay.
    pub certificates: Arc<Certificates>,
    /// The oldest version.
    pub minimum: MinimumVersion,
    /// What ALPN offers.
    pub protocols: Protocols,
    /// Without them, no session is gone on with.
    pub tickets: Option<TicketConfig>,
    /// Certificates of the clients.
    pub clients: ClientCertificates,
    /// What servers are told of them.
    pub identity: IdentityFields,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// What is ready to take clients: [`TlsOptions`] that can be used.
#[derive(Debug)]
pub struct TlsConfig {
    choices: Arc<Choices>,
    resolver: Arc<Resolver>,
    handshake_timeout: Duration,
    identity: IdentityFields,
    identity_names: Vec<IdentityField>,
}

/// Why options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The clients' authorities cannot be used.
    #[error("the certificate authorities of the clients cannot be used")]
    Authorities(#[source] rustls::server::VerifierBuilderError),
    /// The certificate that is shown to servers cannot be used.
    #[error("TLS cannot be set up")]
    Rustls(#[source] rustls::Error),
}

/// Why a client is not let in.
pub(crate) struct NotAccepted {
    /// The connection, which takes a moment to carry the alert, unless it is late.
    pub(crate) tcp: Option<TcpStream>,
    pub(crate) error: HandshakeError,
}

// === impl TlsOptions ===

impl TlsOptions {
    /// Those of most services: the certificates alone are to be said.
    pub fn new(certificates: Arc<Certificates>) -> Self {
        Self {
            certificates,
            minimum: MinimumVersion::default(),
            protocols: Protocols::default(),
            tickets: None,
            clients: ClientCertificates::default(),
            identity: IdentityFields::default(),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    /// Makes them ready.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsConfigError> {
        let provider = Arc::new(provider_for_clients());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(options.minimum.versions())
            .map_err(TlsConfigError::Rustls)?;
        let verifier = |authorities: &Authorities, is_optional: bool| {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities.roots.clone(), provider);
            let verifier = if is_optional {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            verifier.build().map_err(TlsConfigError::Authorities)
        };
        // A ticket says that its owner's certificate was verified: it is good only where it would be verified in the same way.
        let (builder, context) = match &options.clients {
            ClientCertificates::Off => (builder.with_no_client_auth(), vec![0]),
            ClientCertificates::Optional(by) => (
                builder.with_client_cert_verifier(verifier(by, true)?),
                [&[1], &by.digest[..]].concat(),
            ),
            ClientCertificates::Required(by) => (
                builder.with_client_cert_verifier(verifier(by, false)?),
                [&[2], &by.digest[..]].concat(),
            ),
        };
        let resolver = Arc::new(Resolver::new(options.certificates.clone()));
        let mut rustls = builder.with_cert_resolver(resolver.clone());
        rustls.alpn_protocols = options.protocols.names();
        rustls.session_storage = Arc::new(NoServerSessionStorage {});
        rustls.enable_secret_extraction = true;
        rustls.ignore_client_order = true;
        match &options.tickets {
            Some(tickets) => rustls.ticketer = Arc::new(Tickets::new(tickets, &context)),
            // Without a ticketer they would be made for nothing.
            None => rustls.send_tls13_tickets = 0,
        }
        let mut theirs = rustls.clone();
        theirs.ignore_client_order = false;
        Ok(Self {
            choices: Arc::new(Choices {
                theirs: Arc::new(theirs),
                ours: Arc::new(rustls),
            }),
            resolver,
            handshake_timeout: options.handshake_timeout,
            identity: options.identity.clone(),
            identity_names: options.identity.names(),
        })
    }

    /// Takes other certificates for the handshakes that begin from here on. Connections go on, and so do their sessions.
    pub fn replace_certificates(&self, certificates: Arc<Certificates>) {
        self.resolver.replace(certificates);
    }

    /// The certificate that a client gets that asks for this name, in lower case, or for none; no certificate: it is refused. Of several for the same name,
    /// with keys of different kinds, the first.
    pub fn certificate_for(&self, name: Option<&str>) -> Option<CertificateDer<'static>> {
        let certificates = self.resolver.certificates();
        let keys = certificates.find(name)?;
        keys.first()?.cert.first().cloned()
    }

    /// Does the handshake with a client.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> Result<TlsSocket, NotAccepted> {
        let handshake = Handshake::server(self.choices.clone());
        let done = timeout(
            self.handshake_timeout,
            handshake::drive(tcp, handshake, Some(&self.identity)),
        )
        .await;
        match done {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err((tcp, error))) => Err(NotAccepted {
                tcp: Some(tcp),
                error,
            }),
            Err(_late) => Err(NotAccepted {
                tcp: None,
                error: HandshakeError::Late,
            }),
        }
    }

    /// The fields that are taken off whatever a client says in them.
    pub(crate) fn identity_names(&self) -> &[IdentityField] {
        &self.identity_names
    }
}

#[cfg(test)]
impl TlsConfig {
    pub(super) fn choices(&self) -> Arc<Choices> {
        self.choices.clone()
    }
}

/// Hybrid key exchange first, for clients that have it: what is recorded today is not read tomorrow.
///
/// Among the ciphers AES-128 first: its suite's SHA-256 makes a handshake cheaper by an eighth than SHA-384 does, and nobody breaks either.
fn provider_for_clients() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..default_provider()
    }
}
