//! The address filter: the first question that is asked of every packet, answered by one bit.
//!
//! A bit stands for all addresses that hash to it, so a set bit means "perhaps": the tables that follow decide. A cleared
//! one is certain, and the packet goes on to the kernel.

use crate::Address;

/// What an address is to the node. Each has its own bits in `FILTER`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterRegion {
    /// Destinations: VIPs.
    Vip = 0,
    /// Destinations: addresses that the node sends from.
    Own = 1,
    /// Sources: servers whose answers are translated.
    Server = 2,
}

/// Words of a region, 64 bits each.
pub const FILTER_REGION_WORDS: u32 = 1 << FILTER_WORD_BITS;
/// Words of `FILTER`.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub const FILTER_WORDS: u32 = FilterRegion::ALL.len() as u32 * FILTER_REGION_WORDS;
const FILTER_WORD_BITS: u32 = 13;

/// A bit of `FILTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterBit {
    /// The word's index.
    pub word: u32,
    /// The bit in the word: 0 to 63.
    pub bit: u32,
}

impl FilterRegion {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Vip, Self::Own, Self::Server];

    /// The bit of an IPv4 address, in memory order.
    #[inline(always)]
    pub const fn bit4(self, address: u32) -> FilterBit {
        self.bit((address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The bit of an IPv6 address, its words in memory order.
    #[inline(always)]
    pub const fn bit6(self, address: [u32; 4]) -> FilterBit {
        let high = address[0] as u64 | (address[1] as u64) << 32;
        let low = address[2] as u64 | (address[3] as u64) << 32;
        let product = high.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        self.bit(
            (product ^ product >> 32)
                .wrapping_add(low)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15),
        )
    }

    /// The bit of an address of either family.
    pub const fn bit_of(self, address: Address) -> FilterBit {
        match address.ipv4_word() {
            Some(word) => self.bit4(word),
            None => self.bit6(address.words()),
        }
    }

    #[inline(always)]
    const fn bit(self, product: u64) -> FilterBit {
        let hash = (product >> (64 - 6 - FILTER_WORD_BITS)) as u32;
        FilterBit {
            word: self as u32 * FILTER_REGION_WORDS + (hash >> 6),
            bit: hash & 63,
        }
    }
}

impl FilterBit {
    /// Whether a word has it.
    #[inline(always)]
    pub const fn is_in(self, word: u64) -> bool {
        word >> self.bit & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap() {
        for (n, region) in (0..).zip(FilterRegion::ALL) {
            for address in [0, 1, 0x0100_a8c0, u32::MAX] {
                for bit in [region.bit4(address), region.bit6([1, 2, address, 3])] {
                    assert_eq!(bit.word / FILTER_REGION_WORDS, n);
                    assert!(bit.bit < 64);
                }
            }
        }
    }

    /// The addresses of a network fall on bits of their own, nearly always.
    #[test]
    fn neighbours_are_told_apart() {
        let hit = |bit: FilterBit| (bit.word, bit.bit);
        let vip = hit(FilterRegion::Vip.bit4(u32::from_ne_bytes([203, 0, 113, 10])));
        let same = (0..=u16::MAX).filter(|n| {
            let [a, b] = n.to_be_bytes();
            hit(FilterRegion::Vip.bit4(u32::from_ne_bytes([203, 0, a, b]))) == vip
        });
        assert!(same.count() <= 2);
        let low = |n: u16| u32::from(n.to_be());
        let vip = hit(FilterRegion::Vip.bit6([0x2001, 1, 0, low(10)]));
        let same =
            (0..=u16::MAX).filter(|n| hit(FilterRegion::Vip.bit6([0x2001, 1, 0, low(*n)])) == vip);
        assert!(same.count() <= 2);
    }
}
