use std::{
    cell::Cell,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::certificates::Certificates;

thread_local! {
    /// Rustls does not tell whom a client has asked for once an unbuffered handshake is on its way, nor that nobody was found: but it
    /// asks on the thread that drives the handshake, which looks here.
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
}

/// What a client has asked for.
pub(super) struct Asked {
    pub(super) name: Option<Box<str>>,
    /// There is a certificate for it.
    pub(super) is_known: bool,
}

/// What was asked for on this thread since the last call.
pub(super) fn take_asked() -> Option<Asked> {
    ASKED.take()
}

/// Gives rustls the certificate that a client asks for.
#[derive(Debug)]
pub(super) struct Resolver(RwLock<Arc<Certificates>>);

impl Resolver {
    pub(super) fn new(certificates: Arc<Certificates>) -> Self {
        Self(RwLock::new(certificates))
    }

    /// From here on it gives these.
    pub(super) fn replace(&self, certificates: Arc<Certificates>) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = certificates;
    }

    pub(super) fn certificates(&self) -> Arc<Certificates> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let schemes = hello.signature_schemes();
        let certificates = self.certificates();
        let found = certificates.find(name);
        ASKED.set(Some(Asked {
            name: name.map(Into::into),
            is_known: found.is_some(),
        }));
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        found?.iter().find(fits).cloned()
    }
}
