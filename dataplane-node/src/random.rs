use std::hash::{BuildHasher, RandomState};

/// Words that nobody can foresee.
pub(crate) fn random_words<const N: usize>() -> [u64; N] {
    // The standard library's hasher is seeded by the operating system: a keyed hash that is made to withstand chosen input.
    let hasher = RandomState::new();
    std::array::from_fn(|word| hasher.hash_one(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_differ() {
        let mut words = [random_words::<5>(), random_words()].concat();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 10);
    }
}
