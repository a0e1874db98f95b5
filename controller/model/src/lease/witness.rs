use std::collections::BTreeMap;

use super::{Moment, Timers, WitnessReport};
use crate::Name;

/// A controller's part in leases, whether it leads or not: it tells owners that nobody leads, and leaders whom it has told so.
///
/// An owner that a majority has told so keeps its VIPs for a lease from when it asked. No leader gives them away in that time, as one of that
/// majority is in every other one. What the controller believes about leaders is therefore no matter of safety, and it may be hasty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    pub(super) started: Moment,
    pub(super) heard: Option<Moment>,
    pub(super) told: BTreeMap<Name, Moment>,
}

// === impl Witness ===

impl Witness {
    /// One that has just started, and has forgotten whom it told what.
    pub fn new(now: Moment) -> Self {
        Self {
            started: now,
            heard: None,
            told: BTreeMap::new(),
        }
    }

    /// A leader's round has come to this controller, or one of its own has come to a majority.
    pub fn heard_leader(&mut self, now: Moment) {
        self.heard = Some(now);
    }

    /// Whether the answer to a node that asks is that nobody leads. It counts as told from now on.
    pub fn ask(&mut self, now: Moment, node: &Name, timers: Timers) -> bool {
        self.forget(now, timers);
        let last = self.heard.unwrap_or(self.started);
        let nobody_leads = now.since(last) >= timers.gone_after();
        if nobody_leads {
            self.told.insert(node.clone(), now);
        }
        nobody_leads
    }

    /// The answer to a leader.
    pub fn report(&mut self, now: Moment, timers: Timers) -> WitnessReport {
        self.forget(now, timers);
        let told = self.told.iter();
        WitnessReport {
            up_for: now.since(self.started),
            told: told
                .map(|(node, at)| (node.clone(), now.since(*at)))
                .collect(),
        }
    }

    /// What was told longer ago makes no difference any more.
    fn forget(&mut self, now: Moment, timers: Timers) {
        self.told
            .retain(|_, at| now.since(*at) <= timers.fence() * 2);
    }
}

#[cfg(test)]
mod tests;
