use std::io;
use std::sync::atomic::Ordering;

use aya::maps::MapData;
use lbfabric_abi::{PoolRing, RingSlot};

use super::shared_words::SharedWords;

/// A mapping of `RINGS`: one word for each slot, which only the agent writes.
pub(crate) struct RingMap {
    words: SharedWords,
    capacity: u32,
}

impl RingMap {
    /// Maps a map with `BPF_F_MMAPABLE`, which has `capacity` slots.
    pub(crate) fn new(map: &MapData, capacity: u32) -> io::Result<Self> {
        let words = SharedWords::new(map, capacity as usize)?;
        Ok(Self { words, capacity })
    }

    /// How many slots there are.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// What a slot holds; it is below the capacity.
    pub(crate) fn slot(&self, index: u32) -> RingSlot {
        slot_of(self.words.words()[index as usize].load(Ordering::Relaxed))
    }

    /// Writes a slot; it is below the capacity.
    pub(crate) fn put(&self, index: u32, slot: RingSlot) {
        // Whoever sees the slot sees what was written before: its servers.
        self.words.words()[index as usize].store(word_of(slot), Ordering::Release);
    }

    /// Writes a whole ring of steady slots; it ends below the capacity.
    pub(crate) fn fill(&self, ring: PoolRing, servers: &[u32]) {
        let words = &self.words.words()[ring.start as usize..][..ring.slots as usize];
        for (word, server) in words.iter().zip(servers) {
            word.store(word_of(RingSlot::steady(*server)), Ordering::Release);
        }
    }
}

/// The slot's bytes as they lie in memory.
fn word_of(RingSlot { cur, base }: RingSlot) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&cur.to_ne_bytes());
    bytes[4..].copy_from_slice(&base.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn slot_of(word: u64) -> RingSlot {
    let bytes = word.to_ne_bytes();
    let half = |bytes: Option<&[u8; 4]>| u32::from_ne_bytes(*bytes.expect("a word has 8 bytes"));
    RingSlot {
        cur: half(bytes.first_chunk()),
        base: half(bytes.last_chunk()),
    }
}

const _: () = {
    assert!(std::mem::offset_of!(RingSlot, cur) == 0);
    assert!(std::mem::offset_of!(RingSlot, base) == 4);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_the_bytes_of_its_slot() {
        for slot in [RingSlot::EMPTY, RingSlot::changed(7, 0x0012_3456)] {
            assert_eq!(slot_of(word_of(slot)), slot);
        }
        let [first, ..] = word_of(RingSlot { cur: 1, base: 0 }).to_ne_bytes();
        assert_eq!(u32::from(first), u32::from(1u32.to_ne_bytes()[0]));
    }
}
