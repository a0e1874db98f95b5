use std::{fmt, str::FromStr};

/// A controller's address: `HOST:PORT`, an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

// === impl Address ===

impl Address {
    /// The address as a URI.
    pub(super) fn uri(&self) -> String {
        format!("http://{}", self.0)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "write HOST:PORT, such as 127.0.0.1:7400 or [::1]:7400".to_owned();
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let is_name = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        let has_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        let is_address = is_bracketed
            && host[1..host.len() - 1]
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
        if has_port && (is_name || is_address) {
            Ok(Self(text.trim().to_owned()))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_host_and_port_only() {
        for right in [
            "127.0.0.1:7400",
            "[::1]:7400",
            "controller-1.example:80",
            " localhost:1 ",
        ] {
            assert!(right.parse::<Address>().is_ok(), "{right}");
        }
        for wrong in [
            "",
            "7400",
            ":7400",
            "a:",
            "a:0",
            "a:65536",
            "::1:7400",
            "http://a:1",
            "a/b:1",
            "[x]:1",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
