use super::Field;

/// Changes to the fields of a head on its way, as they are written: names that are left out, and lines that are put in.
///
/// Whoever makes them has seen to it that none of it concerns the framing or the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// In lower case.
    dropped: Vec<Box<str>>,
    /// Whole lines with their ends.
    lines: Vec<u8>,
}

impl FieldEdits {
    /// None.
    pub const NONE: &'static Self = &Self {
        dropped: Vec::new(),
        lines: Vec::new(),
    };

    pub(crate) const fn new(dropped: Vec<Box<str>>, lines: Vec<u8>) -> Self {
        Self { dropped, lines }
    }

    /// Whether a field is left out.
    pub fn drops(&self, field: &Field<'_>) -> bool {
        self.dropped.iter().any(|name| field.is(name))
    }

    /// Names that are left out, in lower case.
    pub fn dropped(&self) -> impl Iterator<Item = &str> {
        self.dropped.iter().map(|name| &**name)
    }

    /// What is put in: whole lines with their ends.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }
}
