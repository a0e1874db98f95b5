use tokio::time::Instant;

use super::role::Applied;
use crate::{
    controller::Session, health::HealthTable, netlink::NetworkView, plan::Desired,
    snapshot::HeldSnapshot,
};

/// What changes as the agent runs.
pub(crate) struct Progress {
    /// `None` until a controller or the disk has said what to do: until then the maps are left as they are.
    pub(super) held: Option<HeldSnapshot>,
    pub(super) desired: Desired,
    pub(super) health: HealthTable,
    pub(super) view: NetworkView,
    pub(super) session: Option<Session>,
    pub(super) applied: Applied,
    /// What was desired has been applied once.
    pub(super) has_applied: bool,
    /// Something has changed since the last apply.
    pub(super) apply_due: bool,
    pub(super) apply_retry_at: Option<Instant>,
    pub(super) report_changed: bool,
    pub(super) last_report: Instant,
    pub(super) last_look: Instant,
}

impl Progress {
    pub(crate) fn new(held: Option<HeldSnapshot>) -> Self {
        Self {
            held,
            desired: Desired::default(),
            health: HealthTable::default(),
            view: NetworkView::default(),
            session: None,
            applied: Applied::default(),
            has_applied: false,
            apply_due: false,
            apply_retry_at: None,
            report_changed: false,
            last_report: Instant::now(),
            last_look: Instant::now(),
        }
    }
}
