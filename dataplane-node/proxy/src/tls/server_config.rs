use std::{net::IpAddr, sync::Arc};

use rustls::{
    ClientConfig,
    client::Resumption,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{default_provider, kx_group},
    },
    pki_types::ServerName,
};
use tokio::net::TcpStream;

use super::{
    authorities::Authorities,
    certificate::Certificate,
    config::{MinimumVersion, TlsConfigError},
    credulous::Credulous,
    handshake::{self, Handshake, HandshakeError},
    socket::TlsSocket,
};

/// Sessions with servers that are kept to be gone on with.
const SESSIONS: usize = 256;

/// How a service speaks TLS with its servers.
#[derive(Clone, Debug)]
pub struct ServerTlsOptions {
    /// Whether a server is the right one.
    pub believed: Believed,
    /// The name that it must be for, which is also what the server is asked for; without one, the server's address.
    pub name: Option<ServerName<'static>>,
    /// The oldest version.
    pub minimum: MinimumVersion,
    /// What is shown to servers that ask for a certificate.
    pub certificate: Option<Certificate>,
}

/// Which servers are believed to be the right ones.
#[derive(Clone, Debug)]
pub enum Believed {
    /// Those with a certificate in time and for the right name that these authorities have issued.
    IssuedBy(Authorities),
    /// All of them, whoever they are.
    Anyone,
}

/// What is ready to connect to servers: [`ServerTlsOptions`] that can be used.
#[derive(Debug)]
pub struct ServerTlsConfig {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl ServerTlsConfig {
    /// Makes them ready.
    pub fn new(options: &ServerTlsOptions) -> Result<Self, TlsConfigError> {
        let provider = Arc::new(provider_for_servers());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(options.minimum.versions())
            .map_err(TlsConfigError::Rustls)?;
        let builder = match &options.believed {
            Believed::IssuedBy(by) => builder.with_root_certificates(by.roots.clone()),
            Believed::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Credulous(provider))),
        };
        let mut rustls = match &options.certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(certificate.key.clone()),
            )),
            None => builder.with_no_client_auth(),
        };
        rustls.alpn_protocols = vec![b"http/1.1".to_vec()];
        rustls.resumption = Resumption::in_memory_sessions(SESSIONS);
        rustls.enable_secret_extraction = true;
        let mut http2 = rustls.clone();
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            http2: Arc::new(http2),
            http1: Arc::new(rustls),
            name: options.name.clone(),
        })
    }

    /// Does the handshake with a server, which has to agree to HTTP/2 if that is to be spoken.
    pub(crate) async fn connect(
        &self,
        tcp: TcpStream,
        address: IpAddr,
        is_http2: bool,
    ) -> Result<TlsSocket, HandshakeError> {
        let name = self.name.clone();
        let name = name.unwrap_or_else(|| ServerName::IpAddress(address.to_canonical().into()));
        let config = if is_http2 { &self.http2 } else { &self.http1 };
        let handshake = Handshake::client(config.clone(), name)?;
        let done = handshake::drive(tcp, handshake, None).await;
        let socket = done.map_err(|(_closed, error)| error)?;
        if is_http2 && !socket.facts.is_http2 {
            return Err(HandshakeError::NoHttp2);
        }
        Ok(socket)
    }
}

/// A key for hybrid exchange would make each connection's first words 1.2 KB longer: only who insists gets it.
fn provider_for_servers() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
            kx_group::X25519MLKEM768,
        ],
        ..default_provider()
    }
}
