use std::collections::BTreeMap;

use lbfabric_abi::{Address, FilterBit, FilterRegion, VipPrefix};

use super::op::MapOp;

/// The address filter as it has to be: its words that are not zero, by index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter(BTreeMap<u32, u64>);

impl Filter {
    /// Lets packets with these addresses through.
    pub(crate) fn add(
        &mut self,
        region: FilterRegion,
        addresses: impl IntoIterator<Item = Address>,
    ) {
        for address in addresses {
            let FilterBit { word, bit } = region.bit_of(address);
            *self.0.entry(word).or_default() |= 1 << bit;
        }
    }

    /// Lets packets to a prefix through.
    pub(crate) fn add_prefix(&mut self, prefix: VipPrefix) {
        // More addresses than bits, or nearly so.
        const ALL_FROM: u32 = 12;
        let VipPrefix { address, bits } = prefix;
        let is_ipv4 = address.ipv4_word().is_some();
        let before = if is_ipv4 { 96 } else { 0 };
        let end = before + FilterRegion::prefix_bits(is_ipv4);
        let open = end.saturating_sub(bits);
        if open > ALL_FROM {
            let words = FilterRegion::prefix_words().map(|word| (word, u64::MAX));
            self.0.extend(words);
            return;
        }
        let address = u128::from_be_bytes(address.0);
        let addresses = (0u128..1 << open).map(|n| address | n << (128 - end));
        let addresses = addresses.map(|it| Address(it.to_be_bytes()));
        self.add(FilterRegion::Prefix, addresses);
    }

    /// Adds what is missing in the observed one.
    pub(crate) fn widen(&self, observed: &BTreeMap<u32, u64>, ops: &mut Vec<MapOp>) {
        for (index, word) in &self.0 {
            let old = observed.get(index).copied().unwrap_or_default();
            if old | word != old {
                ops.push(MapOp::PutFilterWord(*index, old | word));
            }
        }
    }

    /// Takes away what the observed one has besides.
    pub(crate) fn narrow(&self, observed: &BTreeMap<u32, u64>, ops: &mut Vec<MapOp>) {
        for (index, old) in observed {
            let word = self.0.get(index).copied().unwrap_or_default();
            if old & !word != 0 {
                ops.push(MapOp::PutFilterWord(*index, word));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(addresses: &[u8]) -> Filter {
        let mut filter = Filter::default();
        for n in addresses {
            filter.add(FilterRegion::Vip, [Address::from_ipv4([192, 0, 2, *n])]);
        }
        filter
    }

    proptest! {
        /// Whatever address of a prefix a packet is for, its bit is set.
        #[test]
        fn all_of_a_prefix_passes(address in any::<[u8; 16]>(), bits in 1u32..=127, is_ipv4 in any::<bool>(), host in any::<u128>()) {
            let (address, bits) = if is_ipv4 {
                let [a, b, c, d, ..] = address;
                (Address::from_ipv4([a, b, c, d]), 96 + bits % 32)
            } else {
                (Address(address), bits)
            };
            let bits = bits.max(1);
            let network = u128::from_be_bytes(address.0) & (u128::MAX << (128 - bits));
            let mut filter = Filter::default();
            filter.add_prefix(VipPrefix { address: Address(network.to_be_bytes()), bits });
            let member = network | host & (u128::MAX >> bits);
            let bit = FilterRegion::Prefix.bit_of(Address(member.to_be_bytes()));
            prop_assert!(bit.is_in(filter.0.get(&bit.word).copied().unwrap_or_default()));
        }

        /// No address that is in both is ever filtered out in between, and in the end nothing else is let through.
        #[test]
        fn changes_in_two_steps(old in prop::collection::vec(any::<u8>(), 0..20), new in prop::collection::vec(any::<u8>(), 0..20)) {
            let (Filter(mut observed), new) = (filter(&old), filter(&new));
            let before = observed.clone();
            let mut ops = Vec::new();
            new.widen(&before, &mut ops);
            let widened = ops.len();
            new.narrow(&before, &mut ops);
            for (n, op) in ops.iter().enumerate() {
                let MapOp::PutFilterWord(index, word) = *op else { panic!("{op:?}") };
                if n < widened {
                    prop_assert_eq!(word & before.get(&index).copied().unwrap_or_default(), before.get(&index).copied().unwrap_or_default());
                }
                observed.insert(index, word);
            }
            observed.retain(|_, word| *word != 0);
            prop_assert_eq!(observed, new.0);
        }
    }
}
