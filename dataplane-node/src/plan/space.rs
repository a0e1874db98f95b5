use lbfabric_abi::PoolRing;

/// What of the flat ring array is taken. Freed space is usable only in a later plan, when nothing points to it any more.
#[derive(Clone, Debug)]
pub(crate) struct RingSpace {
    capacity: u32,
    /// Disjoint or overlapping, in order of their start.
    taken: Vec<PoolRing>,
    /// No gap of so many slots lies before `taken[index]`, up to which all that is taken ends at the third number.
    searched: (u32, usize, u32),
}

impl RingSpace {
    pub(crate) fn new(capacity: u32, taken: impl IntoIterator<Item = PoolRing>) -> Self {
        let mut taken: Vec<PoolRing> = taken.into_iter().collect();
        taken.sort_by_key(|ring| (ring.start, ring.slots));
        taken.dedup();
        Self {
            capacity,
            taken,
            searched: (0, 0, 0),
        }
    }

    /// Takes the first gap that is large enough.
    pub(crate) fn take(&mut self, slots: u32) -> Option<PoolRing> {
        // A node that is given thousands of pools of one size must not look at all of them for each.
        let (first, mut start) = match self.searched {
            (searched_for, first, start) if slots >= searched_for => (first, start),
            _ => (0, 0),
        };
        let mut at = self.taken.len();
        for (index, ring) in self.taken.iter().enumerate().skip(first) {
            if ring.start >= start && ring.start - start >= slots {
                at = index;
                break;
            }
            start = start.max(ring.start.saturating_add(ring.slots));
        }
        if start.checked_add(slots)? > self.capacity {
            return None;
        }
        let ring = PoolRing { start, slots };
        self.taken.insert(at, ring);
        self.searched = (slots, at, start);
        Some(ring)
    }

    /// The longest free stretch, for messages.
    pub(crate) fn largest_gap(&self) -> u32 {
        let mut largest = 0;
        let mut start = 0u32;
        for ring in &self.taken {
            largest = largest.max(ring.start.saturating_sub(start));
            start = start.max(ring.start.saturating_add(ring.slots));
        }
        largest.max(self.capacity.saturating_sub(start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(start: u32, slots: u32) -> PoolRing {
        PoolRing { start, slots }
    }

    #[test]
    fn first_fit() {
        let mut space = RingSpace::new(100, [ring(40, 10), ring(10, 20)]);
        assert_eq!(space.take(11), Some(ring(50, 11)));
        assert_eq!(space.take(10), Some(ring(0, 10)));
        assert_eq!(space.take(10), Some(ring(30, 10)));
        assert_eq!(space.largest_gap(), 39);
        assert_eq!(space.take(40), None);
        assert_eq!(space.take(39), Some(ring(61, 39)));
        assert_eq!(space.largest_gap(), 0);
    }

    proptest! {
        #[test]
        fn never_overlaps(
            sizes in prop::collection::vec(1u32..60, 1..40),
            taken in prop::collection::vec((0u32..500, 1u32..60), 0..8),
        ) {
            let taken: Vec<PoolRing> = taken.into_iter().map(|(start, slots)| ring(start, slots)).collect();
            let mut space = RingSpace::new(600, taken.clone());
            let mut given: Vec<PoolRing> = Vec::new();
            for slots in sizes {
                let gap = space.largest_gap();
                match space.take(slots) {
                    Some(new) => {
                        prop_assert!(new.slots == slots && new.start + slots <= 600);
                        for old in taken.iter().chain(&given) {
                            prop_assert!(new.start + new.slots <= old.start || old.start + old.slots <= new.start);
                        }
                        given.push(new);
                    }
                    None => prop_assert!(gap < slots),
                }
            }
        }
    }
}
