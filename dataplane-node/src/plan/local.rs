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

/// Source ports of full NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NatPorts {
    pub(crate) first: u16,
    pub(crate) count: u16,
}

impl NatPorts {
    /// The larger part of 1024 to 65535 outside of the ports (inclusive) that the kernel gives to its own connections, or
    /// `None` if nothing is left. Where both are equally large, the lower one.
    pub(crate) fn beside(kernel_first: u16, kernel_last: u16) -> Option<Self> {
        const LOWEST: u16 = 1024;
        let below = kernel_first.saturating_sub(LOWEST);
        let above = u16::MAX - kernel_last.max(LOWEST - 1);
        match below.max(above) {
            0 => None,
            count if count == below => Some(Self {
                first: LOWEST,
                count,
            }),
            count => Some(Self {
                first: kernel_last.max(LOWEST - 1) + 1,
                count,
            }),
        }
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
    use proptest::prelude::*;

    use super::*;

    fn beside(kernel_first: u16, kernel_last: u16) -> Option<(u16, u16)> {
        let ports = NatPorts::beside(kernel_first, kernel_last);
        ports.map(|NatPorts { first, count }| (first, count))
    }

    #[test]
    fn the_larger_free_part() {
        assert_eq!(beside(32768, 60999), Some((1024, 31744)));
        assert_eq!(beside(1024, 40000), Some((40001, 25535)));
        assert_eq!(beside(1, 65535), None);
        assert_eq!(beside(1, 10), Some((1024, 64512)));
        assert_eq!(beside(1024, 65535), None);
        assert_eq!(beside(1025, 65535), Some((1024, 1)));
    }

    proptest! {
        #[test]
        fn never_the_kernels(first in 1u16.., last in 1u16..) {
            let (first, last) = (first.min(last), first.max(last));
            if let Some(NatPorts { first: start, count }) = NatPorts::beside(first, last) {
                prop_assert!(count >= 1 && start >= 1024);
                let end = u32::from(start) + u32::from(count) - 1;
                prop_assert!(end <= 65535);
                prop_assert!(end < u32::from(first) || start > last);
            }
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
