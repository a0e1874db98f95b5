use std::time::{Duration, Instant};

use super::Standing;

/// What a server costs of which nothing is known while a first answer is awaited: others go before it.
const UNKNOWN_NANOS: f64 = 1e9;

/// How long a server takes: a mean that older answers weigh less in, and that a slower answer raises to itself at once. After Finagle's
/// "Peak EWMA" (`com.twitter.finagle.loadbalancer.P2CPeakEwma`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    nanos: f64,
    at: Option<Instant>,
}

impl Latency {
    /// An answer took so long.
    pub(crate) fn observe(&mut self, took: Duration, now: Instant, decay: Duration) {
        let took = nanos(took);
        let mean = self.faded(now, decay);
        let weight = self.weight(now, decay);
        self.nanos = if took > mean {
            took
        } else {
            self.nanos * weight + took * (1.0 - weight)
        };
        self.at = self.at.max(Some(now));
    }

    /// What another request costs a server that works on so many.
    pub(crate) fn cost(&self, load: u32, now: Instant, decay: Duration) -> f64 {
        let mean = self.faded(now, decay);
        if mean == 0.0 && load > 0 {
            return UNKNOWN_NANOS + f64::from(load);
        }
        mean * (f64::from(load) + 1.0)
    }

    /// The mean as it is now: without answers it goes down, so that a server that was slow is tried again.
    fn faded(&self, now: Instant, decay: Duration) -> f64 {
        self.nanos * self.weight(now, decay)
    }

    /// What the past weighs.
    fn weight(&self, now: Instant, decay: Duration) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let elapsed = nanos(now.saturating_duration_since(at));
        (-elapsed / nanos(decay).max(1.0)).exp()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds are exact for 104 days"
)]
fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// The better of two at random: nearly as good as the best of all, and it does not send everybody to the same one at once.
#[derive(Debug)]
pub(crate) struct PeakEwma;

impl PeakEwma {
    /// `cost` is asked of both for what another request costs there; it counts for a weight of one.
    pub(crate) fn choose(
        standing: &Standing,
        random: u64,
        has_room: impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> f64,
    ) -> Option<usize> {
        let candidates = standing.candidates();
        let [one, other] = two_of(candidates.len(), random)?.map(|it| candidates[it]);
        match (has_room(one), has_room(other)) {
            (true, true) => {
                let weighed = |server| cost(server) / f64::from(standing.weight(server));
                Some(if weighed(other) < weighed(one) {
                    other
                } else {
                    one
                })
            }
            (true, false) => Some(one),
            (false, true) => Some(other),
            // Whoever comes next behind the first.
            (false, false) => {
                let at = candidates.iter().position(|it| *it == one)?;
                let (before, after) = candidates.split_at(at);
                let mut all = after.iter().chain(before).copied();
                all.find(|server| has_room(*server))
            }
        }
    }
}

/// Two different numbers below `count`, each pair as likely as any other; the same one twice if there is but one.
fn two_of(count: usize, random: u64) -> Option<[usize; 2]> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    let below = |random: u64, limit: u64| ((random & 0xffff_ffff) * limit) >> 32;
    let one = below(random, count);
    let ahead = if count > 1 {
        1 + below(random >> 32, count - 1)
    } else {
        0
    };
    let index = |n: u64| usize::try_from(n % count).expect("below a length");
    Some([index(one), index(one + ahead)])
}

#[cfg(test)]
mod proptests;
