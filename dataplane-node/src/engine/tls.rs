use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{
    ClientCertificatePolicy, Name, ServerVerification, ServiceId, TICKET_PERIOD_SECS, Tls,
    TlsVersion,
    snapshot::{NodeCertificate, NodeSettings},
};
use lbfabric_proxy::{
    http1::IdentityField,
    tls::{
        Authorities, Believed, Certificate, Certificates, ClientCertificates, IdentityFields,
        MinimumVersion, Protocols, ServerTlsConfig, ServerTlsOptions, TicketConfig, TicketKey,
        TlsConfig, TlsOptions, UnknownName,
    },
};

use crate::chain::Chain;

/// How long a client can go on with a session: as long as the fabric's keys let it.
const TICKET_LIFETIME: Duration = Duration::from_secs(TICKET_PERIOD_SECS);

/// All that TLS with a service's clients is made of: as long as this is the same, so is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientTls {
    pub(super) tls: Tls,
    /// Those of `tls`, in their order.
    pub(super) certificates: Vec<Arc<NodeCertificate>>,
    pub(super) protocols: Protocols,
    pub(super) tickets: Option<TicketConfig>,
}

/// All that TLS with a service's servers is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerTls {
    pub(super) tls: lbfabric_model::ServerTls,
    /// That of `tls`, if it names one.
    pub(super) certificate: Option<Arc<NodeCertificate>>,
}

/// What something is made of that is ready for use.
pub(super) trait Makes<T> {
    /// Makes it; or says why it cannot be made.
    fn make(&self) -> Result<T, String>;
}

/// What is ready for use, once for each service whatever number of ports it has.
#[derive(Debug)]
pub(super) struct Made<W, T>(BTreeMap<ServiceId, Ready<W, T>>);

#[derive(Debug)]
struct Ready<W, T> {
    made_of: Arc<W>,
    outcome: Result<Arc<T>, String>,
}

/// The keys that tickets are made with: the fabric's, or the node's own if its controller has none.
pub(super) fn tickets(
    settings: Option<&NodeSettings>,
    own: Option<&TicketKey>,
) -> Option<TicketConfig> {
    let keys = settings.map_or(&[][..], |settings| &settings.ticket_keys);
    let keys: Vec<_> = match keys {
        [] => own.into_iter().cloned().collect(),
        keys => keys
            .iter()
            .map(|key| TicketKey::new(*key.secret()))
            .collect(),
    };
    (!keys.is_empty()).then_some(TicketConfig {
        keys,
        lifetime: TICKET_LIFETIME,
    })
}

// === impl Made ===

impl<W: Makes<T> + Eq, T> Made<W, T> {
    /// What a service needs, if it needs it, made if it is not there yet; or why it cannot be made.
    pub(super) fn get(
        &mut self,
        id: ServiceId,
        wanted: Option<&Arc<W>>,
    ) -> Result<Option<Arc<T>>, String> {
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        if let Some(ready) = self.0.get(&id)
            && ready.made_of == *wanted
        {
            return ready.outcome.clone().map(Some);
        }
        let outcome = wanted.make().map(Arc::new);
        let ready = Ready {
            made_of: Arc::clone(wanted),
            outcome: outcome.clone(),
        };
        self.0.insert(id, ready);
        outcome.map(Some)
    }

    /// Forgets the services that are not there any more.
    pub(super) fn keep(&mut self, is_there: impl Fn(ServiceId) -> bool) {
        self.0.retain(|id, _| is_there(*id));
    }
}

impl<W, T> Default for Made<W, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

// === impl ClientTls ===

impl ClientTls {
    /// The name of the certificate that a chain begins with, in DER.
    pub(super) fn name_of(&self, first: &[u8]) -> Option<&Name> {
        let mut named = self.tls.certificates.iter().zip(&self.certificates);
        let (name, _) = named.find(|(_, it)| it.chain.first().is_some_and(|it| **it == *first))?;
        Some(name)
    }
}

impl Makes<TlsConfig> for ClientTls {
    fn make(&self) -> Result<TlsConfig, String> {
        let Self {
            tls:
                Tls {
                    certificates: names,
                    min_version,
                    strict_names,
                    client_certificates,
                },
            certificates,
            protocols,
            tickets,
        } = self;
        let read = names.iter().zip(certificates);
        let read: Result<Vec<_>, _> = read.map(|(name, it)| certificate(name, it)).collect();
        let read = read?;
        let unknown = if *strict_names {
            UnknownName::Refuse
        } else {
            UnknownName::First
        };
        let options = TlsOptions {
            minimum: minimum(*min_version),
            protocols: *protocols,
            tickets: tickets.clone(),
            ..TlsOptions::new(Arc::new(Certificates::new(&read, unknown)))
        };
        let options = match client_certificates {
            Some(clients) => asking(clients, options)?,
            None => options,
        };
        TlsConfig::new(&options).map_err(|error| Chain(&error).to_string())
    }
}

/// Options by which clients are asked for certificates.
fn asking(
    clients: &lbfabric_model::ClientCertificates,
    options: TlsOptions,
) -> Result<TlsOptions, String> {
    let lbfabric_model::ClientCertificates {
        policy,
        authorities: by,
        subject_field,
        fingerprint_field,
    } = clients;
    let by = authorities("of the clients", by)?;
    let field = |name: &Option<String>| name.as_deref().and_then(IdentityField::new);
    Ok(TlsOptions {
        clients: match policy {
            ClientCertificatePolicy::Required => ClientCertificates::Required(by),
            ClientCertificatePolicy::Optional => ClientCertificates::Optional(by),
        },
        identity: IdentityFields {
            subject: field(subject_field),
            fingerprint: field(fingerprint_field),
        },
        ..options
    })
}

// === impl ServerTls ===

impl Makes<ServerTlsConfig> for ServerTls {
    fn make(&self) -> Result<ServerTlsConfig, String> {
        let Self {
            tls:
                lbfabric_model::ServerTls {
                    verification,
                    authorities: by,
                    name,
                    min_version,
                    certificate: shown,
                },
            certificate: shown_of,
        } = self;
        let believed = match (verification, by) {
            (ServerVerification::None, _) => Believed::Anyone,
            (ServerVerification::Authorities, Some(by)) => {
                Believed::IssuedBy(authorities("of the servers", by)?)
            }
            (ServerVerification::Authorities, None) | (ServerVerification::System, _) => {
                let system = Authorities::system();
                Believed::IssuedBy(system.map_err(|error| Chain(&error).to_string())?)
            }
        };
        let shown = shown.as_ref().zip(shown_of.as_ref());
        let options = ServerTlsOptions {
            believed,
            name: name.clone(),
            minimum: minimum(*min_version),
            certificate: shown.map(|(name, it)| certificate(name, it)).transpose()?,
        };
        ServerTlsConfig::new(&options).map_err(|error| Chain(&error).to_string())
    }
}

fn certificate(name: &Name, certificate: &NodeCertificate) -> Result<Certificate, String> {
    let chain: Vec<_> = certificate.chain.iter().map(|it| it.to_vec()).collect();
    let read = Certificate::from_der(name.as_str(), &chain, certificate.key.secret_der());
    read.map_err(|error| Chain(&error).to_string())
}

fn authorities(whose: &str, by: &lbfabric_model::Authorities) -> Result<Authorities, String> {
    let certificates: Vec<_> = by.certificates.iter().map(|it| it.to_vec()).collect();
    let read = Authorities::from_der(whose, &certificates);
    read.map_err(|error| Chain(&error).to_string())
}

const fn minimum(version: TlsVersion) -> MinimumVersion {
    match version {
        TlsVersion::Tls12 => MinimumVersion::Tls12,
        TlsVersion::Tls13 => MinimumVersion::Tls13,
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_model::{Labels, SecretKey};

    use super::*;

    #[test]
    fn the_fabrics_keys_come_before_the_nodes_own() {
        let own = TicketKey::new([9; 32]);
        let settings = |keys: &[u8]| NodeSettings {
            hash_key: [0; 16],
            sources: Vec::new(),
            ticket_keys: keys.iter().map(|key| SecretKey::new([*key; 32])).collect(),
            cookie_key: None,
            labels: Labels::default(),
            is_drained: false,
            bgp: None,
        };
        let keys = |settings: Option<&NodeSettings>| tickets(settings, Some(&own)).unwrap().keys;
        let fabrics = [[2; 32], [3; 32]].map(TicketKey::new);
        assert_eq!(keys(Some(&settings(&[2, 3]))), fabrics);
        let own = std::slice::from_ref(&own);
        assert_eq!(keys(Some(&settings(&[]))), own);
        assert_eq!(keys(None), own);
        assert_eq!(tickets(None, None), None);
    }
}
