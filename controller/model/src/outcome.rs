use lbfabric_proto::{
    internal::v1::{self as internal, command_result},
    v1,
};

use crate::{Generation, Violation};

/// What a command did.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It took effect, if only by finding everything as asked.
    Applied {
        /// The generation of the fabric's objects after it; of a key that controllers renew, the one that has it.
        generation: Generation,
        /// One entry for each object concerned.
        changes: Vec<v1::Change>,
    },
    /// It changed nothing.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of refusal.
    pub kind: RefusalKind,
    /// Every mistake.
    pub violations: Vec<Violation>,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It is wrong in itself, or does not fit the fabric.
    Invalid,
    /// It names what does not exist.
    NotFound,
    /// It would delete what is in use.
    InUse,
    /// The fabric has changed since the expected generation.
    Stale,
}

impl Refusal {
    /// A refusal with one reason.
    pub fn new(kind: RefusalKind, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            violations: vec![Violation::new(path, reason)],
        }
    }
}

impl From<&Outcome> for internal::CommandResult {
    fn from(outcome: &Outcome) -> Self {
        let outcome = match outcome {
            Outcome::Applied {
                generation,
                changes,
            } => command_result::Outcome::Applied(internal::AppliedResult {
                generation: generation.0,
                changes: changes.clone(),
            }),
            Outcome::Refused(Refusal { kind, violations }) => {
                command_result::Outcome::Refused(internal::RefusedResult {
                    kind: internal::RefusalKind::from(*kind).into(),
                    violations: violations.iter().map(Into::into).collect(),
                })
            }
        };
        Self {
            outcome: Some(outcome),
        }
    }
}

impl TryFrom<internal::CommandResult> for Outcome {
    type Error = Violation;

    fn try_from(proto: internal::CommandResult) -> Result<Self, Violation> {
        match proto.outcome {
            Some(command_result::Outcome::Applied(applied)) => Ok(Self::Applied {
                generation: Generation(applied.generation),
                changes: applied.changes,
            }),
            Some(command_result::Outcome::Refused(refused)) => Ok(Self::Refused(Refusal {
                kind: match refused.kind() {
                    internal::RefusalKind::Invalid => RefusalKind::Invalid,
                    internal::RefusalKind::NotFound => RefusalKind::NotFound,
                    internal::RefusalKind::InUse => RefusalKind::InUse,
                    internal::RefusalKind::Stale => RefusalKind::Stale,
                    internal::RefusalKind::Unspecified => {
                        return Err(Violation::new("refused.kind", "it is of no known kind"));
                    }
                },
                violations: refused.violations.into_iter().map(Into::into).collect(),
            })),
            None => Err(Violation::new("outcome", "it is of no known kind")),
        }
    }
}

impl From<RefusalKind> for internal::RefusalKind {
    fn from(kind: RefusalKind) -> Self {
        match kind {
            RefusalKind::Invalid => Self::Invalid,
            RefusalKind::NotFound => Self::NotFound,
            RefusalKind::InUse => Self::InUse,
            RefusalKind::Stale => Self::Stale,
        }
    }
}
