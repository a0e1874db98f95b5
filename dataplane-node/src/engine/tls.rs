use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{
    Name, ServiceId, TICKET_PERIOD_SECS, Tls, TlsVersion,
    snapshot::{NodeCertificate, NodeSettings},
};
use lbfabric_proxy::tls::{
    Certificate, Certificates, MinimumVersion, Protocols, TicketConfig, TicketKey, TlsConfig,
    TlsOptions, UnknownName,
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

/// What is ready to speak TLS, once for each service whatever number of ports it has.
#[derive(Debug, Default)]
pub(super) struct TlsCache(BTreeMap<ServiceId, Ready>);

#[derive(Debug)]
struct Ready {
    made_of: Arc<ClientTls>,
    outcome: Result<Arc<TlsConfig>, String>,
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

// === impl TlsCache ===

impl TlsCache {
    /// What a service needs, made if it is not there yet; or why it cannot be made.
    pub(super) fn get(
        &mut self,
        id: ServiceId,
        wanted: &Arc<ClientTls>,
    ) -> Result<Arc<TlsConfig>, String> {
        if let Some(ready) = self.0.get(&id)
            && ready.made_of == *wanted
        {
            return ready.outcome.clone();
        }
        let outcome = wanted.config().map(Arc::new);
        let ready = Ready {
            made_of: Arc::clone(wanted),
            outcome: outcome.clone(),
        };
        self.0.insert(id, ready);
        outcome
    }

    /// Forgets the services that are not there any more.
    pub(super) fn keep(&mut self, is_there: impl Fn(ServiceId) -> bool) {
        self.0.retain(|id, _| is_there(*id));
    }
}

// === impl ClientTls ===

impl ClientTls {
    fn config(&self) -> Result<TlsConfig, String> {
        let Self {
            tls:
                Tls {
                    certificates: names,
                    min_version,
                    strict_names,
                },
            certificates,
            protocols,
            tickets,
        } = self;
        let read = |(name, certificate): (&Name, &Arc<NodeCertificate>)| {
            let chain: Vec<_> = certificate.chain.iter().map(|it| it.to_vec()).collect();
            Certificate::from_der(name.as_str(), &chain, certificate.key.secret_der())
        };
        let read: Result<Vec<_>, _> = names.iter().zip(certificates).map(read).collect();
        let read = read.map_err(|error| Chain(&error).to_string())?;
        let unknown = if *strict_names {
            UnknownName::Refuse
        } else {
            UnknownName::First
        };
        let options = TlsOptions {
            minimum: match min_version {
                TlsVersion::Tls12 => MinimumVersion::Tls12,
                TlsVersion::Tls13 => MinimumVersion::Tls13,
            },
            protocols: *protocols,
            tickets: tickets.clone(),
            ..TlsOptions::new(Arc::new(Certificates::new(&read, unknown)))
        };
        TlsConfig::new(&options).map_err(|error| Chain(&error).to_string())
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_model::TicketSecret;

    use super::*;

    #[test]
    fn the_fabrics_keys_come_before_the_nodes_own() {
        let own = TicketKey::new([9; 32]);
        let settings = |keys: &[u8]| NodeSettings {
            hash_key: [0; 16],
            sources: Vec::new(),
            ticket_keys: keys
                .iter()
                .map(|key| TicketSecret::new([*key; 32]))
                .collect(),
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
