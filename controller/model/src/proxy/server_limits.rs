use lbfabric_proto::v1;

use super::{
    balancing::{COUNT_MAX, TIME_MS_MAX},
    number::{at_most, or_default},
};
use crate::Violation;

/// Connections that wait, to one server, of one worker.
const IDLE_MAX: u32 = 10_000;

/// What each server is spared; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Requests that a server works on at a time.
    pub requests: u32,
    /// Open connections to a server.
    pub connections: u32,
    /// Requests that wait until a server has room; with 0 none waits.
    pub pending: u32,
    /// How long one waits.
    pub pending_timeout_ms: u32,
}

/// Connections that wait for their next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleConnections {
    /// To each server, for each worker of a node.
    pub connections: u32,
    /// How long one waits.
    pub timeout_ms: u32,
}

// === impl ServerLimits ===

impl ServerLimits {
    pub(super) fn parse(
        spec: v1::ServerLimitsSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::ServerLimitsSpec {
            requests,
            connections,
            pending,
            pending_timeout_ms,
        } = spec;
        let default = Self::default();
        let mut up_to = |field: &str, value, default| {
            at_most(
                &format!("{path}.{field}"),
                value,
                default,
                COUNT_MAX,
                violations,
            )
        };
        Self {
            requests: up_to("requests", Some(requests), default.requests),
            connections: up_to("connections", Some(connections), default.connections),
            pending: up_to("pending", pending, default.pending),
            pending_timeout_ms: or_default(
                &format!("{path}.pending_timeout_ms"),
                pending_timeout_ms,
                default.pending_timeout_ms,
                (1, TIME_MS_MAX),
                violations,
            ),
        }
    }

    pub(super) fn to_spec(self) -> v1::ServerLimitsSpec {
        v1::ServerLimitsSpec {
            requests: self.requests,
            connections: self.connections,
            pending: Some(self.pending),
            pending_timeout_ms: self.pending_timeout_ms,
        }
    }
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            requests: 0,
            connections: 0,
            pending: 1_024,
            pending_timeout_ms: 5_000,
        }
    }
}

// === impl IdleConnections ===

impl IdleConnections {
    pub(super) fn parse(
        spec: v1::IdleConnectionsSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::IdleConnectionsSpec {
            connections,
            timeout_ms,
        } = spec;
        let default = Self::default();
        Self {
            connections: at_most(
                &format!("{path}.connections"),
                connections,
                default.connections,
                IDLE_MAX,
                violations,
            ),
            timeout_ms: or_default(
                &format!("{path}.timeout_ms"),
                timeout_ms,
                default.timeout_ms,
                (1, TIME_MS_MAX),
                violations,
            ),
        }
    }

    pub(super) fn to_spec(self) -> v1::IdleConnectionsSpec {
        v1::IdleConnectionsSpec {
            connections: Some(self.connections),
            timeout_ms: self.timeout_ms,
        }
    }
}

impl Default for IdleConnections {
    fn default() -> Self {
        Self {
            connections: 4_096,
            timeout_ms: 50_000,
        }
    }
}
