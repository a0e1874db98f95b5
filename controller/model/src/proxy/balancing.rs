use lbfabric_proto::v1::{self, hash_spec};

use super::{
    number::{at_most, or_default},
    outliers::OutlierEjection,
    server_limits::{IdleConnections, ServerLimits},
    sticky_cookie::StickyCookie,
};
use crate::{Violation, route_text, wire_enum::WireEnum as _};

/// The longest time, in milliseconds.
pub(super) const TIME_MS_MAX: u32 = 3_600_000;
/// The most of anything that is counted.
pub(super) const COUNT_MAX: u32 = 1_000_000;
const LATENCY_DECAY_MS: u32 = 10_000;
/// A bound in percent.
const BOUND_MIN: u32 = 100;
const BOUND_MAX: u16 = 10_000;

/// How requests are spread over the servers of each of a service's pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// Which server gets a request.
    pub algorithm: Algorithm,
    /// What brings a client back to its server.
    pub sticky_cookie: Option<StickyCookie>,
    /// How long the share of a server grows that has joined; 0: not at all.
    pub slow_start_ms: u32,
    /// Which failures take a server out.
    pub outlier_ejection: Option<OutlierEjection>,
    /// What each server is spared.
    pub server_limits: ServerLimits,
    /// Connections that wait for their next request.
    pub idle_connections: IdleConnections,
    /// How many requests may be tried again.
    pub retry_budget: RetryBudget,
}

/// Which server gets a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests.
    LeastConnections,
    /// The better of two at random.
    PeakEwma {
        /// After which time an answer's weighs about a third.
        decay_ms: u32,
    },
    /// The same one for the same client.
    Hash {
        /// What tells clients apart.
        on: HashOn,
        /// How much of its share a server has at most.
        bound_percent: Option<u16>,
    },
}

/// An [`Algorithm`]'s name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlgorithmName {
    /// [`Algorithm::RoundRobin`].
    #[default]
    RoundRobin,
    /// [`Algorithm::LeastConnections`].
    LeastConnections,
    /// [`Algorithm::PeakEwma`].
    PeakEwma,
    /// [`Algorithm::Hash`].
    Hash,
}

/// What of a request a hash is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    #[default]
    Source,
    /// A field of the head, by its name.
    Header(String),
    /// A cookie, by its name.
    Cookie(String),
}

/// How many requests may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Of a hundred requests, 0 to 100.
    pub percent: u8,
    /// And besides, in each second.
    pub per_second_min: u32,
}

// === impl Balancing ===

impl Balancing {
    /// Checks the specification at `path`, of a service with or without TLS. After a violation the result is of no use.
    pub(super) fn parse(
        spec: &v1::BalancingSpec,
        has_tls: bool,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::BalancingSpec {
            algorithm: _,
            hash: _,
            latency_decay_ms: _,
            sticky_cookie,
            slow_start_ms,
            outlier_ejection,
            server_limits,
            idle_connections,
            retry_budget,
        } = spec;
        let of = |field: &str| format!("{path}.{field}");
        Self {
            algorithm: Algorithm::parse(spec, path, violations),
            sticky_cookie: sticky_cookie.as_ref().map(|cookie| {
                StickyCookie::parse(cookie, has_tls, &of("sticky_cookie"), violations)
            }),
            slow_start_ms: or_default(
                &of("slow_start_ms"),
                *slow_start_ms,
                0,
                (1, TIME_MS_MAX),
                violations,
            ),
            outlier_ejection: outlier_ejection.as_ref().map(|outliers| {
                OutlierEjection::parse(*outliers, &of("outlier_ejection"), violations)
            }),
            server_limits: ServerLimits::parse(
                server_limits.unwrap_or_default(),
                &of("server_limits"),
                violations,
            ),
            idle_connections: IdleConnections::parse(
                idle_connections.unwrap_or_default(),
                &of("idle_connections"),
                violations,
            ),
            retry_budget: RetryBudget::parse(
                retry_budget.unwrap_or_default(),
                &of("retry_budget"),
                violations,
            ),
        }
    }

    /// The specification with every default filled in.
    pub fn to_spec(&self) -> v1::BalancingSpec {
        let Self {
            algorithm,
            sticky_cookie,
            slow_start_ms,
            outlier_ejection,
            server_limits,
            idle_connections,
            retry_budget,
        } = self;
        let (latency_decay_ms, hash) = match algorithm {
            Algorithm::RoundRobin | Algorithm::LeastConnections => (0, None),
            Algorithm::PeakEwma { decay_ms } => (*decay_ms, None),
            Algorithm::Hash { on, bound_percent } => {
                let bound_percent = bound_percent.map_or(0, u32::from);
                let on = on.to_spec();
                (0, Some(v1::HashSpec { on, bound_percent }))
            }
        };
        v1::BalancingSpec {
            algorithm: algorithm.name().to_proto().into(),
            hash,
            latency_decay_ms,
            sticky_cookie: sticky_cookie.as_ref().map(StickyCookie::to_spec),
            slow_start_ms: *slow_start_ms,
            outlier_ejection: outlier_ejection.map(OutlierEjection::to_spec),
            server_limits: Some(server_limits.to_spec()),
            idle_connections: Some(idle_connections.to_spec()),
            retry_budget: Some(retry_budget.to_spec()),
        }
    }
}

// === impl Algorithm ===

impl Algorithm {
    fn parse(spec: &v1::BalancingSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let of = |field: &str| format!("{path}.{field}");
        let name = AlgorithmName::parse_field(spec.algorithm, &of("algorithm"), violations);
        let Some(name) = name else {
            return Self::default();
        };
        let mut only_with = |field: &str, is_set: bool, needed: AlgorithmName| {
            if is_set && name != needed {
                let reason = format!(
                    "`{}` does not go by it: leave it out, or set `algorithm: {}`",
                    name.name(),
                    needed.name()
                );
                violations.push(Violation::new(of(field), reason));
            }
        };
        only_with("hash", spec.hash.is_some(), AlgorithmName::Hash);
        only_with(
            "latency_decay_ms",
            spec.latency_decay_ms != 0,
            AlgorithmName::PeakEwma,
        );
        match name {
            AlgorithmName::RoundRobin => Self::RoundRobin,
            AlgorithmName::LeastConnections => Self::LeastConnections,
            AlgorithmName::PeakEwma => Self::PeakEwma {
                decay_ms: or_default(
                    &of("latency_decay_ms"),
                    spec.latency_decay_ms,
                    LATENCY_DECAY_MS,
                    (1, TIME_MS_MAX),
                    violations,
                ),
            },
            AlgorithmName::Hash => {
                let hash = spec.hash.clone().unwrap_or_default();
                Self::hash(hash, &of("hash"), violations)
            }
        }
    }

    fn hash(spec: v1::HashSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let v1::HashSpec { on, bound_percent } = spec;
        let (field, on, checked) = match on {
            None => ("", HashOn::Source, Ok(())),
            Some(hash_spec::On::Header(name)) => {
                let checked = route_text::field_name(&name);
                // Case does not matter: one way to write it.
                let name = name.to_ascii_lowercase();
                ("header", HashOn::Header(name), checked)
            }
            Some(hash_spec::On::Cookie(name)) => {
                let checked = route_text::cookie_name(&name);
                ("cookie", HashOn::Cookie(name), checked)
            }
        };
        if let Err(reason) = checked {
            violations.push(Violation::new(format!("{path}.{field}"), reason));
        }
        let bound = u16::try_from(bound_percent).unwrap_or(u16::MAX);
        if bound_percent != 0 && !(BOUND_MIN..=BOUND_MAX.into()).contains(&bound_percent) {
            violations.push(Violation::new(
                format!("{path}.bound_percent"),
                format!(
                    "{bound_percent} is out of range: use {BOUND_MIN} to {BOUND_MAX}, or leave it out for no bound"
                ),
            ));
        }
        Self::Hash {
            on,
            bound_percent: (bound_percent != 0).then_some(bound),
        }
    }

    const fn name(&self) -> AlgorithmName {
        match self {
            Self::RoundRobin => AlgorithmName::RoundRobin,
            Self::LeastConnections => AlgorithmName::LeastConnections,
            Self::PeakEwma { .. } => AlgorithmName::PeakEwma,
            Self::Hash { .. } => AlgorithmName::Hash,
        }
    }
}

impl HashOn {
    fn to_spec(&self) -> Option<hash_spec::On> {
        match self {
            Self::Source => None,
            Self::Header(name) => Some(hash_spec::On::Header(name.clone())),
            Self::Cookie(name) => Some(hash_spec::On::Cookie(name.clone())),
        }
    }
}

// === impl RetryBudget ===

impl RetryBudget {
    fn parse(spec: v1::RetryBudgetSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let v1::RetryBudgetSpec {
            percent,
            per_second_min,
        } = spec;
        let default = Self::default();
        let percent = at_most(
            &format!("{path}.percent"),
            percent,
            default.percent.into(),
            100,
            violations,
        );
        Self {
            percent: u8::try_from(percent).unwrap_or(default.percent),
            per_second_min: at_most(
                &format!("{path}.per_second_min"),
                per_second_min,
                default.per_second_min,
                COUNT_MAX,
                violations,
            ),
        }
    }

    fn to_spec(self) -> v1::RetryBudgetSpec {
        v1::RetryBudgetSpec {
            percent: Some(self.percent.into()),
            per_second_min: Some(self.per_second_min),
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second_min: 3,
        }
    }
}

#[cfg(test)]
mod tests;
