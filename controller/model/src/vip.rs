use std::{net::IpAddr, sync::LazyLock};

use lbfabric_abi::{VIP_BITS_MIN_V4, VIP_BITS_MIN_V6};

use crate::{Prefix, Violation, name::shortened};

/// Networks that no VIP, server or node may have an address of, and what they are.
const REFUSED: &[(&str, &str)] = &[
    ("0.0.0.0/8", "the unspecified network 0.0.0.0/8"),
    ("127.0.0.0/8", "the loopback network 127.0.0.0/8"),
    ("169.254.0.0/16", "the link-local network 169.254.0.0/16"),
    ("224.0.0.0/4", "the multicast network 224.0.0.0/4"),
    ("240.0.0.0/4", "the reserved network 240.0.0.0/4"),
    ("::", "the unspecified address ::"),
    ("::1", "the loopback address ::1"),
    (
        "::ffff:0:0/96",
        "IPv4 addresses written as IPv6 (write them as IPv4)",
    ),
    ("fe80::/10", "the link-local network fe80::/10"),
    ("ff00::/8", "the multicast network ff00::/8"),
];

/// [`REFUSED`], parsed once: a document may have some hundred thousand addresses.
static REFUSED_NETWORKS: LazyLock<Vec<(Prefix, &str)>> = LazyLock::new(|| {
    let parsed = REFUSED.iter().map(|(network, what)| {
        let network = Prefix::parse(network, "").expect("the table holds prefixes");
        (network, *what)
    });
    parsed.collect()
});

/// Parses an address that packets on a network can carry, for a server or a node.
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
    check_unicast(address.into(), path)?;
    Ok(address)
}

/// Parses a VIP: an address, or a prefix that is not too short.
pub(crate) fn parse_vip(text: &str, path: &str) -> Result<Prefix, Violation> {
    let vip = Prefix::parse(text, path)?;
    let shortest = match vip.address() {
        IpAddr::V4(_) => VIP_BITS_MIN_V4,
        IpAddr::V6(_) => VIP_BITS_MIN_V6,
    };
    if vip.bits() < shortest {
        return Err(Violation::new(
            path,
            format!(
                "`{vip}` is too large for a VIP: use an {} prefix of /{shortest} or longer",
                family(vip)
            ),
        ));
    }
    check_unicast(vip, path)?;
    Ok(vip)
}

fn check_unicast(prefix: Prefix, path: &str) -> Result<(), Violation> {
    let networks = REFUSED_NETWORKS.iter();
    let refused = networks
        .copied()
        .find(|(network, _)| network.overlaps(prefix));
    refused.map_or(Ok(()), |(_, what)| {
        let how = if prefix.is_single() {
            "is of"
        } else {
            "has addresses of"
        };
        Err(Violation::new(
            path,
            format!("`{prefix}` {how} {what}: use unicast addresses that can be routed"),
        ))
    })
}

/// The family's name, for messages.
pub(crate) fn family(of: impl Into<Prefix>) -> &'static str {
    if of.into().is_ipv4() { "IPv4" } else { "IPv6" }
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
            assert!(parse_vip(good, "p").is_ok(), "{good}");
        }
        for bad in [
            "",
            "x",
            "1.2.3",
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
            assert!(parse_vip(bad, "p").is_err(), "{bad}");
        }
        assert!(parse_unicast("10.0.0.0/24", "p").is_err());
    }

    #[test]
    fn prefixes_of_unicast_addresses_that_are_not_too_short() {
        for good in [
            "10.0.0.0/8",
            "203.0.113.0/24",
            "203.0.113.7/32",
            "2001::/16",
            "2001:db8::/48",
        ] {
            assert!(parse_vip(good, "p").is_ok(), "{good}");
        }
        for bad in [
            "10.0.0.0/7",
            "0.0.0.0/0",
            "203.0.113.1/24",
            "127.0.0.0/24",
            "169.0.0.0/8",
            "224.0.0.0/8",
            "2000::/15",
            "::/0",
            "::/16",
            "fe80::/16",
            "ff00::/16",
            "::ffff:0:0/112",
        ] {
            assert!(parse_vip(bad, "p").is_err(), "{bad}");
        }
    }
}
