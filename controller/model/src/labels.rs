use std::{collections::BTreeMap, fmt};

use crate::{Violation, name::shortened};

/// The most labels of one node, or that one choice asks for.
const LABELS_MAX: usize = 16;

/// What nodes are told apart by, `rack=a`: names and values of 1 to 63 characters each.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    pub(crate) fn parse(texts: &[String], path: &str, violations: &mut Vec<Violation>) -> Self {
        let mut labels = BTreeMap::new();
        if texts.len() > LABELS_MAX {
            violations.push(Violation::new(
                path,
                format!("{} labels: give at most {LABELS_MAX}", texts.len()),
            ));
        }
        for (i, text) in texts.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let parts = text.split_once('=');
            let Some((name, value)) = parts.filter(|(a, b)| is_word(a) && is_word(b)) else {
                violations.push(Violation::new(
                    path,
                    format!(
                        "`{}` is not a label: write `name=value`, each with 1 to 63 characters of `a-z`, `A-Z`, `0-9`, `.`, `_`, `/` and `-`",
                        shortened(text)
                    ),
                ));
                continue;
            };
            if let Some(before) = labels.insert(name.to_owned(), value.to_owned()) {
                violations.push(Violation::new(
                    path,
                    format!("`{name}` is `{before}` already: name it once"),
                ));
            }
        }
        Self(labels)
    }

    /// Names and their values.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether all that is asked for is among these.
    pub fn have(&self, asked: &Self) -> bool {
        asked
            .0
            .iter()
            .all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// As they are written.
    pub fn to_spec(&self) -> Vec<String> {
        let labels = self.0.iter();
        labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_spec().join(", "))
    }
}

/// Whether it is a label's name, or a label's value.
pub(crate) fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    (1..=63).contains(&text.len()) && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Labels, Vec<String>> {
        let mut violations = Vec::new();
        let texts: Vec<_> = texts.iter().map(|&it| it.to_owned()).collect();
        let labels = Labels::parse(&texts, "labels", &mut violations);
        if violations.is_empty() {
            Ok(labels)
        } else {
            Err(violations.into_iter().map(|it| it.path).collect())
        }
    }

    #[test]
    fn a_label_is_a_name_and_a_value() {
        let labels = parse(&["site=x", "topology/rack=A_1.b"]).unwrap();
        assert_eq!(labels.to_spec(), ["site=x", "topology/rack=A_1.b"]);
        for bad in ["", "rack", "=a", "rack=", "a=b=c", "ra ck=a", "räck=a"] {
            assert_eq!(
                parse(&["a=b", bad]),
                Err(vec!["labels[1]".to_owned()]),
                "{bad}"
            );
        }
        assert!(parse(&[&format!("{0}={0}", "x".repeat(63))]).is_ok());
        assert!(parse(&[&format!("a={}", "x".repeat(64))]).is_err());
    }

    #[test]
    fn a_name_stands_once_and_there_are_not_too_many() {
        assert_eq!(
            parse(&["a=1", "b=1", "a=1"]),
            Err(vec!["labels[2]".to_owned()])
        );
        let many: Vec<_> = (0..17).map(|n| format!("n{n}=1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(parse(&many[..16]).is_ok());
        assert_eq!(parse(&many), Err(vec!["labels".to_owned()]));
    }

    #[test]
    fn a_node_has_all_that_is_asked_for() {
        let node = parse(&["rack=a", "site=x"]).unwrap();
        for (asked, has) in [
            (&[] as &[&str], true),
            (&["rack=a"], true),
            (&["rack=a", "site=x"], true),
            (&["rack=b"], false),
            (&["rack=a", "power=1"], false),
        ] {
            assert_eq!(node.have(&parse(asked).unwrap()), has, "{asked:?}");
        }
    }
}
