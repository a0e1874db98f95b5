use std::{fmt, time::Duration};

use tonic_types::StatusExt as _;

use super::Address;

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// No controller answered in time.
    Unreachable {
        /// Those that were tried.
        controllers: Vec<Address>,
        /// For how long.
        timeout: Duration,
        /// What the last one said.
        last: String,
    },
    /// A controller answered with an error.
    Refused(Box<tonic::Status>),
}

// === impl CallError ===

impl CallError {
    /// What is wrong with the request, by path; empty if that is not why it failed.
    pub fn violations(&self) -> Vec<(String, String)> {
        match self {
            Self::Unreachable { .. } => Vec::new(),
            Self::Refused(status) => violations(status),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable {
                controllers,
                timeout,
                last,
            } => {
                let names: Vec<String> = controllers.iter().map(Address::to_string).collect();
                write!(
                    f,
                    "no controller answered within {timeout:?} (tried {}): {last}",
                    names.join(", ")
                )
            }
            Self::Refused(status) => {
                let message = status.message();
                let code = status.code();
                if message.is_empty() {
                    f.write_str(code.description())?;
                } else {
                    f.write_str(message)?;
                }
                violations(status)
                    .iter()
                    .try_for_each(|(path, reason)| write!(f, "\n  {path}: {reason}"))
            }
        }
    }
}

impl std::error::Error for CallError {}

fn violations(status: &tonic::Status) -> Vec<(String, String)> {
    let details = status.get_details_bad_request();
    let violations = details
        .into_iter()
        .flat_map(|details| details.field_violations);
    violations
        .map(|violation| (violation.field, violation.description))
        .collect()
}
