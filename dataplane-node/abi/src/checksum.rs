/// The Internet checksum (RFC 1071) as a running one's-complement sum of 16-bit words in memory order, so that neither
/// side has to swap bytes. Differences follow RFC 1624, equation 3.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// The sum that a checksum field stands for.
    #[inline(always)]
    pub const fn from_field(field: u16) -> Self {
        Self(!field as u64 & 0xffff)
    }

    /// Adds two bytes in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn add16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds four bytes in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn add32(self, word: u32) -> Self {
        // Both halves at once: 2^16 counts as 1 here, as the carries of `field` make it.
        Self(self.0 + word as u64)
    }

    /// Takes two bytes away again.
    #[inline(always)]
    #[must_use]
    pub const fn sub16(self, word: u16) -> Self {
        self.add16(!word)
    }

    /// Takes four bytes away again.
    #[inline(always)]
    #[must_use]
    pub const fn sub32(self, word: u32) -> Self {
        self.add32(!word)
    }

    /// Takes another sum away again.
    #[inline(always)]
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        // Its complement, of as many words as it may have: a sum of a few dozen 32-bit words.
        Self(self.0 + (0xffff_ffff_ffff - other.0))
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The field's value: the folded sum's complement.
    #[inline(always)]
    pub const fn field(self) -> u16 {
        let mut sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
        let sum = sum as u16;
        !sum
    }

    /// The field's value for UDP, where 0 means "no checksum" and is sent as `0xffff` (RFC 768).
    #[inline(always)]
    pub const fn udp_field(self) -> u16 {
        match self.field() {
            0 => 0xffff,
            field => field,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(words: &[u16]) -> u16 {
        words
            .iter()
            .fold(Checksum::default(), |sum, w| sum.add16(*w))
            .field()
    }

    /// The textbook form of RFC 1071 section 4.1, as the reference.
    fn reference(words: &[u16]) -> u16 {
        let mut sum: u32 = words.iter().map(|w| u32::from(*w)).sum();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).expect("folded")
    }

    /// One's-complement zero has two encodings; both verify.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    proptest! {
        #[test]
        fn full_sum_is_the_textbook_one(words in prop::collection::vec(any::<u16>(), 0..800)) {
            prop_assert_eq!(full(&words), reference(&words));
        }

        #[test]
        fn difference_equals_full_sum(
            mut words in prop::collection::vec(prop_oneof![any::<u16>(), Just(0), Just(0xffff)], 4..40),
            at in 0usize..3,
            new in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)],
        ) {
            let before = full(&words);
            let (low, high) = ((new & 0xffff) as u16, (new >> 16) as u16);
            let old = u32::from(words[at]) | u32::from(words[at + 1]) << 16;
            words[at] = low;
            words[at + 1] = high;
            let after = Checksum::from_field(before).sub32(old).add32(new).field();
            prop_assert!(same(after, full(&words)), "{after:#x} {:#x}", full(&words));
        }

        #[test]
        fn udp_field_is_never_zero(words in prop::collection::vec(any::<u16>(), 0..40)) {
            let sum = words.iter().fold(Checksum::default(), |sum, w| sum.add16(*w));
            prop_assert_ne!(sum.udp_field(), 0);
        }
    }
}
