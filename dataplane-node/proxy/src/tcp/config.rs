use std::time::Duration;

/// How TCP connections are relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// How long a connection may be silent in both directions.
    pub idle: Duration,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(1),
        }
    }
}
