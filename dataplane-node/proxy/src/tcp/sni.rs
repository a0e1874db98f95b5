use std::collections::HashMap;

use thiserror::Error;

use crate::tls_hello::Name;

/// Where TLS connections go that are passed through: by the server's name, which the client says first. The default lets all go to the first of
/// [`ProxyConfig::pools`](crate::ProxyConfig::pools).
#[derive(Debug, Default)]
pub struct SniTable {
    exact: HashMap<Box<[u8]>, usize>,
    below: HashMap<Box<[u8]>, usize>,
    unrouted: Unrouted,
}

/// What a table has for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SniFound {
    /// A place in [`ProxyConfig::pools`](crate::ProxyConfig::pools).
    pub pool: usize,
    /// Where in the name that begins which all names below it go by; 0 where the name itself was found.
    pub from: usize,
}

/// Where connections to some names go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniRoute {
    /// To which names.
    pub names: ServerNames,
    /// A place in [`ProxyConfig::pools`](crate::ProxyConfig::pools).
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

impl SniTable {
    /// Of those that fit, an exact name comes first, then the longest of the others; of several for the same names the first.
    pub fn new(routes: impl IntoIterator<Item = SniRoute>, unrouted: Unrouted) -> Self {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for SniRoute { names, pool } in routes {
            let ServerNames { name, are_below } = names;
            let table = if are_below { &mut below } else { &mut exact };
            table.entry(name).or_insert(pool);
        }
        Self {
            exact,
            below,
            unrouted,
        }
    }

    /// What there is for a name in lower case. The cost is one look for each of its labels, however many routes there are.
    pub fn find(&self, name: &[u8]) -> Option<SniFound> {
        let found = |from| move |pool: &usize| SniFound { pool: *pool, from };
        let mut dots = name.iter().enumerate().filter(|(_, it)| **it == b'.');
        let below = |(dot, _)| self.below.get(&name[dot + 1..]).map(found(dot + 1));
        let exact = self.exact.get(name).map(found(0));
        exact.or_else(|| dots.find_map(below))
    }

    /// The pool of a client that asks for this name, in lower case, or for none; no pool: it is refused.
    pub fn pool(&self, name: Option<&[u8]>) -> Option<usize> {
        let found = name.and_then(|name| self.find(name));
        match (found, self.unrouted) {
            (Some(found), _) => Some(found.pool),
            (None, Unrouted::Served) => Some(0),
            (None, Unrouted::Refused) => None,
        }
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
        let route = |(pool, name)| SniRoute {
            names: ServerNames::parse(name).unwrap(),
            pool,
        };
        let routes = names.into_iter().enumerate().map(route);
        let table = SniTable::new(routes, Unrouted::Refused);
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
            let found = found.map(|found| names[found.pool]);
            assert_eq!(found, expected, "{name}");
        }
        let from = |name: &[u8]| table.find(name).map(|found| found.from);
        assert_eq!(from(b"example.com"), Some(0));
        assert_eq!(from(b"x.y.a.example.com"), Some(4));
    }

    #[test]
    fn what_no_route_is_for_is_served_or_refused() {
        let route = || SniRoute {
            names: ServerNames::parse("*.a").unwrap(),
            pool: 7,
        };
        for (unrouted, rest) in [(Unrouted::Served, Some(0)), (Unrouted::Refused, None)] {
            let table = SniTable::new([route()], unrouted);
            assert_eq!(table.pool(Some(b"b.a")), Some(7));
            assert_eq!(table.pool(Some(b"a")), rest);
            assert_eq!(table.pool(None), rest);
        }
        assert_eq!(SniTable::default().pool(Some(b"a")), Some(0));
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
