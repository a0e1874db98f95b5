use std::time::{Duration, Instant};

use lbfabric_routing::{BfdHandle, BfdThread, Priority};
use tracing::error;

use crate::chain::Chain;

/// The thread for BFD, once a neighbor wants it.
#[derive(Debug, Default)]
pub(crate) enum Bfd {
    /// Nobody has wanted it yet.
    #[default]
    Unwanted,
    /// It runs.
    Running(BfdThread),
    /// It does not start.
    Failed {
        /// Why.
        reason: String,
        /// When to try again.
        retry_at: Instant,
    },
}

/// What the table of neighbors needs of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct BfdAccess {
    pub(crate) handle: Option<BfdHandle>,
    /// What keeps it from running, or from being exact.
    pub(crate) fault: Option<String>,
}

/// Another daemon may have its ports, and let them go.
const RETRY: Duration = Duration::from_secs(5);

// === impl Bfd ===

impl Bfd {
    /// Starts it if it is wanted and that has not been tried lately. True if something has changed.
    pub(crate) fn follow(&mut self, is_wanted: bool, now: Instant) -> bool {
        match (&self, is_wanted) {
            (Self::Unwanted, true) => {}
            (Self::Failed { retry_at, .. }, true) if *retry_at <= now => {}
            (Self::Failed { .. }, false) => {
                *self = Self::Unwanted;
                return true;
            }
            (Self::Running(_) | Self::Failed { .. }, _) | (Self::Unwanted, false) => return false,
        }
        *self = match BfdThread::start() {
            Ok(thread) => Self::Running(thread),
            Err(error) => {
                let reason = Chain(&error).to_string();
                error!(reason, "no BFD");
                let retry_at = now + RETRY;
                Self::Failed { reason, retry_at }
            }
        };
        true
    }

    pub(crate) fn access(&self) -> BfdAccess {
        match self {
            Self::Unwanted => BfdAccess::default(),
            Self::Running(thread) => BfdAccess {
                handle: Some(thread.handle()),
                fault: match thread.priority() {
                    Priority::RealTime => None,
                    Priority::Ordinary(why) => Some(format!(
                        "its thread has no real-time priority, so that losses may be found that are none while processors are busy: {why}"
                    )),
                },
            },
            Self::Failed { reason, .. } => BfdAccess {
                handle: None,
                fault: Some(reason.clone()),
            },
        }
    }

    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match self {
            Self::Unwanted | Self::Running(_) => None,
            Self::Failed { retry_at, .. } => Some(*retry_at),
        }
    }
}
