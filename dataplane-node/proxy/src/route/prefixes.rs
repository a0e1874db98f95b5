use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::InvalidRoute;

/// A set of addresses, given as prefixes. A look costs a binary search, however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// First and last address of each, in order, apart from one another.
    v4: Box<[(Ipv4Addr, Ipv4Addr)]>,
    v6: Box<[(Ipv6Addr, Ipv6Addr)]>,
}

impl Prefixes {
    /// Of prefixes as `192.0.2.0/24` and `2001:db8::/32`, and of single addresses.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, InvalidRoute> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in texts {
            match range(text).map_err(|reason| InvalidRoute::new("prefix", reason))? {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first, last)),
                (first, last) => v6.push((v6_of(first), v6_of(last))),
            }
        }
        Ok(Self {
            v4: merged(v4),
            v6: merged(v6),
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in one of them. An IPv4 address may be written as one of IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => is_in(&self.v4, v4),
            IpAddr::V6(v6) => is_in(&self.v6, v6),
        }
    }
}

fn v6_of(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The first and the last address of a prefix.
fn range(text: &str) -> Result<(IpAddr, IpAddr), String> {
    let wrong = || format!("is an address, or a prefix as 192.0.2.0/24, not {text:?}");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => {
            let is_number = !length.is_empty() && length.bytes().all(|it| it.is_ascii_digit());
            let length = length.parse::<u32>().ok().filter(|_| is_number);
            (address, Some(length.ok_or_else(wrong)?))
        }
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_not_one| wrong())?;
    let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
    let host_bits = bits.checked_sub(length.unwrap_or(bits)).ok_or_else(wrong)?;
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    let (first, last) = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            let first = v4.to_bits() & mask;
            (
                Ipv4Addr::from_bits(first).into(),
                Ipv4Addr::from_bits(first | !mask).into(),
            )
        }
        IpAddr::V6(v6) => {
            let first = v6.to_bits() & mask;
            (
                IpAddr::from(Ipv6Addr::from_bits(first)),
                Ipv6Addr::from_bits(first | !mask).into(),
            )
        }
    };
    if first == address {
        Ok((first, last))
    } else {
        let length = bits - host_bits;
        Err(format!(
            "{text:?} has bits behind its length: write {first}/{length}"
        ))
    }
}

fn merged<A: Copy + Ord>(mut ranges: Vec<(A, A)>) -> Box<[(A, A)]> {
    ranges.sort_unstable();
    let mut apart: Vec<(A, A)> = Vec::new();
    for (first, last) in ranges {
        match apart.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => apart.push((first, last)),
        }
    }
    apart.into()
}

fn is_in<A: Copy + Ord>(ranges: &[(A, A)], address: A) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind > 0 && address <= ranges[behind - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_prefixes_and_in_no_others() {
        let set = [
            "192.0.2.0/24",
            "192.0.2.128/25",
            "198.51.100.7",
            "2001:db8::/32",
            "::1",
        ];
        let set = Prefixes::parse(set).unwrap();
        for (address, is_in) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("192.0.1.255", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("::ffff:192.0.2.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), is_in, "{address}");
        }
        let all = Prefixes::parse(["0.0.0.0/0"]).unwrap();
        assert!(all.contains(IpAddr::from([255; 4])));
        assert!(!all.contains("::1".parse().unwrap()));
        assert!(Prefixes::default().is_empty() && !all.is_empty());
    }

    #[test]
    fn what_is_no_prefix_is_told_with_what_would_be() {
        let reason = |text| Prefixes::parse([text]).unwrap_err().reason;
        assert!(reason("192.0.2.1/24").ends_with("write 192.0.2.0/24"));
        assert!(reason("2001:db8::1/32").ends_with("write 2001:db8::/32"));
        for text in [
            "",
            "a",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "192.0.2.0/-1",
            "::/129",
        ] {
            assert!(reason(text).starts_with("is an address"), "{text}");
        }
    }
}
