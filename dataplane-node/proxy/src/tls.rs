//! TLS with clients and with servers.
//!
//! ```text
//!  DER ──► Certificate ─► Certificates (by name) ─┐
//!  secrets ──► TicketConfig ──────────────────────┼─► TlsOptions ──► TlsConfig ──► accept ─┐
//!  DER ──► Authorities ──┬────────────────────────┘                                        ├─► Handshake (rustls) ──► Session
//!                        └─► ServerTlsOptions ──► ServerTlsConfig ──────────────► connect ─┘      over TlsSocket
//! ```
//!
//! Rustls decides everything that a handshake decides. Behind it, `session` seals and opens the records in buffers of the worker's
//! pool, so that an idle connection holds its keys and nothing else.

mod alert;
mod authorities;
mod certificate;
mod certificates;
mod cipher;
mod config;
mod credulous;
mod handshake;
mod identity;
mod preference;
mod record;
mod resolver;
mod server_config;
mod session;
mod socket;
mod tickets;
mod wire;

pub use authorities::{Authorities, AuthoritiesError};
pub use certificate::{Certificate, CertificateError};
pub use certificates::{Certificates, UnknownName};
pub use config::{
    ClientCertificates, MinimumVersion, Protocols, TlsConfig, TlsConfigError, TlsOptions,
};
pub use handshake::HandshakeError;
pub use identity::IdentityFields;
pub use record::UnknownSuite;
pub use server_config::{Believed, ServerTlsConfig, ServerTlsOptions};
pub use tickets::{TicketConfig, TicketKey};

pub(crate) use config::NotAccepted;
pub(crate) use socket::TlsSocket;
