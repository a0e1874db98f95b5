use std::fmt;

use lbfabric_proto::internal::v1::ViolationProto;

/// A mistake in a request: where it stands, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field's path, such as `services[1].vips[0]`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Violation {
    /// A mistake at a path.
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for Violation {}

impl From<&Violation> for ViolationProto {
    fn from(Violation { path, reason }: &Violation) -> Self {
        Self {
            path: path.clone(),
            reason: reason.clone(),
        }
    }
}

impl From<ViolationProto> for Violation {
    fn from(ViolationProto { path, reason }: ViolationProto) -> Self {
        Self { path, reason }
    }
}
