use std::{collections::HashMap, sync::Arc};

use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// What a client gets who asks for no host, or for one that there is no certificate for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The first certificate.
    #[default]
    First,
    /// The alert `unrecognized_name`, RFC 6066 section 3.
    Refuse,
}

/// The certificates of a service by the hosts that they are for. Finding one takes as long with ten thousand as with one.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what is behind the first label.
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// Empty if there is none for an unknown name.
    fallback: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Sorts them by names. Of several for the same name each client gets the first whose key it can verify.
    pub fn new<'c>(
        certificates: impl IntoIterator<Item = &'c Certificate>,
        unknown: UnknownName,
    ) -> Self {
        let mut all = Self::default();
        let mut first: Option<&Certificate> = None;
        for certificate in certificates {
            for name in certificate.names() {
                let (of, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut all.wildcard, rest),
                    None => (&mut all.exact, name),
                };
                let keys = of.entry(name.into()).or_default();
                keys.push(certificate.key.clone());
            }
            // The same host's certificate with a key of another kind serves the clients that need that.
            if first.is_none_or(|first| first.names().eq(certificate.names())) {
                first = first.or(Some(certificate));
                if unknown == UnknownName::First {
                    all.fallback.push(certificate.key.clone());
                }
            }
        }
        all
    }

    /// Those for a name, which is in lower case, or for a client who gives none.
    pub(super) fn find(&self, name: Option<&str>) -> Option<&[Arc<CertifiedKey>]> {
        let found = name.and_then(|name| {
            self.exact.get(name).or_else(|| {
                let (_, rest) = name.split_once('.')?;
                self.wildcard.get(rest)
            })
        });
        let fallback = Some(&self.fallback).filter(|keys| !keys.is_empty());
        found.or(fallback).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests;
