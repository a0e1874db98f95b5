/// Why a routing rule cannot be: which field says what it must not, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidRoute {
    /// From the outside in, as `routes[3].path`.
    pub field: String,
    /// With what would be right.
    pub reason: String,
}

impl InvalidRoute {
    pub(super) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// The same, of a field of something larger.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let Self { field, reason } = self;
        Self {
            field: format!("{outer}.{field}"),
            reason,
        }
    }
}
