use std::num::{NonZeroU8, NonZeroU32};

/// Settings of one session, as an operator wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSpec {
    /// Our number for the session, which no other session of ours has.
    pub discriminator: NonZeroU32,
    /// How often we would send, at most.
    pub desired_min_tx_micros: u32,
    /// How often we can receive.
    pub required_min_rx_micros: u32,
    /// How many packets of ours have to be missing before the partner gives up.
    pub detect_mult: NonZeroU8,
    /// Sends nothing before the partner does.
    pub is_passive: bool,
    /// Whether packets are sent also while the control plane is gone; RFC 5882 section 4.3 says what partners make of it.
    pub is_independent: bool,
}

/// Settings of one session that a machine can work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig(SessionSpec);

/// Why settings of a session are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSession {
    /// A thread cannot keep to shorter ones.
    #[error("an interval of {0} us is below {INTERVAL_MIN_MICROS} us")]
    TooShort(u32),
    /// Longer ones detect nothing that BGP would not.
    #[error("an interval of {0} us is above {INTERVAL_MAX_MICROS} us")]
    TooLong(u32),
}

const INTERVAL_MIN_MICROS: u32 = 10_000;
const INTERVAL_MAX_MICROS: u32 = 60_000_000;

// === impl SessionConfig ===

impl SessionConfig {
    pub(super) fn spec(&self) -> &SessionSpec {
        &self.0
    }
}

impl TryFrom<SessionSpec> for SessionConfig {
    type Error = InvalidSession;

    fn try_from(spec: SessionSpec) -> Result<Self, InvalidSession> {
        for micros in [spec.desired_min_tx_micros, spec.required_min_rx_micros] {
            if micros < INTERVAL_MIN_MICROS {
                return Err(InvalidSession::TooShort(micros));
            }
            if micros > INTERVAL_MAX_MICROS {
                return Err(InvalidSession::TooLong(micros));
            }
        }
        Ok(Self(spec))
    }
}
