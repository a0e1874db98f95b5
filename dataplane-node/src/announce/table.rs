use std::sync::Arc;
use std::time::Duration;

use lbfabric_bgp::{Attributes, Prefix, bfd::Path};
use lbfabric_routing::{BfdReport, NeighborReport, SpeakerHandle};
use tokio::{sync::watch, task::JoinHandle, time};

use super::bfd::BfdAccess;

/// The neighbors as they were last seen, for reports that wait for nobody.
#[derive(Debug)]
pub(crate) struct NeighborTable {
    rows: watch::Receiver<Arc<Vec<NeighborRow>>>,
    asker: TableAsker,
    task: JoinHandle<()>,
}

/// A neighbor.
#[derive(Clone, Debug)]
pub(crate) struct NeighborRow {
    pub(crate) report: NeighborReport,
    /// Its BFD session, if there is one.
    pub(crate) bfd: Option<BfdReport>,
    /// What keeps BFD from running, or from being exact.
    pub(crate) bfd_fault: Option<String>,
}

/// Asks how neighbors are.
#[derive(Clone, Debug)]
pub(crate) struct TableAsker {
    speaker: SpeakerHandle,
    bfd: watch::Receiver<BfdAccess>,
}

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);

// === impl NeighborTable ===

impl NeighborTable {
    pub(crate) fn follow(speaker: SpeakerHandle, bfd: watch::Receiver<BfdAccess>) -> Self {
        let (sender, rows) = watch::channel(Arc::default());
        let asker = TableAsker { speaker, bfd };
        let task = tokio::spawn(look(asker.clone(), sender));
        Self { rows, asker, task }
    }

    pub(crate) fn rows(&self) -> Arc<Vec<NeighborRow>> {
        Arc::clone(&self.rows.borrow())
    }

    pub(crate) fn asker(&self) -> TableAsker {
        self.asker.clone()
    }
}

impl Drop for NeighborTable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl TableAsker ===

impl TableAsker {
    /// All neighbors.
    pub(crate) async fn rows(&self) -> Vec<NeighborRow> {
        let BfdAccess { handle, fault } = self.bfd.borrow().clone();
        let sessions = match handle {
            Some(handle) => handle.report().await,
            None => Vec::new(),
        };
        let reports = self.speaker.neighbors().await.into_iter();
        let row = |report: NeighborReport| {
            let remote = report.addresses.map(|(_, remote)| remote.ip());
            let bfd = sessions.iter().find(|it| match it.path {
                Path::SingleHop { remote: of, .. } | Path::Multihop { remote: of, .. } => {
                    Some(of) == remote
                }
            });
            let bfd_fault = match (&report.bfd_fault, bfd) {
                (Some(own), _) => Some(fault.as_ref().unwrap_or(own).clone()),
                (None, Some(_)) => fault.clone(),
                (None, None) => None,
            };
            NeighborRow {
                bfd: bfd.cloned(),
                bfd_fault,
                report,
            }
        };
        reports.map(row).collect()
    }
}

impl TableAsker {
    /// What a neighbor has been told.
    pub(crate) async fn routes(&self, neighbor: &str) -> Vec<(Prefix, Arc<Attributes>)> {
        self.speaker.routes(neighbor).await.unwrap_or_default()
    }
}

async fn look(asker: TableAsker, rows: watch::Sender<Arc<Vec<NeighborRow>>>) {
    let mut ticks = time::interval(LOOK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    while !rows.is_closed() {
        ticks.tick().await;
        rows.send_replace(Arc::new(asker.rows().await));
    }
}
