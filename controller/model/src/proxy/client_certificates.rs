use lbfabric_proto::v1;

use super::authorities::Authorities;
use crate::{Violation, fields::Fields, wire_enum::WireEnum as _};

/// Which certificates clients have to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Who is let in.
    pub policy: ClientCertificatePolicy,
    /// Those who must have issued them.
    pub authorities: Authorities,
    /// The header field that tells servers the subject.
    pub subject_field: Option<String>,
    /// The header field that tells servers the digest.
    pub fingerprint_field: Option<String>,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificatePolicy {
    /// Clients with a certificate.
    #[default]
    Required,
    /// These, and those without one.
    Optional,
}

/// Fields that say something of the framing, the connection or the host: nobody else may set them.
const OURS: [&str; 13] = [
    "close",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const FIELD_BYTES_MAX: usize = 128;

impl ClientCertificates {
    pub(super) fn parse(
        spec: &v1::ClientCertificatesSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let v1::ClientCertificatesSpec {
            policy,
            authorities,
            subject_field,
            fingerprint_field,
        } = spec;
        let policy = ClientCertificatePolicy::parse(*policy, path, violations);
        let authorities =
            Authorities::parse(authorities, &format!("{path}.authorities"), violations);
        let mut field = |name: &str, field: &str| {
            if let Some(reason) = wrong_field(name) {
                violations.push(Violation::new(format!("{path}.{field}"), reason));
            }
            (!name.is_empty()).then(|| name.to_owned())
        };
        let subject_field = field(subject_field, "subject_field");
        let fingerprint_field = field(fingerprint_field, "fingerprint_field");
        let plain = |name: &String| name.to_ascii_lowercase().replace('_', "-");
        if subject_field.is_some()
            && subject_field.as_ref().map(plain) == fingerprint_field.as_ref().map(plain)
        {
            violations.push(Violation::new(
                format!("{path}.fingerprint_field"),
                "servers take it for `subject_field`: give it another name",
            ));
        }
        Some(Self {
            policy: policy?,
            authorities: authorities?,
            subject_field,
            fingerprint_field,
        })
    }

    /// Whether servers are told anything of them.
    pub(crate) fn are_told(&self) -> bool {
        self.subject_field.is_some() || self.fingerprint_field.is_some()
    }

    pub(super) fn to_spec(&self) -> v1::ClientCertificatesSpec {
        let Self {
            policy,
            authorities,
            subject_field,
            fingerprint_field,
        } = self;
        v1::ClientCertificatesSpec {
            policy: policy.to_proto().into(),
            authorities: authorities.to_text(),
            subject_field: subject_field.clone().unwrap_or_default(),
            fingerprint_field: fingerprint_field.clone().unwrap_or_default(),
        }
    }

    pub(super) fn fields(&self, fields: &mut Fields) {
        let Self {
            policy,
            authorities,
            subject_field,
            fingerprint_field,
        } = self;
        let path = |field: &str| format!("proxy.tls.client_certificates.{field}");
        fields.put(path("policy"), policy.name());
        authorities.fields(&path("authorities"), fields);
        fields.put_list(&path("subject_field"), subject_field);
        fields.put_list(&path("fingerprint_field"), fingerprint_field);
    }
}

/// Why a header field cannot have a name, RFC 9110 section 5.1; empty stands for none.
fn wrong_field(name: &str) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.len() > FIELD_BYTES_MAX || !name.bytes().all(is_token) {
        return Some(format!(
            "not the name of a header field: up to {FIELD_BYTES_MAX} letters, digits and `-`, as in `X-Client-Subject`"
        ));
    }
    let is_ours = OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name));
    is_ours.then(|| {
        format!("`{name}` says something of the connection or of the message: use another name, as in `X-Client-Subject`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_something_of_the_connection_are_refused() {
        for right in ["", "X-Client", "x_client", "Forwarded", "SSL-Client-S-DN"] {
            assert_eq!(wrong_field(right), None, "{right}");
        }
        for wrong in ["Upgrade", "HOST", "te", "Content-Length", "a b", "a:", "ü"] {
            assert!(wrong_field(wrong).is_some(), "{wrong}");
        }
        assert!(wrong_field(&"x".repeat(129)).is_some());
    }
}
