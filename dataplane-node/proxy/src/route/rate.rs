//! Rate limits: a token bucket for each source, or each value of a field or a cookie.
//!
//! The buckets of a limit are one table for all workers, of atomic words. A share for each worker would be simpler and wrong: the kernel gives
//! a connection to one worker, so that a client with one connection would have a part of its rate, and one with many all of it.
//!
//! A bucket is two words: whose it is, and the time at which it will be full again (the "theoretical arrival time" of the generic cell rate
//! algorithm, ITU-T I.371). A bucket whose time is over is as good as none, so nothing has to age it: its place is the next one's who
//! needs it. A table never grows; in a line without such a place, the one that is full again first is given up.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{InvalidRoute, RequestKey, hash::place};

/// Buckets that a request's may be among: a cache line of them.
const WAYS: usize = 4;
/// The most buckets of a limit, 16 MiB.
const BUCKETS_MAX: u32 = 1 << 20;
/// The highest rate and burst.
const REQUESTS_MAX: u32 = 1_000_000;

/// How many requests may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    name: Box<str>,
    key: RequestKey,
    /// Between two requests of a steady rate.
    interval_nanos: u64,
    /// How far ahead of that a bucket may be.
    tolerance_nanos: u64,
    buckets: usize,
}

impl RateLimit {
    /// So many requests in every `per`, with up to `burst` at once, for each value of `key`; `buckets` values at a time are told apart.
    pub fn new(
        name: &str,
        key: RequestKey,
        (requests, per): (u32, Duration),
        burst: u32,
        buckets: u32,
    ) -> Result<Self, InvalidRoute> {
        let wrong = |field: &str, reason| {
            Err(InvalidRoute::new(
                &format!("rate_limits[{name:?}].{field}"),
                reason,
            ))
        };
        if name.is_empty() || name.len() > 64 {
            return wrong("name", "has 1 to 64 bytes".to_owned());
        }
        if !(1..=REQUESTS_MAX).contains(&requests) {
            return wrong(
                "requests",
                format!("are 1 to {REQUESTS_MAX}, not {requests}"),
            );
        }
        if !(Duration::from_millis(100)..=Duration::from_hours(1)).contains(&per) {
            return wrong("per", format!("is between 100 ms and 1 h, not {per:?}"));
        }
        if !(1..=REQUESTS_MAX).contains(&burst) {
            return wrong("burst", format!("is 1 to {REQUESTS_MAX}, not {burst}"));
        }
        if !(1..=BUCKETS_MAX).contains(&buckets) {
            return wrong("buckets", format!("are 1 to {BUCKETS_MAX}, not {buckets}"));
        }
        // At most an hour, below 2^42, so that a million of them are below 2^62.
        let interval_nanos = (nanos(per) / u64::from(requests)).max(1);
        Ok(Self {
            name: name.into(),
            key,
            interval_nanos,
            tolerance_nanos: interval_nanos * u64::from(burst - 1),
            buckets: (buckets as usize).div_ceil(WAYS).next_power_of_two() * WAYS,
        })
    }

    /// What routes name it by.
    pub const fn name(&self) -> &str {
        &self.name
    }
}

/// A limit with its buckets.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    seed: u64,
    lines: Box<[Line]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Bucket; WAYS]);

#[derive(Debug, Default)]
struct Bucket {
    /// Not 0, but of one that was never used.
    owner: AtomicU64,
    /// When it is full again, in nanoseconds of the process's own time.
    full_at: AtomicU64,
}

impl RateLimiter {
    /// With full buckets. `seed` is not known outside, so that nobody can choose values that meet.
    pub fn new(limit: RateLimit, seed: u64) -> Self {
        let lines = (0..limit.buckets / WAYS).map(|_| Line::default()).collect();
        Self { limit, seed, lines }
    }

    /// What it limits.
    pub const fn limit(&self) -> &RateLimit {
        &self.limit
    }

    pub(super) const fn key(&self) -> &RequestKey {
        &self.limit.key
    }

    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    /// Takes a token of the bucket of a number, or says when there will be one. `now` is the same clock's for all workers.
    pub fn take(&self, number: u64, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let number = number.max(1);
        let bucket = self.bucket(number, now);
        let mut full_at = bucket.full_at.load(Relaxed);
        loop {
            let ahead = full_at.saturating_sub(now);
            if ahead > self.limit.tolerance_nanos {
                return Err(Duration::from_nanos(ahead - self.limit.tolerance_nanos));
            }
            let next = full_at.max(now) + self.limit.interval_nanos;
            match bucket
                .full_at
                .compare_exchange_weak(full_at, next, Relaxed, Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// As [`Self::take`], but nothing is taken, and nobody's bucket is given up.
    pub fn peek(&self, number: u64, now: Duration) -> Result<(), Duration> {
        let number = number.max(1);
        let Line(ways) = &self.lines[place(number, self.lines.len())];
        let own = ways.iter().find(|it| it.owner.load(Relaxed) == number);
        let full_at = own.map_or(0, |own| own.full_at.load(Relaxed));
        let ahead = full_at.saturating_sub(nanos(now));
        if ahead > self.limit.tolerance_nanos {
            return Err(Duration::from_nanos(ahead - self.limit.tolerance_nanos));
        }
        Ok(())
    }

    /// The number's bucket, which was another's if it has none. Two workers that do this at once may count a request in each other's
    /// bucket, which is as much as is lost.
    fn bucket(&self, number: u64, now: u64) -> &Bucket {
        let Line(ways) = &self.lines[place(number, self.lines.len())];
        if let Some(own) = ways.iter().find(|it| it.owner.load(Relaxed) == number) {
            return own;
        }
        let by_time = ways
            .iter()
            .enumerate()
            .min_by_key(|(_, it)| it.full_at.load(Relaxed));
        let victim = &ways[by_time.map_or(0, |(at, _)| at)];
        let (before, full_at) = (victim.owner.load(Relaxed), victim.full_at.load(Relaxed));
        let is_ours = victim
            .owner
            .compare_exchange(before, number, Relaxed, Relaxed)
            .is_ok();
        // A time that is over says the same as now, and a worker that has found the bucket meanwhile may have moved it on.
        if is_ours && full_at > now {
            victim.full_at.store(now, Relaxed);
        }
        victim
    }
}

/// They last 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn limiter(requests: u32, per_secs: u64, burst: u32, buckets: u32) -> RateLimiter {
        let per = (requests, Duration::from_secs(per_secs));
        RateLimiter::new(
            RateLimit::new("a", RequestKey::Source, per, burst, buckets).unwrap(),
            0,
        )
    }

    /// How many of as many requests as are wanted get through at a time.
    fn through(limiter: &RateLimiter, number: u64, now: Duration) -> usize {
        (0..1_000)
            .take_while(|_| limiter.take(number, now).is_ok())
            .count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let limiter = limiter(10, 1, 5, 64);
        assert_eq!(limiter.peek(1, START), Ok(()));
        assert_eq!(through(&limiter, 1, START), 5);
        for _ in 0..2 {
            assert_eq!(limiter.peek(1, START), Err(Duration::from_millis(100)));
            assert_eq!(limiter.peek(2, START), Ok(()));
        }
        assert_eq!(limiter.take(1, START), Err(Duration::from_millis(100)));
        assert_eq!(through(&limiter, 1, START + Duration::from_millis(99)), 0);
        assert_eq!(through(&limiter, 1, START + Duration::from_millis(350)), 3);
        // However long it is quiet, the burst is the most.
        assert_eq!(through(&limiter, 1, START + Duration::from_mins(15)), 5);
        assert_eq!(
            through(&limiter, 2, START),
            5,
            "another's bucket is its own"
        );
    }

    #[test]
    fn a_table_is_bounded_and_gives_up_the_bucket_that_is_full_first() {
        let limiter = limiter(1, 1, 10, 4);
        assert_eq!(limiter.lines.len(), 1);
        for number in 1..=4 {
            for _ in 0..number {
                limiter.take(number, START).unwrap();
            }
        }
        // 1 was full again first.
        limiter.take(5, START).unwrap();
        assert_eq!(through(&limiter, 4, START), 6);
        assert_eq!(through(&limiter, 3, START), 7);
        // All are full again, and anyone's place is free.
        let later = START + Duration::from_mins(1);
        for number in 10..14 {
            assert_eq!(through(&limiter, number, later), 10);
        }
    }

    #[test]
    fn workers_share_a_bucket_to_the_token() {
        let limiter = limiter(1, 1, 500, 64);
        let taken: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| through(&limiter, 9, START)))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 500);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let new = |requests, per, burst, buckets| {
            RateLimit::new("a", RequestKey::Source, (requests, per), burst, buckets)
                .map_err(|error| error.field)
        };
        let second = Duration::from_secs(1);
        assert_eq!(
            new(0, second, 1, 1).unwrap_err(),
            "rate_limits[\"a\"].requests"
        );
        assert_eq!(
            new(1, Duration::ZERO, 1, 1).unwrap_err(),
            "rate_limits[\"a\"].per"
        );
        assert_eq!(
            new(1, second, 0, 1).unwrap_err(),
            "rate_limits[\"a\"].burst"
        );
        assert_eq!(
            new(1, second, 1, 0).unwrap_err(),
            "rate_limits[\"a\"].buckets"
        );
        assert_eq!(
            new(1, second, 1, BUCKETS_MAX + 1).unwrap_err(),
            "rate_limits[\"a\"].buckets"
        );
        new(
            REQUESTS_MAX,
            Duration::from_hours(1),
            REQUESTS_MAX,
            BUCKETS_MAX,
        )
        .unwrap();
        new(1, Duration::from_hours(1), 1_000, 1).unwrap();
    }
}
