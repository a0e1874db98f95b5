use std::collections::{BTreeMap, BTreeSet};

use lbfabric_abi::{Address, VIP_PREFIX_LEVELS_MAX, VipPrefix};

/// Whether, with those that are to be added, more prefixes lie within one another than a packet looks through.
pub(crate) fn is_too_deep(present: &BTreeMap<VipPrefix, u32>, added: &[VipPrefix]) -> bool {
    let added: BTreeSet<VipPrefix> = added.iter().copied().collect();
    let is_too_deep = |prefix: &VipPrefix| {
        around(present, &added, *prefix) + levels_of(present, &added, *prefix)
            > VIP_PREFIX_LEVELS_MAX
    };
    added.iter().any(is_too_deep)
}

/// How many prefixes hold this one.
fn around(
    present: &BTreeMap<VipPrefix, u32>,
    added: &BTreeSet<VipPrefix>,
    prefix: VipPrefix,
) -> usize {
    let wider = (1..prefix.bits).map(|bits| VipPrefix {
        address: Address((word(prefix.address) & !(u128::MAX >> bits)).to_be_bytes()),
        bits,
    });
    wider
        .filter(|it| present.contains_key(it) || added.contains(it))
        .count()
}

/// How many lie within one another from this one on, itself among them.
fn levels_of(
    present: &BTreeMap<VipPrefix, u32>,
    added: &BTreeSet<VipPrefix>,
    prefix: VipPrefix,
) -> usize {
    let last = VipPrefix {
        address: Address((word(prefix.address) | u128::MAX >> prefix.bits).to_be_bytes()),
        bits: Address::BITS,
    };
    let inside = present
        .range(prefix..=last)
        .map(|(it, _)| it)
        .chain(added.range(prefix..=last));
    // In this order a prefix comes before those in it, and these before all behind it: those that it is in are at hand.
    let inside: BTreeSet<VipPrefix> = inside.copied().collect();
    let mut nested: Vec<VipPrefix> = Vec::new();
    let mut levels = 0;
    for it in inside {
        while nested
            .last()
            .is_some_and(|wider| !holds(*wider, it.address))
        {
            nested.pop();
        }
        nested.push(it);
        levels = levels.max(nested.len());
    }
    levels
}

fn holds(prefix: VipPrefix, address: Address) -> bool {
    (word(prefix.address) ^ word(address)).leading_zeros() >= prefix.bits
}

const fn word(address: Address) -> u128 {
    u128::from_be_bytes(address.0)
}

#[cfg(test)]
mod tests {
    use lbfabric_abi::VipFlags;

    use super::*;

    fn prefix(third: u8, bits: u32) -> VipPrefix {
        VipPrefix {
            address: Address::from_ipv4([10, 1, third, 0]),
            bits: 96 + bits,
        }
    }

    fn present(prefixes: &[VipPrefix]) -> BTreeMap<VipPrefix, u32> {
        prefixes.iter().map(|it| (*it, VipFlags::KNOWN)).collect()
    }

    #[test]
    fn four_levels_are_not_too_deep() {
        let nested = [16, 18, 20, 22].map(|bits| prefix(0, bits));
        let beside = [prefix(0, 24), prefix(4, 22), prefix(128, 24)];
        assert!(!is_too_deep(&present(&nested), &[]));
        assert!(!is_too_deep(&present(&nested[1..]), &nested));
        assert!(!is_too_deep(&present(&nested), &beside[1..]));
        assert!(is_too_deep(&present(&nested), &beside[..1]));
        // Whichever comes last.
        let inner = [18, 20, 22, 24].map(|bits| prefix(0, bits));
        assert!(!is_too_deep(&present(&[]), &inner));
        assert!(is_too_deep(&present(&inner), &nested[..1]));
    }
}
