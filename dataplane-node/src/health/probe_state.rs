/// What is known of one server's address.
///
/// ```text
///            pass                      fail x fall in a row
/// Unknown ──────────► Up { failed } ────────────────────────► Down { passed, reason }
///    │                   ▲  pass: failed = 0                      │  fail: passed = 0
///    │ fail              └────────────────────────────────────────┘
///    └──────────────────────────► Down      pass x rise in a row
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProbeState {
    /// No probe has finished: the first one decides alone.
    #[default]
    Unknown,
    /// Takes new connections.
    Up {
        /// Failed probes in a row.
        failed: u32,
    },
    /// Does not.
    Down {
        /// Passed probes in a row.
        passed: u32,
        /// Why the last failed probe failed.
        reason: String,
    },
}

impl ProbeState {
    /// The state after one more probe; `outcome` holds the reason of a failure. `rise` and `fall` are at least 1.
    #[must_use]
    pub(crate) fn after(self, outcome: Result<(), String>, rise: u32, fall: u32) -> Self {
        match (self, outcome) {
            (Self::Unknown | Self::Up { .. }, Ok(())) => Self::Up { failed: 0 },
            (Self::Up { failed }, Err(reason)) if failed + 1 >= fall => {
                Self::Down { passed: 0, reason }
            }
            (Self::Up { failed }, Err(_)) => Self::Up { failed: failed + 1 },
            (Self::Down { passed, .. }, Ok(())) if passed + 1 >= rise => Self::Up { failed: 0 },
            (Self::Down { passed, reason }, Ok(())) => Self::Down {
                passed: passed + 1,
                reason,
            },
            (Self::Unknown | Self::Down { .. }, Err(reason)) => Self::Down { passed: 0, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RISE: u32 = 2;
    const FALL: u32 = 3;

    fn pass(state: ProbeState) -> ProbeState {
        state.after(Ok(()), RISE, FALL)
    }

    fn fail(state: ProbeState, reason: &str) -> ProbeState {
        state.after(Err(reason.to_owned()), RISE, FALL)
    }

    fn up(failed: u32) -> ProbeState {
        ProbeState::Up { failed }
    }

    fn down(passed: u32, reason: &str) -> ProbeState {
        ProbeState::Down {
            passed,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn every_transition() {
        // The first probe decides alone.
        assert_eq!(pass(ProbeState::Unknown), up(0));
        assert_eq!(fail(ProbeState::Unknown, "a"), down(0, "a"));
        // Up: `fall` failures in a row, any pass begins anew.
        assert_eq!(pass(up(0)), up(0));
        assert_eq!(fail(up(0), "a"), up(1));
        assert_eq!(fail(up(1), "a"), up(2));
        assert_eq!(pass(up(2)), up(0));
        assert_eq!(fail(up(2), "b"), down(0, "b"));
        // Down: `rise` passes in a row, any failure begins anew and brings its reason.
        assert_eq!(fail(down(0, "a"), "b"), down(0, "b"));
        assert_eq!(pass(down(0, "a")), down(1, "a"));
        assert_eq!(fail(down(1, "a"), "b"), down(0, "b"));
        assert_eq!(pass(down(1, "a")), up(0));
    }

    #[test]
    fn limits_of_one_change_at_once() {
        assert_eq!(up(0).after(Err("a".to_owned()), 1, 1), down(0, "a"));
        assert_eq!(down(0, "a").after(Ok(()), 1, 1), up(0));
    }

    #[test]
    fn lowered_limits_count_what_was_before() {
        assert_eq!(up(2).after(Err("a".to_owned()), 2, 1), down(0, "a"));
        assert_eq!(down(5, "a").after(Ok(()), 2, 3), up(0));
    }
}
