use lbfabric_proto::v1;

use super::client_certificates::ClientCertificates;
use crate::{Name, Violation, fields::Fields, wire_enum::WireEnum as _};

/// Certificates of a service.
const CERTIFICATES_MAX: usize = 1_024;

/// TLS with a service's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates, each once; who asks for none of their names gets the first.
    pub certificates: Vec<Name>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether who asks for none of their names is refused.
    pub strict_names: bool,
    /// Which certificates clients have to show; none: they are not asked.
    pub client_certificates: Option<ClientCertificates>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2, RFC 5246.
    #[default]
    Tls12,
    /// 1.3, RFC 8446.
    Tls13,
}

impl Tls {
    pub(super) fn parse(
        spec: &v1::TlsSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let v1::TlsSpec {
            certificates,
            min_version,
            strict_names,
            client_certificates,
        } = spec;
        let client_certificates = client_certificates.as_ref().map(|clients| {
            let path = format!("{path}.client_certificates");
            ClientCertificates::parse(clients, &path, violations)
        });
        let path_of_names = format!("{path}.certificates");
        if certificates.is_empty() || certificates.len() > CERTIFICATES_MAX {
            violations.push(Violation::new(
                path_of_names.clone(),
                format!(
                    "{} certificates: name 1 to {CERTIFICATES_MAX}",
                    certificates.len()
                ),
            ));
        }
        let mut names = Vec::new();
        for (i, text) in certificates.iter().enumerate() {
            match Name::parse(text, &format!("{path_of_names}[{i}]")) {
                Ok(name) if names.contains(&name) => violations.push(Violation::new(
                    format!("{path_of_names}[{i}]"),
                    format!("`{name}` stands here twice: name it once"),
                )),
                Ok(name) => names.push(name),
                Err(violation) => violations.push(violation),
            }
        }
        Some(Self {
            certificates: names,
            min_version: TlsVersion::parse_field(
                *min_version,
                &format!("{path}.min_version"),
                violations,
            )?,
            strict_names: *strict_names,
            client_certificates: match client_certificates {
                Some(clients) => Some(clients?),
                None => None,
            },
        })
    }

    pub(super) fn to_spec(&self) -> v1::TlsSpec {
        v1::TlsSpec {
            certificates: self.certificates.iter().map(Name::to_string).collect(),
            min_version: self.min_version.to_proto().into(),
            strict_names: self.strict_names,
            client_certificates: self
                .client_certificates
                .as_ref()
                .map(ClientCertificates::to_spec),
        }
    }

    pub(super) fn fields(&self, fields: &mut Fields) {
        let Self {
            certificates,
            min_version,
            strict_names,
            client_certificates,
        } = self;
        fields.put_list("proxy.tls.certificates", certificates);
        fields.put("proxy.tls.min_version", min_version.name());
        fields.put("proxy.tls.strict_names", strict_names);
        if let Some(clients) = client_certificates {
            clients.fields(fields);
        }
    }
}
