use super::{Field, is_hop_by_hop};

/// The name of a field that tells servers of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityField(Box<str>);

impl IdentityField {
    /// Takes a token, RFC 9110 section 5.6.2, that says nothing of the framing, of the connection or of the host.
    pub fn new(name: &str) -> Option<Self> {
        const OURS: [&str; 4] = ["content-length", "expect", "host", "transfer-encoding"];
        let field = Field { name, value: b"" };
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_ours = OURS.iter().any(|it| field.is(it));
        let is_field = !name.is_empty() && name.bytes().all(is_token);
        let is_ours = is_ours || is_hop_by_hop(&field, std::iter::empty());
        (is_field && !is_ours).then(|| Self(name.into()))
    }

    /// Whether a server may take a field for one of this name: many do not tell `-` from `_`.
    pub(super) fn looks_like(&self, field: &Field<'_>) -> bool {
        let plain = |byte: u8| {
            if byte == b'_' {
                b'-'
            } else {
                byte.to_ascii_lowercase()
            }
        };
        let both = self.0.bytes().zip(field.name.bytes());
        self.0.len() == field.name.len()
            && both.map(|(a, b)| (plain(a), plain(b))).all(|(a, b)| a == b)
    }
}

impl std::fmt::Display for IdentityField {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

/// What a server is told of the client's certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// The fields that say it: what the client says in such fields is taken off.
    pub names: &'a [IdentityField],
    /// The lines that say it, whole; none of a client without a certificate.
    pub lines: &'a [u8],
}
