use std::net::Ipv6Addr;

use lbfabric_model::route_text::{self, HOST_MAX};

use super::InvalidRoute;

/// Which hosts a route is for. Ports do not matter, nor does case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern(pub(super) Hosts);

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Hosts {
    /// All, and requests without one.
    #[default]
    Any,
    /// In lower case.
    One(Box<str>),
    /// All below this name, which is in lower case, at any depth.
    Below(Box<str>),
}

impl HostPattern {
    /// All hosts, and requests without one.
    pub const ANY: Self = Self(Hosts::Any);

    /// `*` or nothing for all, `*.example.com` for all names below, a name, or an address (of IPv6 in brackets).
    pub fn parse(text: &str) -> Result<Self, InvalidRoute> {
        let text = route_text::host_pattern(text);
        let text = text.map_err(|reason| InvalidRoute::new("host", reason))?;
        Ok(Self(match text.strip_prefix("*.") {
            Some(parent) => Hosts::Below(parent.into()),
            None if text.is_empty() => Hosts::Any,
            None => Hosts::One(text.into()),
        }))
    }
}

/// A request's host as patterns are compared with: without a port or a last dot, in lower case.
#[derive(Debug)]
pub(super) struct HostName {
    bytes: [u8; HOST_MAX],
    length: usize,
}

impl HostName {
    /// None if no pattern could name it.
    pub(super) fn of(host: &str) -> Option<Self> {
        let mut name = Self {
            bytes: [0; HOST_MAX],
            length: 0,
        };
        if let Some(inner) = host.strip_prefix('[') {
            let address: Ipv6Addr = inner[..inner.find(']')?].parse().ok()?;
            name.put(format!("[{address}]").as_bytes())?;
            return Some(name);
        }
        let host = host.split_once(':').map_or(host, |(host, _)| host);
        name.put(host.strip_suffix('.').unwrap_or(host).as_bytes())?;
        Some(name)
    }

    fn put(&mut self, text: &[u8]) -> Option<()> {
        let room = self.bytes.get_mut(..text.len())?;
        room.copy_from_slice(text);
        room.make_ascii_lowercase();
        self.length = text.len();
        Some(())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The names that it is below, the longest first.
    pub(super) fn parents(&self) -> impl Iterator<Item = &[u8]> {
        let name = self.as_bytes();
        memchr::memchr_iter(b'.', name).map(move |at| &name[at + 1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_addresses_and_what_is_below() {
        for (text, hosts) in [
            ("*", Hosts::Any),
            ("", Hosts::Any),
            ("WWW.Example.com", Hosts::One("www.example.com".into())),
            ("*.Example.com", Hosts::Below("example.com".into())),
            ("192.0.2.1", Hosts::One("192.0.2.1".into())),
            ("[2001:DB8:0::1]", Hosts::One("[2001:db8::1]".into())),
            ("a_b", Hosts::One("a_b".into())),
        ] {
            assert_eq!(HostPattern::parse(text), Ok(HostPattern(hosts)), "{text}");
        }
        let long = "a".repeat(64);
        for text in [
            "a..b",
            ".a",
            "a.",
            "*.",
            "*a",
            "a.*",
            "**",
            "a:80",
            "a b",
            "[::1",
            "[a]",
            "é.example",
            "a/b",
            &long,
        ] {
            let error = HostPattern::parse(text).expect_err(text);
            assert_eq!(error.field, "host", "{text}");
        }
    }

    #[test]
    fn names_are_compared_without_port_dot_and_case() {
        let name = |host: &str| HostName::of(host).map(|it| it.as_bytes().to_vec());
        for (host, expected) in [
            ("A.Example", "a.example"),
            ("a.example.:80", "a.example"),
            ("[2001:DB8::0:1]:443", "[2001:db8::1]"),
            ("a:", "a"),
        ] {
            assert_eq!(name(host).as_deref(), Some(expected.as_bytes()), "{host}");
        }
        assert_eq!(name(&"a".repeat(254)), None);
        let deep = HostName::of("a.b.c").unwrap();
        assert_eq!(deep.parents().collect::<Vec<_>>(), [&b"b.c"[..], b"c"]);
    }
}
