use lbfabric_abi::SERVICE_PORTS_MAX;

use crate::{PortRange, Violation, service::check_count};

/// The ports of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every port, and packets without one.
    Any,
    /// At least one range, none overlapping another.
    Ranges(Vec<PortRange>),
}

/// How users write [`Ports::Any`].
const ANY: &str = "any";

impl Ports {
    /// Checks the list at `path`. After a violation the result is that of the entries without one.
    pub(crate) fn parse(texts: &[String], path: &str, violations: &mut Vec<Violation>) -> Self {
        if let [only] = texts
            && only == ANY
        {
            return Self::Any;
        }
        check_count(texts.len(), SERVICE_PORTS_MAX, "ports", path, violations);
        let mut ranges: Vec<PortRange> = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if text == ANY {
                violations.push(Violation::new(
                    path,
                    "`any` is every port: let it stand alone, or leave it out",
                ));
                continue;
            }
            match PortRange::parse(text, &path) {
                Ok(range) => match ranges.iter().find(|p| p.overlaps(range)) {
                    Some(other) => violations.push(Violation::new(
                        path,
                        format!("{range} overlaps {other}: name each port once"),
                    )),
                    None => ranges.push(range),
                },
                Err(violation) => violations.push(violation),
            }
        }
        Self::Ranges(ranges)
    }

    /// The one port, if it is one.
    pub fn single(&self) -> Option<u16> {
        match self {
            Self::Any => None,
            Self::Ranges(ranges) => match ranges[..] {
                [range] if range.is_single() => Some(range.first),
                _ => None,
            },
        }
    }

    /// The ranges; `any` is all ports but 0.
    pub fn ranges(&self) -> &[PortRange] {
        match self {
            Self::Any => &[PortRange::ALL],
            Self::Ranges(ranges) => ranges,
        }
    }

    /// As a specification has them.
    pub(crate) fn to_spec(&self) -> Vec<String> {
        match self {
            Self::Any => vec![ANY.to_owned()],
            Self::Ranges(ranges) => ranges.iter().map(PortRange::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> (Ports, Vec<String>) {
        let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
        let mut violations = Vec::new();
        let ports = Ports::parse(&texts, "ports", &mut violations);
        (ports, violations.into_iter().map(|v| v.path).collect())
    }

    #[test]
    fn any_stands_alone() {
        assert_eq!(parse(&["any"]), (Ports::Any, vec![]));
        assert_eq!(parse(&["80", "any"]).1, ["ports[1]"]);
        assert_eq!(parse(&["any", "any"]).1, ["ports[0]", "ports[1]"]);
        assert_eq!(parse(&["Any"]).1, ["ports[0]"]);
        assert_eq!(parse(&[]).1, ["ports"]);
    }

    #[test]
    fn written_as_they_are_read() {
        for texts in [&["any"][..], &["80", "8000-8099"]] {
            let (ports, violations) = parse(texts);
            assert_eq!(violations, Vec::<String>::new());
            assert_eq!(ports.to_spec(), texts);
        }
    }
}
