//! The address filter: the first question that is asked of every packet, answered by one bit.
//!
//! A bit stands for all addresses that hash to it, so a set bit means "perhaps": the tables that follow decide. A cleared
//! one is certain, and the packet goes on to the kernel.

use crate::Address;

/// What an address is to the node. Each has its own bits in `FILTER`.
///
/// ```text
/// words      0 to 16383                     16384 to 24575     24576 to 25599
/// bits       0-31 Vip, 32-63 Own            Server             Prefix
/// ```
///
/// Bits of an address as a [`FilterRegion::Vip`] and as [`FilterRegion::Own`] lie in one word, so that destinations of no
/// concern cost one look for both.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterRegion {
    /// Destinations: VIPs.
    Vip = 0,
    /// Destinations: addresses that the node sends from.
    Own = 1,
    /// Sources: servers whose answers are translated.
    Server = 2,
    /// Destinations: the first 16 bits of IPv4 addresses in VIPs that are whole prefixes, and a hash of the first 32 bits of
    /// such IPv6 addresses.
    Prefix = 3,
}

/// Words of `FILTER`, 64 bits each.
pub const FILTER_WORDS: u32 = PREFIX_START + (1 << PREFIX_WORD_BITS);
/// The first word of [`FilterRegion::Server`].
const SERVER_START: u32 = 1 << DESTINATION_WORD_BITS;
/// The first word of [`FilterRegion::Prefix`].
const PREFIX_START: u32 = SERVER_START + (1 << SERVER_WORD_BITS);
const DESTINATION_WORD_BITS: u32 = 14;
const SERVER_WORD_BITS: u32 = 13;
const PREFIX_WORD_BITS: u32 = 10;
/// What spreads words over bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bit of `FILTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterBit {
    /// The word's index.
    pub word: u32,
    /// The bit in the word: 0 to 63.
    pub bit: u32,
}

/// A number for an IPv6 address, its words in memory order: all bits of the address are in the upper ones, and it is another
/// one for each address of a /64.
#[inline(always)]
pub(crate) const fn spread6(address: [u32; 4]) -> u64 {
    let high = address[0] as u64 | (address[1] as u64) << 32;
    let low = address[2] as u64 | (address[3] as u64) << 32;
    let product = high.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (product ^ product >> 32)
        .wrapping_add(low)
        .wrapping_mul(SPREAD)
}

impl FilterRegion {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Vip, Self::Own, Self::Server, Self::Prefix];

    /// The bit of an IPv4 address, in memory order.
    #[inline(always)]
    pub const fn bit4(self, address: u32) -> FilterBit {
        match self {
            Self::Vip | Self::Own | Self::Server => self.bit((address as u64).wrapping_mul(SPREAD)),
            Self::Prefix => self.bit((u32::from_be(address) as u64) << 32),
        }
    }

    /// The bit of an IPv6 address, its words in memory order.
    #[inline(always)]
    pub const fn bit6(self, address: [u32; 4]) -> FilterBit {
        match self {
            Self::Vip | Self::Own | Self::Server => self.bit(spread6(address)),
            Self::Prefix => self.bit((address[0] as u64).wrapping_mul(SPREAD)),
        }
    }

    /// The bit of an address of either family.
    pub const fn bit_of(self, address: Address) -> FilterBit {
        match address.ipv4_word() {
            Some(word) => self.bit4(word),
            None => self.bit6(address.words()),
        }
    }

    /// How many leading bits of an IPv4 address, or else of an IPv6 one, its [`FilterRegion::Prefix`] goes by.
    pub const fn prefix_bits(is_ipv4: bool) -> u32 {
        if is_ipv4 { 16 } else { 32 }
    }

    /// The words of [`FilterRegion::Prefix`].
    pub const fn prefix_words() -> core::ops::Range<u32> {
        PREFIX_START..FILTER_WORDS
    }

    /// The bit that the upper bits of a product choose.
    #[inline(always)]
    const fn bit(self, product: u64) -> FilterBit {
        match self {
            Self::Vip | Self::Own => {
                let hash = (product >> (64 - 5 - DESTINATION_WORD_BITS)) as u32;
                FilterBit {
                    word: hash >> 5,
                    bit: hash & 31 | (self as u32) << 5,
                }
            }
            Self::Server => {
                let hash = (product >> (64 - 6 - SERVER_WORD_BITS)) as u32;
                FilterBit {
                    word: SERVER_START + (hash >> 6),
                    bit: hash & 63,
                }
            }
            Self::Prefix => {
                let hash = (product >> (64 - 6 - PREFIX_WORD_BITS)) as u32;
                FilterBit {
                    word: PREFIX_START + (hash >> 6),
                    bit: hash & 63,
                }
            }
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
        for address in [0, 1, 0x0100_a8c0, u32::MAX, 0x1234_5678] {
            let words =
                |region: FilterRegion| [region.bit4(address), region.bit6([1, 2, address, 3])];
            let (vip, own) = (words(FilterRegion::Vip), words(FilterRegion::Own));
            for (vip, own) in vip.iter().zip(own) {
                assert_eq!((vip.word, vip.bit + 32), (own.word, own.bit));
                assert!(own.word < SERVER_START && own.bit < 64);
            }
            for bit in words(FilterRegion::Server) {
                assert!((SERVER_START..PREFIX_START).contains(&bit.word) && bit.bit < 64);
            }
            for bit in words(FilterRegion::Prefix) {
                assert!(FilterRegion::prefix_words().contains(&bit.word) && bit.bit < 64);
            }
        }
    }

    /// A prefix's bits are those of all its addresses, and of IPv4 no others.
    #[test]
    fn prefixes_go_by_their_first_bits() {
        let bit = |a: [u8; 4]| FilterRegion::Prefix.bit_of(Address::from_ipv4(a));
        assert_eq!(bit([203, 0, 113, 10]), bit([203, 0, 0, 255]));
        assert_ne!(bit([203, 1, 113, 10]), bit([203, 0, 113, 10]));
        let mut address = [0x20; 16];
        let first = FilterRegion::Prefix.bit_of(Address(address));
        address[4..].fill(7);
        assert_eq!(FilterRegion::Prefix.bit_of(Address(address)), first);
        address[3] = 7;
        assert_ne!(FilterRegion::Prefix.bit_of(Address(address)), first);
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
