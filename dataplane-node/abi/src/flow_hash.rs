/// The words of a flow key.
pub const FLOW_KEY_WORDS: usize = 5;

/// The keyed hash of flows. The fabric's key places a flow on a ring, the same on every node; a node's own key places it in
/// the node's flow table.
///
/// Words are paired as in UMAC's NH (RFC 4418 section 5.2.2): whatever two flows someone chooses who does not know the key,
/// the chance that they collide is 2^-32. The products do not wait for each other, and the finalizer of `MurmurHash3` spreads
/// their sum.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowKey(pub [u64; FLOW_KEY_WORDS]);

impl FlowKey {
    /// The key that a fabric's 128 bits stand for, by the steps of `SplitMix64` for one half, mixed with the other.
    pub const fn expand(seed: [u64; 2]) -> Self {
        let mut words = [0; FLOW_KEY_WORDS];
        let mut state = seed[0];
        let mut n = 0;
        while n < FLOW_KEY_WORDS {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            words[n] = finish(finish(state) ^ seed[1]);
            n += 1;
        }
        Self(words)
    }

    /// Over an IPv4 flow: its addresses, both ports as one word, and the protocol, each in memory order.
    #[inline(always)]
    pub const fn hash4(&self, source: u32, destination: u32, ports: u32, protocol: u8) -> u64 {
        let sum = pair(self.0[0], source, destination);
        finish(sum.wrapping_add(pair(self.0[1], ports, protocol as u32)))
    }

    /// Over an IPv6 flow, as [`FlowKey::hash4`].
    #[inline(always)]
    pub const fn hash6(
        &self,
        source: [u32; 4],
        destination: [u32; 4],
        ports: u32,
        protocol: u8,
    ) -> u64 {
        let sum = pair(self.0[0], source[0], source[1])
            .wrapping_add(pair(self.0[1], source[2], source[3]))
            .wrapping_add(pair(self.0[2], destination[0], destination[1]))
            .wrapping_add(pair(self.0[3], destination[2], destination[3]));
        finish(sum.wrapping_add(pair(self.0[4], ports, protocol as u32)))
    }
}

/// The slot of a ring with `slots` slots that a hash falls on: the hash's upper half as a fraction, without a division.
#[inline(always)]
pub const fn slot_of(hash: u64, slots: u32) -> u32 {
    (((hash >> 32) * slots as u64) >> 32) as u32
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
const fn pair(key: u64, a: u32, b: u32) -> u64 {
    let a = a.wrapping_add(key as u32);
    let b = b.wrapping_add((key >> 32) as u32);
    (a as u64).wrapping_mul(b as u64)
}

#[inline(always)]
const fn finish(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: FlowKey = FlowKey::expand([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

    #[test]
    fn slots_fill_evenly() {
        const SLOTS: u32 = 1031;
        const FLOWS: u32 = SLOTS * 100;
        for is_ipv4 in [true, false] {
            let mut filled = [0u32; SLOTS as usize];
            for flow in 0..FLOWS {
                let (source, ports) = (0x0a00_0001 + (flow >> 12), (flow & 0xfff) << 16 | 0x01bb);
                let hash = if is_ipv4 {
                    KEY.hash4(source, 0x0a00_ff01, ports, 6)
                } else {
                    KEY.hash6([0x2001, 0, 0, source], [0x2001, 0, 0, 1], ports, 6)
                };
                filled[slot_of(hash, SLOTS) as usize] += 1;
            }
            // Poisson with mean 100: six standard deviations on either side.
            assert!(filled.iter().all(|n| (40..=160).contains(n)));
        }
    }

    /// A hash without this property lets an outsider choose colliding flows without the key: each differs from the other by a
    /// fixed pattern.
    #[test]
    fn no_pattern_collides_whatever_the_key() {
        for bit in 0..128usize {
            for other in 0..128usize {
                let collisions = (0..16u64)
                    .filter(|seed| {
                        let key = FlowKey::expand([*seed, !*seed]);
                        let mut source = [0x2001_0db8, 5, 6, 7];
                        let before = key.hash6(source, [1, 2, 3, 4], 0x5678_1234, 6);
                        source[bit / 32] ^= 1 << (bit % 32);
                        let mut destination = [1, 2, 3, 4];
                        destination[other / 32] ^= 1 << (other % 32);
                        before == key.hash6(source, destination, 0x5678_1234, 6)
                    })
                    .count();
                assert_eq!(collisions, 0, "{bit} {other}");
            }
        }
    }

    #[test]
    fn every_word_of_an_expanded_key_depends_on_both_seeds() {
        let FlowKey(a) = FlowKey::expand([1, 2]);
        for FlowKey(b) in [FlowKey::expand([2, 2]), FlowKey::expand([1, 3])] {
            assert!(a.iter().zip(b).all(|(a, b)| *a != b));
        }
    }
}
