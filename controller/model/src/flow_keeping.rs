use crate::{Violation, fields::Fields};

/// How long established flows keep their server when a pool or its health changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKeeping {
    /// How many seconds a flow that was established before a change may be silent and still keep its server.
    pub hold_time_secs: u32,
    /// How many milliseconds after its check failed a server is declared dead and its flows are given up.
    pub dead_after_ms: u32,
}

impl FlowKeeping {
    /// The longest hold time: an entry of a node's flow table must go well before its clock wraps.
    pub const HOLD_TIME_SECS_MAX: u32 = 32_400;
    const DEAD_AFTER_MS_MAX: u32 = 3_600_000;

    /// Reads the two fields of a specification at `path`; a hold time of 0 and an absent time until death are the defaults.
    pub(crate) fn parse(
        hold_time_secs: u32,
        dead_after_ms: Option<u32>,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let default = Self::default();
        let hold_time_secs = match hold_time_secs {
            0 => default.hold_time_secs,
            secs => secs,
        };
        let dead_after_ms = dead_after_ms.unwrap_or(default.dead_after_ms);
        if hold_time_secs > Self::HOLD_TIME_SECS_MAX {
            violations.push(Violation::new(
                format!("{path}.hold_time_secs"),
                format!(
                    "{hold_time_secs} is out of range: use 1 to {}",
                    Self::HOLD_TIME_SECS_MAX
                ),
            ));
        }
        if dead_after_ms > Self::DEAD_AFTER_MS_MAX {
            violations.push(Violation::new(
                format!("{path}.dead_after_ms"),
                format!(
                    "{dead_after_ms} is out of range: use 0 to {}",
                    Self::DEAD_AFTER_MS_MAX
                ),
            ));
        }
        Self {
            hold_time_secs,
            dead_after_ms,
        }
    }

    pub(crate) fn fields(self, fields: &mut Fields) {
        let Self {
            hold_time_secs,
            dead_after_ms,
        } = self;
        fields.put("hold_time_secs", hold_time_secs);
        fields.put("dead_after_ms", dead_after_ms);
    }
}

impl Default for FlowKeeping {
    /// 15 minutes, and 10 seconds.
    fn default() -> Self {
        Self {
            hold_time_secs: 900,
            dead_after_ms: 10_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(hold_time_secs: u32, dead_after_ms: Option<u32>) -> (FlowKeeping, Vec<String>) {
        let mut violations = Vec::new();
        let parsed = FlowKeeping::parse(hold_time_secs, dead_after_ms, "pools[0]", &mut violations);
        (parsed, violations.into_iter().map(|v| v.path).collect())
    }

    #[test]
    fn defaults_and_limits() {
        assert_eq!(parse(0, None), (FlowKeeping::default(), vec![]));
        let edges = |hold_time_secs, dead_after_ms| FlowKeeping {
            hold_time_secs,
            dead_after_ms,
        };
        assert_eq!(parse(1, Some(0)), (edges(1, 0), vec![]));
        let largest = edges(32_400, 3_600_000);
        assert_eq!(parse(32_400, Some(3_600_000)), (largest, vec![]));
        let (_, paths) = parse(32_401, Some(3_600_001));
        assert_eq!(paths, ["pools[0].hold_time_secs", "pools[0].dead_after_ms"]);
    }
}
