use std::num::NonZeroU32;

use lbfabric_abi::NEW_FLOWS_MAX;
use lbfabric_proto::v1;

use crate::{Violation, fields::Fields};

/// How many new flows of a service a node lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// All of them together; `None`: without limit.
    pub new_flows: Option<RateLimit>,
    /// Those of one client address; `None`: without limit.
    pub source_new_flows: Option<RateLimit>,
}

/// A token bucket. Both numbers are at most [`NEW_FLOWS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Tokens that it gains in a second.
    pub per_second: NonZeroU32,
    /// Tokens that it holds.
    pub burst: NonZeroU32,
}

impl Limits {
    /// Checks the limits at `path`. After a violation the result is of no use.
    pub(crate) fn parse(
        spec: &v1::LimitsSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::LimitsSpec {
            new_flows_per_second,
            new_flow_burst,
            source_new_flows_per_second,
            source_new_flow_burst,
        } = *spec;
        let mut limit = |rate: (&str, u32), burst: (&str, u32)| {
            for (field, value) in [rate, burst] {
                if value > NEW_FLOWS_MAX {
                    violations.push(Violation::new(
                        format!("{path}.{field}"),
                        format!(
                            "{value} is out of range: use 1 to {NEW_FLOWS_MAX}, or leave it out"
                        ),
                    ));
                }
            }
            if rate.1 == 0 && burst.1 != 0 {
                violations.push(Violation::new(
                    format!("{path}.{}", burst.0),
                    format!(
                        "a burst needs a rate: set `{}` too, or leave it out",
                        rate.0
                    ),
                ));
            }
            let per_second = NonZeroU32::new(rate.1)?;
            Some(RateLimit {
                per_second,
                burst: NonZeroU32::new(burst.1).unwrap_or(per_second),
            })
        };
        Self {
            new_flows: limit(
                ("new_flows_per_second", new_flows_per_second),
                ("new_flow_burst", new_flow_burst),
            ),
            source_new_flows: limit(
                ("source_new_flows_per_second", source_new_flows_per_second),
                ("source_new_flow_burst", source_new_flow_burst),
            ),
        }
    }

    /// Whether it limits nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The specification with every default filled in; `None` if it limits nothing.
    pub fn to_spec(self) -> Option<v1::LimitsSpec> {
        let numbers = |limit: Option<RateLimit>| {
            limit.map_or((0, 0), |l| (l.per_second.get(), l.burst.get()))
        };
        let (new_flows_per_second, new_flow_burst) = numbers(self.new_flows);
        let (source_new_flows_per_second, source_new_flow_burst) = numbers(self.source_new_flows);
        (!self.is_empty()).then_some(v1::LimitsSpec {
            new_flows_per_second,
            new_flow_burst,
            source_new_flows_per_second,
            source_new_flow_burst,
        })
    }

    pub(crate) fn fields(self, fields: &mut Fields) {
        let Self {
            new_flows,
            source_new_flows,
        } = self;
        if let Some(RateLimit { per_second, burst }) = new_flows {
            fields.put("limits.new_flows_per_second", per_second);
            fields.put("limits.new_flow_burst", burst);
        }
        if let Some(RateLimit { per_second, burst }) = source_new_flows {
            fields.put("limits.source_new_flows_per_second", per_second);
            fields.put("limits.source_new_flow_burst", burst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rate: u32, burst: u32, source_rate: u32, source_burst: u32) -> v1::LimitsSpec {
        v1::LimitsSpec {
            new_flows_per_second: rate,
            new_flow_burst: burst,
            source_new_flows_per_second: source_rate,
            source_new_flow_burst: source_burst,
        }
    }

    fn parse(spec: v1::LimitsSpec) -> (Option<v1::LimitsSpec>, Vec<String>) {
        let mut violations = Vec::new();
        let limits = Limits::parse(&spec, "limits", &mut violations);
        let paths = violations.into_iter().map(|v| v.path).collect();
        (limits.to_spec(), paths)
    }

    #[test]
    fn a_burst_is_a_seconds_worth_unless_it_says_otherwise() {
        assert_eq!(parse(spec(0, 0, 0, 0)), (None, vec![]));
        let filled = spec(100, 100, 7, 9);
        assert_eq!(parse(spec(100, 0, 7, 9)), (Some(filled), vec![]));
        assert_eq!(parse(filled), (Some(filled), vec![]));
        let largest = spec(NEW_FLOWS_MAX, NEW_FLOWS_MAX, 0, 0);
        assert_eq!(parse(largest), (Some(largest), vec![]));
    }

    #[test]
    fn mistakes_are_told_one_by_one() {
        let over = NEW_FLOWS_MAX + 1;
        assert_eq!(
            parse(spec(over, over, 0, 5)).1,
            [
                "limits.new_flows_per_second",
                "limits.new_flow_burst",
                "limits.source_new_flow_burst"
            ]
        );
    }
}
