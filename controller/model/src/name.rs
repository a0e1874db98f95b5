use std::{fmt, sync::Arc};

use crate::Violation;

/// The name of an object: 1 to 63 characters of `a-z`, `0-9` and `-`, a letter first, no `-` last
/// (a label of RFC 1035 section 2.3.1 in lower case).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks a name; `path` is where it stands.
    pub fn parse(text: &str, path: &str) -> Result<Self, Violation> {
        let what = if text.is_empty() {
            "a name is required".to_owned()
        } else if Self::is_valid(text) {
            return Ok(Self(text.into()));
        } else {
            format!("`{}` is not a name", shortened(text))
        };
        Err(Violation::new(
            path,
            format!(
                "{what}: use 1 to 63 characters of `a-z`, `0-9` and `-`, beginning with a letter and not ending with `-`"
            ),
        ))
    }

    fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        bytes.len() <= 63
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last() != Some(&b'-')
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What a user wrote, short enough to quote in a message.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.escape_debug().collect();
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{}…", head.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web", "web-1", "a--b", &"x".repeat(63)] {
            assert!(Name::parse(good, "p").is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "1a",
            "A",
            "a_b",
            "ä",
            "a b",
            &"x".repeat(64),
        ] {
            let violation = Name::parse(bad, "services[0].name").expect_err(bad);
            assert_eq!(violation.path, "services[0].name");
        }
    }
}
