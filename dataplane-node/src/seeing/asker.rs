use std::{collections::BTreeMap, time::Duration};

use lbfabric_lease::LeaseCounts;
use lbfabric_model::{BackendId, ServiceId};
use lbfabric_proto::v1;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How long the agent may take to answer: it may be at work.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that wait for it.
const WAITING_MAX: usize = 8;

/// Asks the agent what there is to see.
#[derive(Clone, Debug)]
pub(crate) struct Asker(mpsc::Sender<oneshot::Sender<NodeSeen>>);

/// Where the agent hears the questions.
pub(crate) type Questions = mpsc::Receiver<oneshot::Sender<NodeSeen>>;

/// What there is to see of a node, layer 7 apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSeen {
    pub(crate) node: String,
    /// What a controller would hear now.
    pub(crate) report: v1::NodeReport,
    pub(crate) is_connected: bool,
    /// What has become of leases of VIPs.
    pub(crate) leases: LeaseCounts,
    /// Other hosts that take themselves for the owner of a VIP of the node.
    pub(crate) rivals: u64,
    /// The names of services.
    pub(crate) services: BTreeMap<ServiceId, String>,
    /// The names of servers and of their pools.
    pub(crate) servers: BTreeMap<BackendId, (String, String)>,
}

/// Both ends.
pub(crate) fn asker() -> (Asker, Questions) {
    let (sender, questions) = mpsc::channel(WAITING_MAX);
    (Asker(sender), questions)
}

impl Asker {
    /// None if the agent does not answer.
    pub(crate) async fn ask(&self) -> Option<NodeSeen> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.0.send(reply).await.ok()?;
            answer.await.ok()
        };
        timeout(PATIENCE, asked).await.ok().flatten()
    }
}

impl NodeSeen {
    /// Why the node does not do what it was told to, if so.
    pub(crate) fn in_the_way(&self) -> Option<String> {
        let v1::NodeReport {
            applied_generation,
            fault,
            refusals,
            ..
        } = &self.report;
        if !fault.is_empty() {
            Some(fault.clone())
        } else if *applied_generation == 0 {
            Some("no controller has said what to do yet".to_owned())
        } else {
            refusals.first().map(|it| {
                let more = refusals.len() - 1;
                format!("{} (and {more} more refused)", it.reason)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_when_nothing_is_in_the_way() {
        let mut seen = NodeSeen::default();
        let why = seen.in_the_way();
        assert_eq!(
            why.as_deref(),
            Some("no controller has said what to do yet")
        );
        seen.report.applied_generation = 3;
        assert_eq!(seen.in_the_way(), None);
        seen.report.refusals = vec![v1::NodeObjectRefusal {
            reason: "no room".to_owned(),
            ..v1::NodeObjectRefusal::default()
        }];
        let why = seen.in_the_way();
        assert_eq!(why.as_deref(), Some("no room (and 0 more refused)"));
        seen.report.fault = "no interface".to_owned();
        assert_eq!(seen.in_the_way().as_deref(), Some("no interface"));
    }
}
