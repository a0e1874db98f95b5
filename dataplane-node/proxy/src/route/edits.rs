use lbfabric_model::route_text;
pub use lbfabric_model::route_text::Side;

use super::{FieldName, InvalidRoute};
use crate::http1::FieldEdits;

/// Bytes of all that a rule writes into one head, which has to fit beside what comes.
const LINES_MAX: usize = 8 << 10;
/// Changes to one head.
const EDITS_MAX: usize = 32;

/// A field's value in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue(Box<str>);

/// A change to a head's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldEdit {
    /// In place of all with the name.
    Set(FieldName, FieldValue),
    /// Beside those with the name.
    Add(FieldName, FieldValue),
    /// All with the name go.
    Remove(FieldName),
}

impl FieldValue {
    /// Visible ASCII with spaces and tabs inside, RFC 9110 section 5.5.
    pub fn parse(text: &str) -> Result<Self, InvalidRoute> {
        route_text::value(text).map_err(|reason| InvalidRoute::new("value", reason))?;
        Ok(Self(text.into()))
    }

    /// As it is written.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl FieldEdit {
    const fn name(&self) -> &FieldName {
        match self {
            Self::Set(name, _) | Self::Add(name, _) | Self::Remove(name) => name,
        }
    }
}

/// Makes changes into what is written. They are made in their order: what a later one removes or sets, an earlier one has not written.
pub fn compile(edits: &[FieldEdit], side: Side) -> Result<FieldEdits, InvalidRoute> {
    if edits.len() > EDITS_MAX {
        let reason = format!(
            "a head is changed at most {EDITS_MAX} times, not {}",
            edits.len()
        );
        return Err(InvalidRoute::new("edits", reason));
    }
    let (mut dropped, mut written) = (Vec::<Box<str>>::new(), Vec::new());
    for (at, edit) in edits.iter().enumerate() {
        let name = edit.name();
        route_text::changeable_field(name.as_str(), side)
            .map_err(|reason| InvalidRoute::new(&format!("edits[{at}].name"), reason))?;
        if let FieldEdit::Set(..) | FieldEdit::Remove(_) = edit {
            written.retain(|(other, _)| *other != name);
            if !dropped.iter().any(|other| **other == *name.as_str()) {
                dropped.push(name.as_str().into());
            }
        }
        match edit {
            FieldEdit::Set(name, value) | FieldEdit::Add(name, value) => {
                written.push((name, value));
            }
            FieldEdit::Remove(_) => {}
        }
    }
    let mut lines = String::new();
    for (name, value) in written {
        for part in [&capitals(name.as_str()), ": ", value.as_str(), "\r\n"] {
            lines.push_str(part);
        }
    }
    if lines.len() > LINES_MAX {
        let reason = format!(
            "write at most {LINES_MAX} bytes into a head, not {}",
            lines.len()
        );
        return Err(InvalidRoute::new("edits", reason));
    }
    Ok(FieldEdits::new(dropped, lines.into_bytes()))
}

/// As fields are usually written: every word with a capital.
fn capitals(name: &str) -> String {
    let mut before = '-';
    let each = name.chars().map(|letter| {
        let written = if before == '-' {
            letter.to_ascii_uppercase()
        } else {
            letter
        };
        before = letter;
        written
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Field;

    fn name(text: &str) -> FieldName {
        FieldName::parse(text).unwrap()
    }

    fn value(text: &str) -> FieldValue {
        FieldValue::parse(text).unwrap()
    }

    #[test]
    fn edits_are_made_in_their_order() {
        let edits = [
            FieldEdit::Add(name("x-a"), value("lost")),
            FieldEdit::Set(name("X-A"), value("1")),
            FieldEdit::Add(name("x-a"), value("2")),
            FieldEdit::Add(name("x-b"), value("3")),
            FieldEdit::Remove(name("x-gone")),
        ];
        let compiled = compile(&edits, Side::Request).unwrap();
        assert_eq!(compiled.lines(), b"X-A: 1\r\nX-A: 2\r\nX-B: 3\r\n");
        let drops = |name| compiled.drops(&Field { name, value: b"" });
        assert!(drops("X-a") && drops("X-Gone") && !drops("X-B"));
    }

    #[test]
    fn names_of_the_engine_are_refused() {
        for (text, side) in [
            ("Host", Side::Request),
            ("Content-Length", Side::Answer),
            ("Transfer-Encoding", Side::Request),
            ("Connection", Side::Answer),
            ("Keep-Alive", Side::Answer),
            ("TE", Side::Request),
            ("Trailer", Side::Answer),
            ("Upgrade", Side::Request),
            ("Expect", Side::Request),
            ("Proxy-Connection", Side::Request),
            ("Proxy-Authorization", Side::Request),
            ("X-Forwarded-For", Side::Request),
            ("Forwarded", Side::Request),
        ] {
            for edit in [
                FieldEdit::Remove(name(text)),
                FieldEdit::Set(name(text), value("1")),
                FieldEdit::Add(name(text), value("1")),
            ] {
                let error = compile(&[edit], side).unwrap_err();
                assert_eq!(error.field, "edits[0].name", "{text}");
            }
        }
        compile(&[FieldEdit::Remove(name("X-Forwarded-For"))], Side::Answer).unwrap();
    }

    #[test]
    fn values_cannot_end_their_line() {
        for text in ["a\r\nb", "a\n", "\ra", "a\0b", " a", "a\t", "\u{7f}", "é"] {
            assert_eq!(
                FieldValue::parse(text).unwrap_err().field,
                "value",
                "{text:?}"
            );
        }
        for text in ["", "a b", "a\tb", "max-age=3600; includeSubDomains"] {
            assert_eq!(value(text).as_str(), text);
        }
        for text in ["", "a b", "a:", "é", "a\r\n"] {
            assert_eq!(
                FieldName::parse(text).unwrap_err().field,
                "name",
                "{text:?}"
            );
        }
        let many = vec![FieldEdit::Remove(name("x")); EDITS_MAX + 1];
        assert_eq!(compile(&many, Side::Request).unwrap_err().field, "edits");
        let long = FieldEdit::Add(name("x"), value(&"v".repeat(4_096)));
        assert_eq!(
            compile(&[long.clone(), long], Side::Request)
                .unwrap_err()
                .field,
            "edits"
        );
    }
}
