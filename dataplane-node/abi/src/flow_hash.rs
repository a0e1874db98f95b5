/// The keyed hash that places a flow on a ring: the same on every node of a fabric, unknown outside it.
///
/// Each word is mixed in by a multiplication and a shift-xor, the result is finished as in `MurmurHash3`'s
/// 64-bit finalizer. It is not a cryptographic hash: the key keeps outsiders from choosing flows for one server.
#[derive(Clone, Copy, Debug)]
pub struct FlowHasher(u64);

const P1: u64 = 0x9e37_79b9_7f4a_7c15;
const P2: u64 = 0xff51_afd7_ed55_8ccd;
const P3: u64 = 0xc4ce_b9fe_1a85_ec53;

impl FlowHasher {
    /// Starts with the fabric's key.
    #[inline(always)]
    pub const fn new(key: [u64; 2]) -> Self {
        Self(key[0] ^ key[1].rotate_left(32))
    }

    /// Mixes in a word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(P1);
        Self(mixed ^ (mixed >> 32))
    }

    /// Mixes in an address, as [`crate::Address::words`] gives it.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, words: [u32; 4]) -> Self {
        self.word(words[0] as u64 | (words[1] as u64) << 32)
            .word(words[2] as u64 | (words[3] as u64) << 32)
    }

    /// The hash.
    #[inline(always)]
    pub const fn finish(self, key: [u64; 2]) -> u32 {
        let mut hash = self.0 ^ key[1];
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(P2);
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(P3);
        (hash >> 32) as u32
    }
}

/// The slot of a ring with `slots` slots that a hash falls on: the hash as a fraction, without a division.
#[inline(always)]
pub const fn slot_of(hash: u32, slots: u32) -> u32 {
    ((hash as u64 * slots as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_evenly() {
        const SLOTS: u32 = 1031;
        const FLOWS: u32 = SLOTS * 100;
        let key = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
        let mut filled = [0u32; SLOTS as usize];
        for flow in 0..FLOWS {
            let hash = FlowHasher::new(key)
                .address([0, 0, 0xffff_0000, 0x0a00_0001 + (flow >> 12)])
                .address([0, 0, 0xffff_0000, 0x0a00_ff01])
                .word(u64::from(flow & 0xfff) << 16 | 0x01bb)
                .finish(key);
            filled[slot_of(hash, SLOTS) as usize] += 1;
        }
        // Poisson with mean 100: six standard deviations on either side.
        assert!(filled.iter().all(|n| (40..=160).contains(n)));
    }
}
