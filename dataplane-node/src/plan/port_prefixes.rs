use lbfabric_model::PortRange;

/// The ports that share their first `bits` bits with `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortPrefix {
    pub(crate) port: u16,
    pub(crate) bits: u32,
}

/// The fewest prefixes that together cover exactly the range: at most 30.
pub(crate) fn port_prefixes(range: PortRange) -> Vec<PortPrefix> {
    let mut prefixes = Vec::new();
    let mut at = u32::from(range.first);
    let end = u32::from(range.last) + 1;
    while at < end {
        // The largest block that begins here by its alignment and ends within the range.
        let aligned = at.trailing_zeros().min(16);
        let fitting = (end - at).ilog2();
        let size = aligned.min(fitting);
        prefixes.push(PortPrefix {
            port: u16::try_from(at).expect("below the end of a range of ports"),
            bits: 16 - size,
        });
        at += 1 << size;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(prefix: PortPrefix, port: u16) -> bool {
        let mask = u16::MAX.checked_shl(16 - prefix.bits).unwrap_or(0);
        prefix.port & mask == port & mask
    }

    fn prefixes(first: u16, last: u16) -> Vec<PortPrefix> {
        port_prefixes(PortRange::new(first, last).expect("a range"))
    }

    #[test]
    fn single_and_widest() {
        assert_eq!(
            prefixes(443, 443),
            [PortPrefix {
                port: 443,
                bits: 16
            }]
        );
        assert_eq!(prefixes(1, 65535).len(), 16);
        assert_eq!(prefixes(1, 65534).len(), 30);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn cover_exactly_the_range(a in 1u16.., b in 1u16..) {
            let (first, last) = (a.min(b), a.max(b));
            let prefixes = prefixes(first, last);
            prop_assert!(prefixes.len() <= 30);
            for port in 0..=u16::MAX {
                let hits = prefixes.iter().filter(|p| covers(**p, port)).count();
                prop_assert_eq!(hits, usize::from((first..=last).contains(&port)), "port {}", port);
            }
        }
    }
}
