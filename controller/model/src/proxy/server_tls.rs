use lbfabric_proto::v1;
use rustls::pki_types::ServerName;

use super::{authorities::Authorities, tls::TlsVersion};
use crate::{Name, Violation, fields::Fields, wire_enum::WireEnum as _};

/// TLS with servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// How a server shows that it is the right one.
    pub verification: ServerVerification,
    /// Those who must have issued its certificate; with [`ServerVerification::Authorities`] and only there.
    pub authorities: Option<Authorities>,
    /// The name that its certificate must be for; none: its address.
    pub name: Option<ServerName<'static>>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// What servers get that ask for a certificate.
    pub certificate: Option<Name>,
}

/// How a server shows that it is the right one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerVerification {
    /// By a certificate of given authorities.
    #[default]
    Authorities,
    /// By one of the authorities that the node's system believes.
    System,
    /// Not at all.
    None,
}

impl ServerTls {
    pub(super) fn parse(
        spec: &v1::ServerTlsSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let v1::ServerTlsSpec {
            verification,
            authorities,
            name,
            min_version,
            certificate,
        } = spec;
        let before = violations.len();
        let verification = ServerVerification::parse(*verification, path, violations);
        let authorities_path = format!("{path}.authorities");
        let authorities = match verification {
            Some(ServerVerification::Authorities) if authorities.is_empty() => {
                violations.push(Violation::new(
                    authorities_path,
                    "required: the certificates of those who issue the servers', in PEM; or let `verification` be `system`, or `none`",
                ));
                None
            }
            Some(ServerVerification::System | ServerVerification::None)
                if !authorities.is_empty() =>
            {
                violations.push(Violation::new(
                    authorities_path,
                    "nobody asks for them: leave it out, or let `verification` be `authorities`",
                ));
                None
            }
            Some(ServerVerification::Authorities) => {
                Authorities::parse(authorities, &authorities_path, violations)
            }
            Some(ServerVerification::System | ServerVerification::None) | None => None,
        };
        let name = if name.is_empty() {
            None
        } else {
            let parsed = ServerName::try_from(name.clone()).ok();
            if parsed.is_none() {
                violations.push(Violation::new(
                    format!("{path}.name"),
                    "not a name that a certificate can be for: give a DNS name or an IP address, or leave it out for the server's address",
                ));
            }
            parsed
        };
        let min_version =
            TlsVersion::parse_field(*min_version, &format!("{path}.min_version"), violations);
        let certificate = if certificate.is_empty() {
            None
        } else {
            let parsed = Name::parse(certificate, &format!("{path}.certificate"));
            parsed.map_err(|v| violations.push(v)).ok()
        };
        let parsed = Self {
            verification: verification?,
            authorities,
            name,
            min_version: min_version?,
            certificate,
        };
        (violations.len() == before).then_some(parsed)
    }

    pub(super) fn to_spec(&self) -> v1::ServerTlsSpec {
        let Self {
            verification,
            authorities,
            name,
            min_version,
            certificate,
        } = self;
        v1::ServerTlsSpec {
            verification: verification.to_proto().into(),
            authorities: authorities
                .as_ref()
                .map(Authorities::to_text)
                .unwrap_or_default(),
            name: name
                .as_ref()
                .map(|it| it.to_str().into_owned())
                .unwrap_or_default(),
            min_version: min_version.to_proto().into(),
            certificate: certificate
                .as_ref()
                .map(Name::to_string)
                .unwrap_or_default(),
        }
    }

    pub(super) fn fields(&self, fields: &mut Fields) {
        let Self {
            verification,
            authorities,
            name,
            min_version,
            certificate,
        } = self;
        fields.put("proxy.server_tls.verification", verification.name());
        if let Some(authorities) = authorities {
            authorities.fields("proxy.server_tls.authorities", fields);
        }
        fields.put_list("proxy.server_tls.name", name.iter().map(ServerName::to_str));
        fields.put("proxy.server_tls.min_version", min_version.name());
        fields.put_list("proxy.server_tls.certificate", certificate);
    }
}
