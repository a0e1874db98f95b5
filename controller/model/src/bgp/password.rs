use std::{fmt, sync::Arc};

use crate::Violation;

/// What the fabric is to have as the secret of a neighbor's TCP-MD5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Md5Password {
    /// The one that it has, if any. What is stored is never this.
    AsBefore,
    /// None.
    None,
    /// This one.
    Secret(Md5Secret),
}

/// A secret of TCP-MD5 (RFC 2385). It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Secret(Arc<str>);

/// What the kernel has room for.
const BYTES_MAX: usize = 80;

// === impl Md5Password ===

impl Md5Password {
    pub(super) fn parse(
        text: Option<&str>,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        match text {
            None => Some(Self::AsBefore),
            Some("") => Some(Self::None),
            Some(secret) if secret.len() <= BYTES_MAX => {
                Some(Self::Secret(Md5Secret(secret.into())))
            }
            Some(secret) => {
                let reason = format!("{} bytes: {BYTES_MAX} at most", secret.len());
                violations.push(Violation::new(path, reason));
                None
            }
        }
    }

    pub(super) fn to_spec(&self) -> Option<String> {
        match self {
            Self::AsBefore => None,
            Self::None => Some(String::new()),
            Self::Secret(Md5Secret(secret)) => Some(secret.to_string()),
        }
    }

    /// This one, or where it is to stay as it is, what is known.
    pub(super) fn or_kept(&self, known: Option<&Self>) -> Self {
        match (self, known) {
            (Self::AsBefore, None | Some(Self::AsBefore)) => Self::None,
            (Self::AsBefore, Some(known)) => known.clone(),
            (Self::None | Self::Secret(_), _) => self.clone(),
        }
    }

    /// The secret, if there is one.
    pub fn secret(&self) -> Option<&Md5Secret> {
        match self {
            Self::AsBefore | Self::None => None,
            Self::Secret(secret) => Some(secret),
        }
    }

    /// What stands for a secret where fields are compared.
    pub(super) fn mark(&self) -> Option<&'static str> {
        self.secret().map(|_| "a secret")
    }
}

// === impl Md5Secret ===

impl Md5Secret {
    /// The secret itself, for the kernel.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Md5Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Secret(..)")
    }
}
