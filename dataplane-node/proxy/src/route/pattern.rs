use lbfabric_model::route_text;
use regex::bytes::Regex;

use super::InvalidRoute;

/// A regular expression of the `regex` crate over ASCII: the time that it takes is linear in the text, whatever either says.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// One that the whole text must match.
    pub fn whole(text: &str) -> Result<Self, InvalidRoute> {
        Self::of(route_text::whole_regex(text))
    }

    /// One that may match any part.
    pub fn part(text: &str) -> Result<Self, InvalidRoute> {
        Self::of(route_text::regex(text))
    }

    fn of(compiled: Result<Regex, String>) -> Result<Self, InvalidRoute> {
        let compiled = compiled.map_err(|reason| InvalidRoute::new("regex", reason));
        compiled.map(Self)
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
