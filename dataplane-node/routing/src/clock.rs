use std::time::Instant;

use lbfabric_bgp::Moment;

/// The machines' clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

// === impl Clock ===

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Moment {
        Moment::after_start(self.start.elapsed())
    }

    /// When the moment is; those too far away for the system's clock are not waited for.
    pub(crate) fn instant(self, moment: Moment) -> Option<Instant> {
        self.start.checked_add(moment.since(Moment::default()))
    }
}

/// Bits that nobody can foresee.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's hasher is seeded by the operating system.
    RandomState::new().hash_one(0_u8)
}
