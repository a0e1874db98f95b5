use lbfabric_proto::v1;

use super::{
    balancing::{COUNT_MAX, TIME_MS_MAX},
    number::{at_most, or_default},
};
use crate::Violation;

/// The shortest time that says something.
const TIME_MS_MIN: u32 = 100;
/// The longest that a server is out: a day.
const EJECTION_MS_MAX: u32 = 86_400_000;

/// When failures take a server out of its pool for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierEjection {
    /// So many in a row; 0: however many, if `failure_percent` is not.
    pub consecutive_failures: u32,
    /// So many of a hundred requests; 0: however many, if `consecutive_failures` is not.
    pub failure_percent: u8,
    /// Of how many requests a percentage is made at least.
    pub requests_min: u32,
    /// After which time a request weighs about a third.
    pub window_ms: u32,
    /// How long a server is out the first time.
    pub ejection_ms: u32,
    /// How long at most, not below `ejection_ms`.
    pub ejection_max_ms: u32,
    /// How many servers of a hundred may be out, 1 to 100.
    pub ejected_percent_max: u8,
    /// Whether every answer of 500 and above is a failure.
    pub all_5xx: bool,
}

impl OutlierEjection {
    pub(super) fn parse(
        spec: v1::OutlierEjectionSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::OutlierEjectionSpec {
            consecutive_failures,
            failure_percent,
            requests_min,
            window_ms,
            ejection_ms,
            ejection_max_ms,
            ejected_percent_max,
            all_5xx,
        } = spec;
        let default = Self::default();
        let of = |field: &str| format!("{path}.{field}");
        let consecutive_failures = at_most(
            &of("consecutive_failures"),
            consecutive_failures,
            default.consecutive_failures,
            COUNT_MAX,
            violations,
        );
        let failure_percent = at_most(
            &of("failure_percent"),
            failure_percent,
            default.failure_percent.into(),
            100,
            violations,
        );
        if consecutive_failures == 0 && failure_percent == 0 {
            violations.push(Violation::new(
                path,
                "neither failures in a row nor their percentage would take a server out: leave it out, or set \
                 `consecutive_failures` or `failure_percent` above 0",
            ));
        }
        let mut within = |field: &str, value, default, range| {
            or_default(&of(field), value, default, range, violations)
        };
        let time = (TIME_MS_MIN, TIME_MS_MAX);
        let requests_min = within(
            "requests_min",
            requests_min,
            default.requests_min,
            (1, COUNT_MAX),
        );
        let window_ms = within("window_ms", window_ms, default.window_ms, time);
        let ejection_ms = within("ejection_ms", ejection_ms, default.ejection_ms, time);
        let ejected = within(
            "ejected_percent_max",
            ejected_percent_max,
            default.ejected_percent_max.into(),
            (1, 100),
        );
        let shortest = ejection_ms.clamp(TIME_MS_MIN, TIME_MS_MAX);
        let ejection_max_ms = within(
            "ejection_max_ms",
            ejection_max_ms,
            default.ejection_max_ms.max(shortest),
            (shortest, EJECTION_MS_MAX),
        );
        let percent = |value: u32| u8::try_from(value).unwrap_or(100);
        Self {
            consecutive_failures,
            failure_percent: percent(failure_percent),
            requests_min,
            window_ms,
            ejection_ms,
            ejection_max_ms,
            ejected_percent_max: percent(ejected),
            all_5xx,
        }
    }

    pub(super) fn to_spec(self) -> v1::OutlierEjectionSpec {
        let Self {
            consecutive_failures,
            failure_percent,
            requests_min,
            window_ms,
            ejection_ms,
            ejection_max_ms,
            ejected_percent_max,
            all_5xx,
        } = self;
        v1::OutlierEjectionSpec {
            consecutive_failures: Some(consecutive_failures),
            failure_percent: Some(failure_percent.into()),
            requests_min,
            window_ms,
            ejection_ms,
            ejection_max_ms,
            ejected_percent_max: ejected_percent_max.into(),
            all_5xx,
        }
    }
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            requests_min: 20,
            window_ms: 10_000,
            ejection_ms: 10_000,
            ejection_max_ms: 300_000,
            ejected_percent_max: 50,
            all_5xx: false,
        }
    }
}
