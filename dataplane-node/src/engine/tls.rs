use std::sync::Arc;

use lbfabric_model::{Name, Tls, TlsVersion, snapshot::NodeCertificate};
use lbfabric_proxy::tls::{
    Certificate, Certificates, MinimumVersion, Protocols, TicketConfig, TlsConfig, TlsOptions,
    UnknownName,
};

use crate::chain::Chain;

/// What the engine needs to speak TLS with a service's clients; `certificates` are those that it names, in their order.
pub(super) fn tls_config(
    tls: &Tls,
    certificates: &[Arc<NodeCertificate>],
    tickets: Option<TicketConfig>,
) -> Result<TlsConfig, String> {
    let Tls {
        certificates: names,
        min_version,
        strict_names,
    } = tls;
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
        protocols: Protocols::Http1,
        tickets,
        ..TlsOptions::new(Arc::new(Certificates::new(&read, unknown)))
    };
    TlsConfig::new(&options).map_err(|error| Chain(&error).to_string())
}
