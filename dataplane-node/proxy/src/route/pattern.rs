use regex::bytes::{Regex, RegexBuilder};

use super::InvalidRoute;

/// Bytes of a regular expression as it is written.
const TEXT_MAX: usize = 1024;
/// Bytes of what it becomes, and of what it may remember while it runs.
const COMPILED_MAX: usize = 256 << 10;

/// A regular expression of the `regex` crate over ASCII: the time that it takes is linear in the text, whatever either says.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// One that the whole text must match.
    pub fn whole(text: &str) -> Result<Self, InvalidRoute> {
        // Alone first: with an odd bracket it could reach behind the ones around it.
        compiled(text)?;
        compiled(&format!(r"\A(?:{text})\z")).map(Self)
    }

    /// One that may match any part.
    pub fn part(text: &str) -> Result<Self, InvalidRoute> {
        compiled(text).map(Self)
    }

    /// Whether a text matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    pub(super) const fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

fn compiled(text: &str) -> Result<Regex, InvalidRoute> {
    if text.len() > TEXT_MAX {
        let reason = format!(
            "a regular expression has at most {TEXT_MAX} bytes, not {}",
            text.len()
        );
        return Err(InvalidRoute::new("regex", reason));
    }
    let mut builder = RegexBuilder::new(text);
    builder
        .unicode(false)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(COMPILED_MAX);
    builder
        .build()
        .map_err(|error| InvalidRoute::new("regex", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_pattern_matches_nothing_less() {
        let pattern = Pattern::whole("a|ab").unwrap();
        assert!(pattern.is_match(b"a") && pattern.is_match(b"ab"));
        assert!(!pattern.is_match(b"abc") && !pattern.is_match(b"xa") && !pattern.is_match(b"a\n"));
        assert!(Pattern::part("b").unwrap().is_match(b"abc"));
    }

    #[test]
    fn what_is_none_or_too_large_is_refused() {
        for text in [
            "(",
            "a)|(b",
            "a{1000}{1000}",
            "(?x)a # b",
            &"a".repeat(1025),
        ] {
            assert!(Pattern::whole(text).is_err(), "{text:.20}");
        }
    }
}
