use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// When a server's failures take it out of its pool for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierConfig {
    /// So many failures with no success between them; 0: however many.
    pub consecutive: u32,
    /// So many failures of a hundred requests; 0: however many.
    pub failure_percent: u8,
    /// How many requests a percentage is made of at least.
    pub requests_min: u32,
    /// What the percentage is of: an older request weighs less, after this time about a third.
    pub window: Duration,
    /// How long a server is out the first time. The next time it is twice as long, and so on, unless it has done well in between.
    pub ejection: Duration,
    /// How long at most.
    pub ejection_max: Duration,
    /// How many servers of a hundred are out at a time at most, rounded down.
    pub ejected_percent_max: u8,
    /// Whether every answer of 500 and above is a failure, or only 502, 503, 504 and no answer at all.
    pub counts_all_5xx: bool,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive: 5,
            failure_percent: 50,
            requests_min: 20,
            window: Duration::from_secs(10),
            ejection: Duration::from_secs(10),
            ejection_max: Duration::from_mins(5),
            ejected_percent_max: 50,
            counts_all_5xx: false,
        }
    }
}

/// Which of a pool's servers fail more than the pool bears. Told of failures only, with how many requests have gone well since the
/// last one: what goes well costs a counter and nothing else.
#[derive(Debug)]
pub(crate) struct Outliers<K> {
    records: HashMap<K, Record>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    consecutive: u32,
    /// Both weighed by their age, as of `at`.
    successes: f64,
    failures: f64,
    at: Instant,
    /// Times that it was ejected, less those that it has made good.
    ejections: u32,
    until: Option<Instant>,
}

impl<K: Eq + Hash + Clone> Outliers<K> {
    pub(crate) fn new() -> Self {
        Self {
            records: HashMap::new(),
        }
    }

    /// A request to a server has failed, and so many have gone well since its last failure. Until when it is ejected, if this was
    /// one too many. `servers` is how many the pool has.
    pub(crate) fn failed(
        &mut self,
        server: &K,
        successes: u32,
        servers: usize,
        now: Instant,
        config: &OutlierConfig,
    ) -> Option<Instant> {
        let others = self.ejected(now);
        let record = self.records.entry(server.clone());
        let record = record.or_insert_with(|| Record::new(now));
        if record.is_ejected(now) {
            // Of requests that were on their way.
            return None;
        }
        record.count(successes, now, config.window);
        let room = servers * usize::from(config.ejected_percent_max.min(100)) / 100;
        if !record.is_too_much(config) || others >= room {
            return None;
        }
        Some(record.eject(now, config))
    }

    /// How many are ejected.
    pub(crate) fn ejected(&self, now: Instant) -> usize {
        self.records
            .values()
            .filter(|it| it.is_ejected(now))
            .count()
    }

    /// Forgets those that are no longer there.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&K) -> bool) {
        self.records.retain(|server, _| is_there(server));
    }
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            consecutive: 0,
            successes: 0.0,
            failures: 0.0,
            at: now,
            ejections: 0,
            until: None,
        }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn count(&mut self, successes: u32, now: Instant, window: Duration) {
        if successes > 0 {
            self.consecutive = 0;
        }
        self.consecutive = self.consecutive.saturating_add(1);
        let elapsed = now.saturating_duration_since(self.at);
        let rest = (-elapsed.as_secs_f64() / window.as_secs_f64().max(1e-9)).exp();
        // As if all of them were new: that errs on the server's side.
        self.successes = self.successes * rest + f64::from(successes);
        self.failures = self.failures * rest + 1.0;
        self.at = self.at.max(now);
    }

    fn is_too_much(&self, config: &OutlierConfig) -> bool {
        let requests = self.successes + self.failures;
        let is_in_row = config.consecutive > 0 && self.consecutive >= config.consecutive;
        // What has faded by a little since is still one.
        let is_enough = requests.round() >= f64::from(config.requests_min);
        let is_rate = config.failure_percent > 0
            && is_enough
            && self.failures * 100.0 >= requests * f64::from(config.failure_percent);
        is_in_row || is_rate
    }

    /// Each time it is out twice as long; each time as long as the first one that it was in forgives one.
    fn eject(&mut self, now: Instant, config: &OutlierConfig) -> Instant {
        let since = self.until.map(|until| now.saturating_duration_since(until));
        let good = since.map_or(0, |since| {
            since.as_nanos() / config.ejection.as_nanos().max(1)
        });
        let good = u32::try_from(good).unwrap_or(u32::MAX);
        let before = self.ejections.saturating_sub(good);
        let factor = 1u32.checked_shl(before).unwrap_or(u32::MAX);
        let long = config.ejection.saturating_mul(factor);
        let until = now + long.min(config.ejection_max.max(config.ejection));
        *self = Self {
            ejections: before.saturating_add(1),
            until: Some(until),
            ..Self::new(now)
        };
        until
    }
}

#[cfg(test)]
mod proptests;
