use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbfabric_abi::SOURCES_MAX;

/// What the node itself brings in: the addresses and ports that it sends from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) sources4: Vec<Ipv4Addr>,
    pub(crate) sources6: Vec<Ipv6Addr>,
    pub(crate) nat_ports: Option<NatPorts>,
    /// Whether the fabric names the sources of IPv4: servers know them then.
    pub(crate) is_known4: bool,
    /// As [`Self::is_known4`], of IPv6.
    pub(crate) is_known6: bool,
}

/// Source ports of full NAT: all from 1024 on that the kernel does not give to its own connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NatPorts {
    pub(crate) first: u16,
    pub(crate) count: u16,
    /// How many of them come before the kernel's;
    pub(crate) gap_at: u16,
    /// and how many those are.
    pub(crate) gap: u16,
}

impl NatPorts {
    /// The ports from 1024 to 65535 beside those (inclusive) that the kernel gives to its own connections, or `None` if nothing
    /// is left.
    pub(crate) fn beside(kernel_first: u16, kernel_last: u16) -> Option<Self> {
        const LOWEST: u16 = 1024;
        let below = kernel_first.saturating_sub(LOWEST);
        let kernel_last = kernel_last.max(LOWEST - 1);
        let above = u16::MAX - kernel_last;
        let (first, gap) = match (below, above) {
            (0, 0) => return None,
            (0, _) => (kernel_last + 1, 0),
            (_, 0) => (LOWEST, 0),
            (_, _) => (LOWEST, kernel_last - kernel_first + 1),
        };
        Some(Self {
            first,
            count: below + above,
            gap_at: below,
            gap,
        })
    }
}

/// The addresses to send from, and why some of the wanted ones cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
    pub(crate) refusal: Option<String>,
}

impl Sources {
    /// Of each family the wanted addresses, or the first own one if none is wanted. A wanted address that the node does not
    /// have is left out and named.
    ///
    /// `on_interface` are the addresses on the interfaces with the program, `on_node` those on any interface.
    pub(crate) fn choose(wanted: &[IpAddr], on_interface: &[IpAddr], on_node: &[IpAddr]) -> Self {
        let missing: Vec<String> = wanted
            .iter()
            .filter(|address| !on_node.contains(address))
            .map(IpAddr::to_string)
            .collect();
        let usable: Vec<IpAddr> = wanted
            .iter()
            .copied()
            .filter(|address| on_node.contains(address))
            .collect();
        let mut v4: Vec<Ipv4Addr> = usable.iter().copied().filter_map(ipv4).collect();
        let mut v6: Vec<Ipv6Addr> = usable.iter().copied().filter_map(ipv6).collect();
        if !wanted.iter().any(IpAddr::is_ipv4) {
            v4.extend(on_interface.iter().copied().find_map(ipv4));
        }
        if !wanted.iter().any(IpAddr::is_ipv6) {
            v6.extend(on_interface.iter().copied().find_map(ipv6));
        }
        v4.truncate(SOURCES_MAX);
        v6.truncate(SOURCES_MAX);
        let refusal = (!missing.is_empty()).then(|| {
            format!(
                "source_addresses: {} not configured on this node; add to an interface or take off the list",
                missing.join(", ")
            )
        });
        Self { v4, v6, refusal }
    }
}

/// The addresses that are wanted, each at the place that it has in `held`: sessions of full NAT are found by the place. Where one
/// has gone, a new one takes its place, or else one of the others stands there once more.
pub(crate) fn in_their_places<A: Copy + PartialEq>(wanted: &[A], held: &[A]) -> Vec<A> {
    let mut fresh = wanted.iter().filter(|it| !held.contains(it)).copied();
    let Some(last) = held.iter().rposition(|it| wanted.contains(it)) else {
        return wanted.to_vec();
    };
    let mut seen: Vec<A> = Vec::new();
    let mut placed: Vec<A> = Vec::new();
    for address in &held[..=last] {
        let keeps = wanted.contains(address) && !seen.contains(address);
        seen.push(*address);
        let address = if keeps { Some(*address) } else { fresh.next() };
        placed.extend(address.or_else(|| wanted.first().copied()));
    }
    placed.extend(fresh);
    placed
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn ipv6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_abi::Settings;
    use proptest::prelude::*;

    use super::*;

    /// The ranges of ports, inclusive.
    fn beside(kernel_first: u16, kernel_last: u16) -> Vec<(u16, u16)> {
        let ports = NatPorts::beside(kernel_first, kernel_last).map(all);
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for port in ports.into_iter().flatten() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == port => *last = port,
                _ => ranges.push((port, port)),
            }
        }
        ranges
    }

    /// As the program counts them through.
    fn all(ports: NatPorts) -> Vec<u16> {
        let settings = Settings {
            nat_port_first: ports.first.into(),
            nat_port_count: ports.count.into(),
            nat_port_gap_at: ports.gap_at.into(),
            nat_port_gap: ports.gap.into(),
            ..Settings::default()
        };
        (0..settings.nat_port_count)
            .map(|n| settings.nat_port(n))
            .collect()
    }

    #[test]
    fn addresses_keep_their_places() {
        let placed = |wanted: &str, held: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let placed = in_their_places(&chars(wanted), &chars(held));
            placed.into_iter().collect::<String>()
        };
        assert_eq!(placed("abc", ""), "abc");
        assert_eq!(placed("bca", "abc"), "abc", "whatever their order");
        assert_eq!(placed("abcd", "abc"), "abcd", "added");
        assert_eq!(placed("dabc", "abc"), "abcd", "added in front");
        assert_eq!(placed("ac", "abc"), "aac", "gone");
        assert_eq!(placed("ac", "aac"), "aac", "gone earlier");
        assert_eq!(placed("adc", "aac"), "adc", "replaced");
        assert_eq!(placed("ab", "abc"), "ab", "gone from the end");
        assert_eq!(placed("xy", "ab"), "xy", "all others");
    }

    #[test]
    fn all_that_are_not_the_kernels() {
        assert_eq!(beside(32768, 60999), [(1024, 32767), (61000, 65535)]);
        assert_eq!(beside(1024, 40000), [(40001, 65535)]);
        assert_eq!(beside(40000, 65535), [(1024, 39999)]);
        assert_eq!(beside(1, 65535), []);
        assert_eq!(beside(1, 10), [(1024, 65535)]);
        assert_eq!(beside(1024, 65535), []);
        assert_eq!(beside(1025, 65535), [(1024, 1024)]);
    }

    proptest! {
        #[test]
        fn never_the_kernels(first in 1u16.., last in 1u16..) {
            let (first, last) = (first.min(last), first.max(last));
            let free = (1024..=u16::MAX).filter(|port| !(first..=last).contains(port));
            let ports = NatPorts::beside(first, last).map(all).unwrap_or_default();
            prop_assert_eq!(ports, free.collect::<Vec<_>>());
        }
    }

    #[test]
    fn sources_default_to_the_first_of_each_family() {
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let b: IpAddr = "10.0.0.2".parse().unwrap();
        let c: IpAddr = "2001:db8::1".parse().unwrap();
        let own = [a, b, c];
        let chosen = Sources::choose(&[], &own, &own);
        assert_eq!(chosen.v4, [Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(chosen.v6.len(), 1);
        assert_eq!(chosen.refusal, None);
        // Wanted ones replace the default of their own family only.
        let chosen = Sources::choose(&[b], &own, &own);
        assert_eq!(chosen.v4, [Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(chosen.v6.len(), 1);
    }

    #[test]
    fn a_source_that_is_not_here_is_refused_by_name() {
        let own = ["10.0.0.1".parse().unwrap()];
        let wanted = ["10.0.0.9".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let chosen = Sources::choose(&wanted, &own, &own);
        assert_eq!(chosen.v4, [Ipv4Addr::new(10, 0, 0, 1)]);
        assert!(chosen.refusal.is_some_and(|r| r.contains("10.0.0.9")));
        // Another address is never used instead of the wanted one.
        let chosen = Sources::choose(&wanted[..1], &own, &own);
        assert!(chosen.v4.is_empty());
    }
}
