use std::collections::BTreeSet;

use lbfabric_abi::SERVICE_SOURCES_MAX;

use crate::{Prefix, Violation, fields::Fields};

/// Which clients may use a service. The longest prefix that matches decides; where none matches, whether `allow` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRules {
    /// Clients that may; empty: everybody. Each prefix once, and not in `deny`.
    pub allow: Vec<Prefix>,
    /// Clients that may not, each prefix once.
    pub deny: Vec<Prefix>,
}

impl SourceRules {
    /// Checks the lists of a service at `path`. After a violation the result is of no use.
    pub(crate) fn parse(
        allow: &[String],
        deny: &[String],
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let allow = parse_list(allow, &format!("{path}.allow_sources"), violations);
        let path = format!("{path}.deny_sources");
        let deny = parse_list(deny, &path, violations);
        let allowed: BTreeSet<_> = allow.iter().map(|(_, prefix)| *prefix).collect();
        for (i, prefix) in &deny {
            if allowed.contains(prefix) {
                violations.push(Violation::new(
                    format!("{path}[{i}]"),
                    format!("{prefix} stands in `allow_sources` too: remove it from one of them"),
                ));
            }
        }
        let prefixes = |list: Vec<(usize, Prefix)>| list.into_iter().map(|(_, p)| p).collect();
        Self {
            allow: prefixes(allow),
            deny: prefixes(deny),
        }
    }

    /// How many prefixes it has.
    pub fn len(&self) -> usize {
        self.allow.len() + self.deny.len()
    }

    /// Whether everybody may use the service.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn fields(&self, fields: &mut Fields) {
        let Self { allow, deny } = self;
        fields.put_list("allow_sources", allow);
        fields.put_list("deny_sources", deny);
    }
}

/// A list of prefixes, each once. After a violation the result is of no use.
pub(crate) fn parse_prefixes(
    texts: &[String],
    path: &str,
    violations: &mut Vec<Violation>,
) -> Vec<Prefix> {
    let prefixes = parse_list(texts, path, violations);
    prefixes.into_iter().map(|(_, prefix)| prefix).collect()
}

/// The prefixes, each with its index in the list.
pub(crate) fn parse_list(
    texts: &[String],
    path: &str,
    violations: &mut Vec<Violation>,
) -> Vec<(usize, Prefix)> {
    if texts.len() > SERVICE_SOURCES_MAX {
        violations.push(Violation::new(
            path,
            format!(
                "{} prefixes: give at most {SERVICE_SOURCES_MAX}, shorter ones if need be",
                texts.len()
            ),
        ));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut prefixes = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match Prefix::parse(text, &path) {
            Ok(prefix) if !seen.insert(prefix) => violations.push(Violation::new(
                path,
                format!("{prefix} stands here twice: name it once"),
            )),
            Ok(prefix) => prefixes.push((i, prefix)),
            Err(violation) => violations.push(violation),
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(allow: &[&str], deny: &[&str]) -> (SourceRules, Vec<String>) {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut violations = Vec::new();
        let rules = SourceRules::parse(&texts(allow), &texts(deny), "s", &mut violations);
        (rules, violations.into_iter().map(|v| v.path).collect())
    }

    #[test]
    fn prefixes_of_any_length() {
        let (rules, paths) = parse(&["10.0.0.0/8", "::/0"], &["0.0.0.0/0", "10.1.2.3"]);
        assert_eq!(paths, Vec::<String>::new());
        assert_eq!(rules.len(), 4);
        assert!(parse(&[], &[]).0.is_empty());
    }

    #[test]
    fn each_prefix_once() {
        let (_, paths) = parse(
            &["10.0.0.0/8", "10.0.0.1/8", "10.0.0.0/8"],
            &["x", "10.0.0.0/8"],
        );
        assert_eq!(
            paths,
            [
                "s.allow_sources[1]",
                "s.allow_sources[2]",
                "s.deny_sources[0]",
                "s.deny_sources[1]"
            ]
        );
    }

    #[test]
    fn not_too_many() {
        let many: Vec<_> = (0..=SERVICE_SOURCES_MAX)
            .map(|i| format!("10.{}.{}.0/24", i / 256, i % 256))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(parse(&many, &[]).1, ["s.allow_sources"]);
        assert_eq!(parse(&[], &many).1, ["s.deny_sources"]);
        assert_eq!(parse(&many[1..], &many[..1]).1, Vec::<String>::new());
    }
}
