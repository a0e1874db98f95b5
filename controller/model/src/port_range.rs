use std::fmt;

use crate::{Violation, name::shortened};

/// An inclusive range of ports, none of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The first port, at least 1.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
}

impl PortRange {
    /// Every port but 0.
    pub const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };

    /// A range, or `None` if it is empty or holds port 0.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first >= 1 && first <= last).then_some(Self { first, last })
    }

    /// Parses `443` or `8000-8099`.
    pub(crate) fn parse(text: &str, path: &str) -> Result<Self, Violation> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = match (port(first), port(last)) {
            (Some(first), Some(last)) => Self::new(first, last),
            _ => None,
        };
        range.ok_or_else(|| {
            Violation::new(
                path,
                format!(
                    "`{}` is not a port or range: write a port from 1 to 65535 as `443`, a range as `8000-8099`",
                    shortened(text)
                ),
            )
        })
    }

    /// Whether it is one port.
    pub const fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Whether a port is in both.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Digits only: `u16::from_str` would also take a sign.
fn port(text: &str) -> Option<u16> {
    let text = text.trim();
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        let range = |first, last| Ok(PortRange { first, last });
        assert_eq!(PortRange::parse("443", "p"), range(443, 443));
        assert_eq!(PortRange::parse("1-65535", "p"), range(1, 65535));
        for bad in [
            "", "0", "65536", "-1", "+1", "1-", "-", "9-8", "0-5", "1-2-3", "http",
        ] {
            assert!(PortRange::parse(bad, "p").is_err(), "{bad}");
        }
    }
}
