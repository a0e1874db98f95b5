use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openraft::{Instant as _, Raft, async_runtime::watch::WatchReceiver, errors::Fatal};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tracing::{error, info};

use super::{state_machine::StateMachine, types::TypeConfig};

/// A member that has not heard of a leader for so long counts as cut off.
const CUT_OFF_AFTER: Duration = Duration::from_secs(3);
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How this member sees the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RaftView {
    /// Who leads, as far as this member knows.
    pub(crate) leader: Option<u64>,
    /// Whether a leader has been heard of recently; for the leader: whether a majority answers.
    pub(crate) connected: bool,
    /// Why this member does not take part any more.
    pub(crate) failure: Option<String>,
}

/// When a leader was last heard.
#[derive(Default)]
pub(crate) struct LastHeard(Mutex<Option<Instant>>);

// === impl LastHeard ===

impl LastHeard {
    pub(crate) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|at| at.elapsed() < CUT_OFF_AFTER)
    }
}

/// Follows the library's metrics. To be called on Raft's own threads.
pub(crate) fn follow(
    raft: &Raft<TypeConfig, StateMachine>,
    heard: Arc<LastHeard>,
    single: bool,
) -> watch::Receiver<RaftView> {
    let mut metrics = raft.metrics();
    let (sender, receiver) = watch::channel(RaftView::default());
    tokio::spawn(async move {
        let mut interval = time::interval(CHECK_INTERVAL);
        loop {
            let alive = tokio::select! {
                changed = metrics.changed() => changed.is_ok(),
                _ = interval.tick() => true,
            };
            let view = {
                let metrics = metrics.borrow_watched();
                let leads = metrics.current_leader == Some(metrics.id);
                let acknowledged = metrics
                    .last_quorum_acked
                    .as_ref()
                    .is_some_and(|at| at.elapsed() < CHECK_INTERVAL);
                if leads && (single || acknowledged) {
                    heard.now();
                }
                let failure = match &metrics.running_state {
                    Err(e @ (Fatal::StorageError(_) | Fatal::Panicked)) => Some(e.to_string()),
                    Err(Fatal::Stopped) | Ok(()) => None,
                };
                RaftView {
                    leader: metrics.current_leader,
                    // An election is no reason to give the cluster up, while it does not take too long.
                    connected: metrics.running_state.is_ok() && heard.is_recent(),
                    failure,
                }
            };
            let ended_alone = !alive && metrics.borrow_watched().running_state.is_ok();
            let view = if ended_alone {
                RaftView {
                    failure: Some("Raft has ended by itself".to_owned()),
                    connected: false,
                    ..view
                }
            } else {
                view
            };
            publish(&sender, view);
            if !alive || sender.is_closed() {
                return;
            }
        }
    });
    receiver
}

fn publish(sender: &watch::Sender<RaftView>, view: RaftView) {
    sender.send_if_modified(|old| {
        if *old == view {
            return false;
        }
        if old.leader != view.leader {
            info!(leader = view.leader, "leader changed");
        }
        if let (None, Some(failure)) = (&old.failure, &view.failure) {
            error!(error = %failure, "this member does not take part any more");
        }
        *old = view;
        true
    });
}
