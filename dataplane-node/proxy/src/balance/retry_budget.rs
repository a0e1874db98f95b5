use std::time::{Duration, Instant};

/// Seconds that a budget looks back.
const WINDOW_SECS: u64 = SLOTS as u64;
/// One for each of them.
const SLOTS: usize = 10;

/// How many requests may be tried again, so that retries do not bring down servers that are in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudgetConfig {
    /// Of a hundred requests of the last ten seconds.
    pub percent: u8,
    /// And besides, in each second: for pools with few requests.
    pub per_second_min: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second_min: 3,
        }
    }
}

/// What a pool's retries may cost. Each worker has one: together they hold what each of them holds, but for `per_second_min`, which
/// each of them has.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    config: RetryBudgetConfig,
    begun: Instant,
    /// The second that the last slot in use stands for.
    second: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u32,
    retries: u32,
}

impl RetryBudget {
    /// With nothing spent.
    pub fn new(config: RetryBudgetConfig, now: Instant) -> Self {
        Self {
            config,
            begun: now,
            second: 0,
            slots: [Slot::default(); SLOTS],
        }
    }

    /// A request has come, which is not a retry.
    pub fn request(&mut self, now: Instant) {
        let slot = self.slot(now);
        slot.requests = slot.requests.saturating_add(1);
    }

    /// Takes one retry from the budget, if it has one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.slot(now);
        let (mut requests, mut retries) = (0, 0);
        for slot in &self.slots {
            requests += u64::from(slot.requests);
            retries += u64::from(slot.retries);
        }
        let allowed = requests * u64::from(self.config.percent) / 100
            + u64::from(self.config.per_second_min) * WINDOW_SECS;
        let is_allowed = retries < allowed;
        if is_allowed {
            let slot = self.slot(now);
            slot.retries = slot.retries.saturating_add(1);
        }
        is_allowed
    }

    /// What this second's are counted in. Those that are too old are emptied on the way.
    fn slot(&mut self, now: Instant) -> &mut Slot {
        let elapsed: Duration = now.saturating_duration_since(self.begun);
        let second = elapsed.as_secs().max(self.second);
        for passed in (self.second + 1..=second).rev().take(SLOTS) {
            self.slots[index(passed)] = Slot::default();
        }
        self.second = second;
        &mut self.slots[index(second)]
    }
}

fn index(second: u64) -> usize {
    usize::try_from(second % WINDOW_SECS).expect("below the number of slots")
}

#[cfg(test)]
mod proptests;
