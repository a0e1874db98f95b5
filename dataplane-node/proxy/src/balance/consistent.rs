use std::sync::Arc;

use lbfabric_model::maglev::{self, Entry};

use super::{PoolConfig, Standing};

/// How many slots are looked at for one whose server can take a request, before all servers are.
const LOOKS: u32 = 64;

/// The same server for the same key: slots of the ring of [`maglev`] by the key's hash, as layer 4 has them. The ring changes with the
/// pool's configuration alone, so that of a server that leaves only its own keys move (and about a hundredth of the others'). A server
/// that is ejected or full keeps its slots: its keys go to the servers of the slots behind them, and come back when it does.
///
/// A choice costs a look at one slot; making the ring costs what layer 4's does, at each change of the pool's servers.
#[derive(Clone, Debug)]
pub(crate) struct Consistent {
    ring: Arc<[u32]>,
}

impl Consistent {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        let entries: Vec<_> = (0..)
            .zip(&config.servers)
            .filter(|(_, server)| !server.is_backup)
            .map(|(id, server)| Entry {
                id,
                name: &server.name,
                weight: server.weight,
            })
            .collect();
        Self {
            ring: maglev::ring(&entries, config.ring_slots).into(),
        }
    }

    /// The server of a key, or the next one of the key's that has room. `load` is how many requests a server works on; with a bound none
    /// gets more than so many percent of what its weight makes its share of all ("Consistent Hashing with Bounded Loads", Mirrokni et
    /// al., 2016).
    pub(crate) fn choose(
        &self,
        standing: &Standing,
        hash: u64,
        bound_percent: Option<u16>,
        has_room: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let bound = bound_percent.map(|percent| Bound::new(standing, percent, &load));
        let takes = |server: usize| {
            let weight = standing.weight(server);
            weight > 0
                && is_ready(hash, weight, standing.whole_weight(server))
                && bound.is_none_or(|bound| bound.takes(load(server), weight))
                && has_room(server)
        };
        if standing.candidates().is_empty() {
            return None;
        }
        let mut slots = self.slots_of(hash).map(|slot| self.ring[slot] as usize);
        // Without weights there is nobody in the ring.
        slots
            .find(|server| *server < standing.len() && takes(*server))
            .or_else(|| least_loaded(standing, has_room, load))
    }

    /// A key's slot and those behind it, whose servers follow each other as if at random.
    fn slots_of(&self, hash: u64) -> impl Iterator<Item = usize> {
        let slots = self.ring.len() as u64;
        let first = hash % slots;
        let nth = move |n: u32| (first + u64::from(n)) % slots;
        (0..LOOKS).map(move |n| usize::try_from(nth(n)).expect("below the ring's length"))
    }
}

/// While a server has but a part of its share, it takes a part of its keys: always the same ones, and more of them as it grows.
fn is_ready(hash: u64, weight: u32, whole: u32) -> bool {
    // Other bits than those that the slots go by most.
    let of_key = hash.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    of_key * u64::from(whole) < u64::from(weight) << 32
}

/// What a server has at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// Of all servers, this request counted, times the percentage.
    all: u128,
    weights: u128,
}

impl Bound {
    pub(super) fn new(standing: &Standing, percent: u16, load: impl Fn(usize) -> u32) -> Self {
        let candidates = standing.candidates().iter();
        let (all, weights) = candidates.fold((1, 0), |(all, weights), server| {
            (
                all + u128::from(load(*server)),
                weights + u128::from(standing.weight(*server)),
            )
        });
        Self {
            // With less there would be no room for all.
            all: all * u128::from(percent.max(100)),
            weights,
        }
    }

    /// Whether one more is at most the share, rounded up.
    pub(super) fn takes(self, load: u32, weight: u32) -> bool {
        let share = (self.all * u128::from(weight)).div_ceil(self.weights * 100);
        u128::from(load) < share
    }
}

fn least_loaded(
    standing: &Standing,
    has_room: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> u32,
) -> Option<usize> {
    let with_room = standing
        .candidates()
        .iter()
        .copied()
        .filter(|it| has_room(*it));
    let least = with_room
        .map(|server| (load(server), standing.weight(server), server))
        .min_by(|(one, weight, _), (other, others, _)| {
            (u64::from(*one) * u64::from(*others)).cmp(&(u64::from(*other) * u64::from(*weight)))
        });
    least.map(|(_, _, server)| server)
}

#[cfg(test)]
mod proptests;
