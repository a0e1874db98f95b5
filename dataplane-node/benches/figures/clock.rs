//! The clock of benchmarks that wait for nothing.

use nix::{sys::time::TimeSpec, time::ClockId};

/// The time that this thread has run: what others do on the core does not count.
pub(crate) fn own_time() -> TimeSpec {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap()
}
