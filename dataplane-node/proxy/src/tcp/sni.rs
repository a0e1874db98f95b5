use std::{collections::HashMap, net::SocketAddr};

use thiserror::Error;

use crate::tls_hello::Name;

/// Where TLS connections go that are passed through: by the server's name, which the client says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SniConfig {
    /// Servers that routes go to, each list in turn.
    pub pools: Vec<Vec<SocketAddr>>,
    /// Of those that fit, an exact name comes first, then the longest of the others.
    pub routes: Vec<SniRoute>,
    /// Where the others go, and those without a name.
    pub unrouted: Unrouted,
}

/// Where connections to some names go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniRoute {
    /// To which names.
    pub names: ServerNames,
    /// A place in [`SniConfig::pools`].
    pub pool: usize,
}

/// What becomes of connections that no route is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unrouted {
    /// They go to the first of [`ProxyConfig::pools`](crate::ProxyConfig::pools).
    #[default]
    Served,
    /// They are closed, with the alert `unrecognized_name`.
    Refused,
}

/// A server's name, or all those below one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerNames {
    /// In lower case.
    name: Box<[u8]>,
    are_below: bool,
}

/// Not a name of servers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no name of a server: write `www.example.com`, or `*.example.com` for all names below it"
)]
pub struct InvalidServerNames(String);

/// What there is for names.
#[derive(Debug)]
pub(crate) struct SniTable<T> {
    exact: HashMap<Box<[u8]>, T>,
    below: HashMap<Box<[u8]>, T>,
}

// === impl ServerNames ===

impl ServerNames {
    /// A name as `www.example.com`, or `*.example.com`: all names below `example.com`, with any number of labels.
    pub fn parse(text: &str) -> Result<Self, InvalidServerNames> {
        let below = text.strip_prefix("*.");
        let name = Name::host(below.unwrap_or(text).as_bytes());
        let name = name.ok_or_else(|| InvalidServerNames(text.to_owned()))?;
        Ok(Self {
            name: name.to_vec().into(),
            are_below: below.is_some(),
        })
    }
}

// === impl SniTable ===

impl<T> SniTable<T> {
    /// Of several for the same names the first.
    pub(crate) fn new(routes: impl IntoIterator<Item = (ServerNames, T)>) -> Self {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for (ServerNames { name, are_below }, target) in routes {
            let table = if are_below { &mut below } else { &mut exact };
            table.entry(name).or_insert(target);
        }
        Self { exact, below }
    }

    /// What there is for a name. The cost is one look for each of its labels, however many routes there are.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&T> {
        let mut dots = name.iter().enumerate().filter(|(_, it)| **it == b'.');
        let below = |(dot, _)| self.below.get(&name[dot + 1..]);
        self.exact.get(name).or_else(|| dots.find_map(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_comes_first_then_the_longest() {
        let names = [
            "example.com",
            "www.example.com",
            "*.example.com",
            "*.a.example.com",
            "WWW.example.com",
            "*.com",
        ];
        let routes = names.map(|it| (ServerNames::parse(it).unwrap(), it));
        let table = SniTable::new(routes);
        for (name, expected) in [
            ("example.com", Some("example.com")),
            ("www.example.com", Some("www.example.com")),
            ("w.example.com", Some("*.example.com")),
            ("a.example.com", Some("*.example.com")),
            ("x.a.example.com", Some("*.a.example.com")),
            ("x.y.z.a.example.com", Some("*.a.example.com")),
            ("x.www.example.com", Some("*.example.com")),
            ("example.org", None),
            ("other.com", Some("*.com")),
            ("com", None),
            ("", None),
        ] {
            let found = table.find(name.as_bytes());
            assert_eq!(found.copied(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_what_would_be() {
        for text in [
            "", "*", "*.", "*.*.a", "a.*", "*a.b", ".a", "a.", "a b", "ä", "[::1]",
        ] {
            let error = ServerNames::parse(text).unwrap_err().to_string();
            assert!(error.ends_with("for all names below it"), "{error}");
        }
        let parse = |text| ServerNames::parse(text).unwrap();
        assert_eq!(parse("*.Example.COM"), parse("*.example.com"));
        assert_ne!(parse("example.com"), parse("*.example.com"));
    }
}
