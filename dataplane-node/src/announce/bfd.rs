use std::time::{Duration, Instant};

use lbfabric_routing::{BfdHandle, BfdThread, HandedBfd, Priority};
use tracing::{error, warn};

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

/// BFD that another agent goes on with. The thread repeats what sessions last said until this is dropped, so that routers miss nothing
/// until the other agent speaks.
#[derive(Debug)]
pub(crate) struct GivenBfd {
    pub(crate) handed: HandedBfd,
    _thread: BfdThread,
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

    /// Goes on with what the agent before this one has given.
    pub(crate) fn resume(handed: HandedBfd) -> Self {
        match BfdThread::resume(handed) {
            Ok(thread) => Self::Running(thread),
            Err(error) => {
                warn!(error = %Chain(&error), "BFD of the agent before this one ends, and begins anew");
                Self::Unwanted
            }
        }
    }

    /// Gives it to another agent, if it runs.
    pub(crate) async fn hand_over(self) -> Option<GivenBfd> {
        let Self::Running(thread) = self else {
            return None;
        };
        match thread.hand_over().await {
            Ok(handed) => Some(GivenBfd {
                handed,
                _thread: thread,
            }),
            Err(error) => {
                warn!(error = %Chain(&error), "BFD is not given to the other agent, and routers may withdraw");
                None
            }
        }
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
