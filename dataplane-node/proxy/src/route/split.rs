use super::{InvalidRoute, RequestKey};

/// Pools that a route may share its requests among.
const PARTS_MAX: usize = 32;
/// A part's weight.
const WEIGHT_MAX: u32 = 1_000_000;

/// Which pool a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Each pool with the sum of all weights up to its own.
    parts: Box<[(u64, usize)]>,
    by: SplitBy,
}

/// What decides which part of a split a request belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SplitBy {
    /// Its turn: any hundred requests in a row are spread by the weights.
    #[default]
    Turn,
    /// A value of it, so that all requests with the same go the same way, at every node.
    Key(RequestKey),
}

impl Split {
    /// All to one pool.
    pub fn to(pool: usize) -> Self {
        Self {
            parts: Box::new([(1, pool)]),
            by: SplitBy::Turn,
        }
    }

    /// Pools with their weights.
    pub fn weighted(parts: &[(usize, u32)], by: SplitBy) -> Result<Self, InvalidRoute> {
        let wrong = |reason| Err(InvalidRoute::new("split", reason));
        if parts.is_empty() || parts.len() > PARTS_MAX {
            return wrong(format!("names 1 to {PARTS_MAX} pools, not {}", parts.len()));
        }
        if let Some((pool, weight)) = parts.iter().find(|(_, weight)| *weight > WEIGHT_MAX) {
            return wrong(format!(
                "weighs a pool 0 to {WEIGHT_MAX}, not {weight} (pool {pool})"
            ));
        }
        let mut total = 0;
        let sums = parts
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(pool, weight)| {
                total += u64::from(*weight);
                (total, *pool)
            });
        let parts: Box<[_]> = sums.collect();
        if parts.is_empty() {
            return wrong("has a weight above 0 for at least one pool".to_owned());
        }
        Ok(Self { parts, by })
    }

    /// The pools that get any.
    pub fn pools(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|(_, pool)| *pool)
    }

    /// Whether nothing of a request decides where it goes.
    pub fn is_by_turn(&self) -> bool {
        !self.is_single() && self.by == SplitBy::Turn
    }

    pub(super) const fn by(&self) -> &SplitBy {
        &self.by
    }

    /// Whether there is nothing to decide.
    pub(super) const fn is_single(&self) -> bool {
        self.parts.len() == 1
    }

    /// The pool at a point between 0 and 2^64 of the whole.
    pub(super) fn at(&self, point: u64) -> usize {
        let (total, _) = self.parts[self.parts.len() - 1];
        let point =
            u64::try_from((u128::from(point) * u128::from(total)) >> 64).unwrap_or(u64::MAX);
        let part = self.parts.partition_point(|(sum, _)| *sum <= point);
        self.parts[part].1
    }
}

/// The point of a turn: multiples of the golden ratio fall as evenly as any do.
pub(super) const fn point_of_turn(turn: u64) -> u64 {
    turn.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_by_the_weights_wherever_one_begins() {
        let split = Split::weighted(&[(4, 90), (7, 10), (9, 0)], SplitBy::Turn).unwrap();
        assert_eq!(split.pools().collect::<Vec<_>>(), [4, 7]);
        for begin in (0..5_000).step_by(7) {
            let turns = (begin..begin + 100).map(|turn| split.at(point_of_turn(turn)));
            let few = turns.filter(|pool| *pool == 7).count();
            assert!((8..=12).contains(&few), "{few} of 100 from {begin} on");
        }
        assert_eq!(split.at(0), 4);
        assert_eq!(split.at(u64::MAX), 7);
        assert!(Split::to(3).is_single());
        assert_eq!(Split::to(3).at(u64::MAX), 3);
    }

    #[test]
    fn what_cannot_be_spread_is_refused() {
        for parts in [
            &[][..],
            &[(0, 0)],
            &[(0, WEIGHT_MAX + 1)],
            &[(0, 1); PARTS_MAX + 1],
        ] {
            let error = Split::weighted(parts, SplitBy::Turn).unwrap_err();
            assert_eq!(error.field, "split");
        }
    }
}
