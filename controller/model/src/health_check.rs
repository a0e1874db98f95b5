use lbfabric_proto::v1::{self, health_check_spec};

use crate::{Violation, fields::Fields};

/// How servers are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub check: Check,
    /// Milliseconds between probes.
    pub interval_ms: u32,
    /// Milliseconds until a probe has failed, at most `interval_ms`.
    pub timeout_ms: u32,
    /// Passing probes in a row that make a server healthy.
    pub rise: u32,
    /// Failing probes in a row that make a server unhealthy.
    pub fall: u32,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A TCP connection to this port is opened and closed.
    Tcp {
        /// The server's port.
        port: u16,
    },
}

impl HealthCheck {
    pub(crate) fn parse(
        spec: &v1::HealthCheckSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let mut within = |field: &str, value: u32, default: u32, min: u32, max: u32| {
            let value = if value == 0 { default } else { value };
            if !(min..=max).contains(&value) {
                violations.push(Violation::new(
                    format!("{path}.{field}"),
                    format!("{value} is out of range: use {min} to {max}"),
                ));
            }
            value
        };
        let interval_ms = within("interval_ms", spec.interval_ms, 1_000, 100, 60_000);
        let timeout_max = interval_ms.clamp(100, 60_000);
        let timeout_ms = within(
            "timeout_ms",
            spec.timeout_ms,
            timeout_max / 2,
            10,
            timeout_max,
        );
        let rise = within("rise", spec.rise, 2, 1, 10);
        let fall = within("fall", spec.fall, 3, 1, 10);
        let check = match &spec.check {
            Some(health_check_spec::Check::Tcp(v1::TcpCheckSpec { port })) => {
                match u16::try_from(*port) {
                    Ok(port) if port != 0 => Some(Check::Tcp { port }),
                    _ => {
                        violations.push(Violation::new(
                            format!("{path}.tcp.port"),
                            format!("{port} is not a port: use 1 to 65535"),
                        ));
                        None
                    }
                }
            }
            None => {
                violations.push(Violation::new(
                    path,
                    "it says no check: add `tcp: { port: 80 }`, or leave the whole health check out",
                ));
                None
            }
        };
        Some(Self {
            check: check?,
            interval_ms,
            timeout_ms,
            rise,
            fall,
        })
    }

    /// The specification with every default filled in.
    pub fn to_spec(&self) -> v1::HealthCheckSpec {
        let Self {
            check: Check::Tcp { port },
            interval_ms,
            timeout_ms,
            rise,
            fall,
        } = *self;
        v1::HealthCheckSpec {
            check: Some(health_check_spec::Check::Tcp(v1::TcpCheckSpec {
                port: port.into(),
            })),
            interval_ms,
            timeout_ms,
            rise,
            fall,
        }
    }

    pub(crate) fn fields(&self, fields: &mut Fields) {
        let Self {
            check: Check::Tcp { port },
            interval_ms,
            timeout_ms,
            rise,
            fall,
        } = self;
        fields.put("health_check.tcp.port", port);
        fields.put("health_check.interval_ms", interval_ms);
        fields.put("health_check.timeout_ms", timeout_ms);
        fields.put("health_check.rise", rise);
        fields.put("health_check.fall", fall);
    }
}
