use lbfabric_proto::v1;

use super::number::or_default;
use crate::{Violation, fields::Fields};

/// How datagrams are relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRelay {
    /// How long both sides of a session may be silent.
    pub idle_ms: u32,
    /// Sessions at a time on each core of a node.
    pub max_sessions: u32,
}

const IDLE_MS_MAX: u32 = 3_600_000;
/// A socket of a session has one of as many ports.
const SESSIONS_MAX: u32 = 65_536;

impl UdpRelay {
    pub(super) fn parse(
        spec: v1::UdpRelaySpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Self {
        let v1::UdpRelaySpec {
            idle_ms,
            max_sessions,
        } = spec;
        let default = Self::default();
        let mut within = |field: &str, value, default, max| {
            let path = format!("{path}.{field}");
            or_default(&path, value, default, (1, max), violations)
        };
        Self {
            idle_ms: within("idle_ms", idle_ms, default.idle_ms, IDLE_MS_MAX),
            max_sessions: within(
                "max_sessions",
                max_sessions,
                default.max_sessions,
                SESSIONS_MAX,
            ),
        }
    }

    pub(super) fn to_spec(self) -> v1::UdpRelaySpec {
        let Self {
            idle_ms,
            max_sessions,
        } = self;
        v1::UdpRelaySpec {
            idle_ms,
            max_sessions,
        }
    }

    pub(super) fn fields(self, fields: &mut Fields) {
        let Self {
            idle_ms,
            max_sessions,
        } = self;
        fields.put("proxy.udp.idle_ms", idle_ms);
        fields.put("proxy.udp.max_sessions", max_sessions);
    }
}

impl Default for UdpRelay {
    fn default() -> Self {
        Self {
            idle_ms: 30_000,
            max_sessions: 16_384,
        }
    }
}
