//! Times, counted in buckets whose width grows with them: a log-linear histogram, as `HdrHistogram` has it.
//!
//! ```text
//! octave   0: 0 .. 16 µs      buckets of 1 µs
//!          1: 16 .. 32 µs                1 µs
//!          2: 32 .. 64 µs                2 µs
//!          …
//!         28: 36 .. 72 min                2 min
//! ```
//!
//! The middle of a bucket is at most 1/32 away from any time in it. An octave's buckets are made when the first time falls into them:
//! most histograms have a few octaves, 128 bytes each.

use std::{sync::OnceLock, time::Duration};

use super::counters::Counter;

/// Buckets of an octave.
const BUCKETS: usize = 16;
const BUCKET_BITS: u32 = BUCKETS.trailing_zeros();
const OCTAVES: usize = 29;
/// Longer times count as this one.
const MICROS_MAX: u64 = (1 << 32) - 1;

/// A histogram that one thread writes and any may read.
#[derive(Debug)]
pub struct Histogram {
    octaves: [OnceLock<Box<[Counter; BUCKETS]>>; OCTAVES],
    /// Microseconds, of all times together.
    sum: Counter,
}

/// What a histogram says, or several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramReading {
    /// By bucket; none at all if there are no times.
    buckets: Vec<u64>,
    micros: u64,
}

// === impl Histogram ===

impl Histogram {
    /// Without times.
    pub const fn new() -> Self {
        Self {
            octaves: [const { OnceLock::new() }; OCTAVES],
            sum: Counter::new(),
        }
    }

    /// Counts a time. By one thread only.
    pub fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).map_or(MICROS_MAX, |it| it.min(MICROS_MAX));
        let (octave, bucket) = place(micros);
        let octave = self.octaves[octave].get_or_init(Box::default);
        octave[bucket].add(1);
        self.sum.add(micros);
    }

    /// What it says now.
    pub fn read(&self) -> HistogramReading {
        let mut reading = HistogramReading::default();
        self.add_to(&mut reading);
        reading
    }

    pub(super) fn add_to(&self, reading: &mut HistogramReading) {
        for (at, octave) in self.octaves.iter().enumerate() {
            let Some(octave) = octave.get() else {
                continue;
            };
            reading.buckets.resize(OCTAVES * BUCKETS, 0);
            let buckets = &mut reading.buckets[at * BUCKETS..];
            for (bucket, counter) in buckets.iter_mut().zip(octave.iter()) {
                *bucket += counter.read();
            }
        }
        reading.micros = reading.micros.wrapping_add(self.sum.read());
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

// === impl HistogramReading ===

impl HistogramReading {
    /// Takes another one's times in.
    pub fn merge(&mut self, other: &Self) {
        if !other.buckets.is_empty() {
            self.buckets.resize(OCTAVES * BUCKETS, 0);
        }
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.micros = self.micros.wrapping_add(other.micros);
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    pub const fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// How many are below this many microseconds, which is where a bucket begins: any power of two from 1 to 2^32, and the sixteenths
    /// between.
    pub fn below(&self, micros: u64) -> u64 {
        let (octave, bucket) = place(micros.min(MICROS_MAX));
        let end = if micros > MICROS_MAX {
            self.buckets.len()
        } else {
            octave * BUCKETS + bucket
        };
        self.buckets.iter().take(end).sum()
    }

    /// The time that this share of all of them, 0 to 1, does not exceed, give or take 1/32; none without times.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among so many times that they cannot be counted exactly does not matter"
        )]
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let at = self.buckets.iter().position(|times| {
            seen += times;
            seen >= rank
        })?;
        let (from, to) = bounds(at / BUCKETS, at % BUCKETS);
        Some(Duration::from_nanos((from + to) * 500))
    }
}

/// The octave and the bucket in it of so many microseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is below the number of buckets fits anywhere"
)]
const fn place(micros: u64) -> (usize, usize) {
    if micros < BUCKETS as u64 {
        return (0, micros as usize);
    }
    let shift = micros.ilog2() - BUCKET_BITS;
    ((shift + 1) as usize, (micros >> shift) as usize % BUCKETS)
}

/// The microseconds at which a bucket begins and ends.
const fn bounds(octave: usize, bucket: usize) -> (u64, u64) {
    if octave == 0 {
        return (bucket as u64, bucket as u64 + 1);
    }
    let shift = octave - 1;
    let from = (BUCKETS + bucket) as u64;
    (from << shift, (from + 1) << shift)
}

const _: () = assert!(place(MICROS_MAX).0 == OCTAVES - 1);

#[cfg(test)]
mod tests;
