use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Violation, name::shortened};

/// Parses an address that packets on a network can carry, for a VIP, a server or a node.
pub(crate) fn parse_unicast(text: &str, path: &str) -> Result<IpAddr, Violation> {
    let address: IpAddr = text.parse().ok().ok_or_else(|| {
        Violation::new(
            path,
            format!(
                "`{}` is not an IP address: write IPv4 as `203.0.113.10` or IPv6 as `2001:db8::10`",
                shortened(text)
            ),
        )
    })?;
    match refused_as(address) {
        None => Ok(address),
        Some(what) => Err(Violation::new(
            path,
            format!("`{address}` is {what}: use a unicast address that can be routed"),
        )),
    }
}

fn refused_as(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => refused_v4(v4),
        IpAddr::V6(v6) => refused_v6(v6),
    }
}

fn refused_v4(v4: Ipv4Addr) -> Option<&'static str> {
    if v4.octets()[0] == 0 {
        Some("of the unspecified network 0.0.0.0/8")
    } else if v4.is_loopback() {
        Some("a loopback address")
    } else if v4.is_multicast() {
        Some("a multicast address")
    } else if v4.is_link_local() {
        Some("a link-local address")
    } else if v4.octets()[0] >= 240 {
        Some("of the reserved network 240.0.0.0/4")
    } else {
        None
    }
}

fn refused_v6(v6: Ipv6Addr) -> Option<&'static str> {
    if v6.is_unspecified() {
        Some("the unspecified address")
    } else if v6.is_loopback() {
        Some("a loopback address")
    } else if v6.is_multicast() {
        Some("a multicast address")
    } else if v6.is_unicast_link_local() {
        Some("a link-local address")
    } else if v6.to_ipv4_mapped().is_some() {
        Some("an IPv4 address written as IPv6 (write it as IPv4)")
    } else {
        None
    }
}

/// The family's name, for messages.
pub(crate) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Parses 4 or 16 bytes in network order.
pub(crate) fn address_from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The address's 4 or 16 bytes in network order.
pub(crate) fn address_to_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicast_only() {
        for good in ["203.0.113.10", "10.0.0.1", "2001:db8::10", "fd00::1"] {
            assert!(parse_unicast(good, "p").is_ok(), "{good}");
        }
        for bad in [
            "",
            "x",
            "1.2.3",
            "1.2.3.4/24",
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "169.254.1.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "fe80::1",
            "::ffff:1.2.3.4",
        ] {
            assert!(parse_unicast(bad, "p").is_err(), "{bad}");
        }
    }
}
