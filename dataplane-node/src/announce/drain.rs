use std::time::{Duration, Instant};

/// How far the drain of a node is (RFC 8326 section 4.1): neighbors are first asked to prefer other ways, and the routes withdrawn when
/// they have had time for that.
///
/// ```text
///           drained, announces                time is over
///  Not ───────────────────────────► Asking ────────────────► Over
///   ▲ │                               │                        ▲ │
///   │ └── drained, announces nothing ─┼────────────────────────┘ │
///   └─────────── not drained ─────────┴──────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drain {
    /// The node takes part.
    #[default]
    Not,
    /// Routes are still announced, as the last choice, until then.
    Asking {
        /// When they are withdrawn.
        until: Instant,
    },
    /// Nothing is announced.
    Over,
}

// === impl Drain ===

impl Drain {
    /// What follows now. `announces`: whether neighbors have been told of any route.
    pub(crate) fn next(
        self,
        is_drained: bool,
        announces: bool,
        grace: Duration,
        now: Instant,
    ) -> Self {
        match (self, is_drained) {
            (_, false) => Self::Not,
            (Self::Not, true) if announces => Self::Asking { until: now + grace },
            (Self::Asking { until }, true) if now < until => Self::Asking { until },
            (Self::Not | Self::Asking { .. } | Self::Over, true) => Self::Over,
        }
    }

    /// When it goes on by itself.
    pub(crate) fn wake_at(self) -> Option<Instant> {
        match self {
            Self::Asking { until } => Some(until),
            Self::Not | Self::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[test]
    fn every_state_with_every_event() {
        let start = Instant::now();
        let asking = Drain::Asking {
            until: start + GRACE,
        };
        let (early, late) = (start + GRACE / 2, start + GRACE);
        for (state, is_drained, announces, now, expected) in [
            (Drain::Not, false, true, start, Drain::Not),
            (Drain::Not, false, false, start, Drain::Not),
            (Drain::Not, true, true, start, asking),
            (Drain::Not, true, false, start, Drain::Over),
            (asking, true, true, early, asking),
            (asking, true, false, early, asking),
            (asking, true, true, late, Drain::Over),
            (asking, true, false, late, Drain::Over),
            (asking, false, true, early, Drain::Not),
            (asking, false, false, early, Drain::Not),
            (Drain::Over, true, true, late, Drain::Over),
            (Drain::Over, true, false, late, Drain::Over),
            (Drain::Over, false, true, late, Drain::Not),
            (Drain::Over, false, false, late, Drain::Not),
        ] {
            let next = state.next(is_drained, announces, GRACE, now);
            assert_eq!(next, expected, "{state:?} {is_drained} {announces}");
        }
        assert_eq!(asking.wake_at(), Some(start + GRACE));
        assert_eq!((Drain::Not.wake_at(), Drain::Over.wake_at()), (None, None));
    }
}
