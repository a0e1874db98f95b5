mod grants;
mod moves;
mod view;

pub use view::{LeaderView, NodeView, VipView};

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Assign, Assignments, Candidates, Grant, LeaseRequest, Moment, Ordinal, PlacementRules, Release,
    Round, Timers, place,
};
use crate::Name;

/// The leader's part in leases, for as long as it leads. It may go on when it does not any more: nothing that it says then does harm.
///
/// A grant counts from the start of the last round in which a majority followed the leader, or from the request if that came before. So a leader that
/// was replaced and does not know it grants nothing beyond one lease from its replacement on, and that much the new one waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    pub(super) timers: Timers,
    pub(super) controllers: BTreeSet<u64>,
    pub(super) rules: Arc<PlacementRules>,
    pub(super) assignments: Assignments,
    /// Leases that others have granted last until then.
    pub(super) settled_at: Moment,
    pub(super) round: Option<LastRound>,
    pub(super) nodes: BTreeMap<Name, NodeLease>,
    pub(super) moves: BTreeMap<IpAddr, Move>,
    /// What was proposed and is not decided.
    pub(super) proposed: BTreeMap<IpAddr, Assign>,
    pub(super) count: Ordinal,
    /// Where VIPs should be, and for which nodes that was found.
    pub(super) targets: BTreeMap<IpAddr, Name>,
    pub(super) targets_for: Option<Candidates>,
}

/// What the leader wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderAction {
    /// Send a grant to a node.
    Grant(Name, Grant),
    /// Propose assignments to the log, all of them in one entry or not.
    Propose(Vec<Assign>),
    /// Begin a round at once: a lease has run out.
    Round,
}

/// The newest round.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LastRound {
    pub(super) started: Moment,
    /// Nobody was told that nobody leads after this, as far as it is not in `told`.
    pub(super) told_others: Moment,
    /// When nodes were told at the latest.
    pub(super) told: BTreeMap<Name, Moment>,
}

/// What the leader knows of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeLease {
    pub(super) request: LeaseRequest,
    pub(super) received: Moment,
    /// Since when there was one request after the other.
    pub(super) since: Moment,
    /// From when on its last lease counts.
    pub(super) counted_from: Option<Moment>,
    /// Whether it is owed a grant.
    pub(super) owed: bool,
    /// When it said last that it cannot serve a VIP, as far as that counts.
    pub(super) unfit_at: BTreeMap<IpAddr, Moment>,
}

/// A VIP on its way from an owner that lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Move {
    /// The next owner gets ready.
    Warming { to: Name },
    /// The owner is to release it.
    Releasing { release: Release, session: u64 },
}

// === impl Leader ===

impl Leader {
    /// A new leader. To be called once an entry of its own term is applied, so that `assignments` has whatever was committed before.
    pub fn new(
        now: Moment,
        term: u64,
        timers: Timers,
        controllers: BTreeSet<u64>,
        rules: Arc<PlacementRules>,
        assignments: Assignments,
    ) -> Self {
        Self {
            timers,
            controllers,
            rules,
            assignments,
            settled_at: now + timers.fence(),
            round: None,
            nodes: BTreeMap::new(),
            moves: BTreeMap::new(),
            proposed: BTreeMap::new(),
            count: Ordinal { term, number: 0 },
            targets: BTreeMap::new(),
            targets_for: None,
        }
    }

    /// A node's request. Answered at once if the last round allows it, else after the next one.
    pub fn request(&mut self, now: Moment, request: LeaseRequest) -> Vec<LeaderAction> {
        let node = request.node.clone();
        let before = self.nodes.remove(&node);
        let mut lease = NodeLease {
            request,
            received: now,
            since: now,
            counted_from: None,
            owed: true,
            unfit_at: BTreeMap::new(),
        };
        let mut has_news = true;
        if let Some(before) = before {
            let same = before.request.session == lease.request.session;
            let is_old = before.request.sent > lease.request.sent;
            if same && (is_old || before.request == lease.request) {
                self.nodes.insert(node, before);
                return Vec::new();
            }
            lease.counted_from = before.counted_from;
            lease.unfit_at.clone_from(&before.unfit_at);
            if now.since(before.received) < self.timers.lease() {
                lease.since = before.since;
                has_news = !same || lease.says_other_than(&before);
            }
        }
        let steady_after = self.timers.steady_after();
        lease.unfit_at.retain(|_, at| now.since(*at) < steady_after);
        let unfit = lease.request.unfit.keys();
        lease.unfit_at.extend(unfit.map(|vip| (*vip, now)));
        self.nodes.insert(node, lease);
        if has_news {
            self.decide(now)
        } else {
            self.grants(now)
        }
    }

    /// A round is over. One that took too long says too little.
    pub fn round(&mut self, now: Moment, round: &Round) -> Vec<LeaderAction> {
        let Round { started, reports } = round;
        let newest = self.round.as_ref().is_none_or(|it| it.started < *started);
        if !newest || now.since(*started) > self.timers.lease() / 2 {
            return Vec::new();
        }
        let mut last = LastRound {
            started: *started,
            told_others: Moment::default(),
            told: BTreeMap::new(),
        };
        for report in reports {
            last.told_others = last.told_others.max(now - report.up_for);
            for (node, ago) in &report.told {
                let told = last.told.entry(node.clone()).or_default();
                *told = (*told).max(now - *ago);
            }
        }
        self.round = Some(last);
        self.decide(now)
    }

    /// Time has passed, one [`Timers::renew_every`] at most. [`LeaderAction::Round`] may come each time.
    pub fn tick(&mut self, now: Moment) -> Vec<LeaderAction> {
        let lease = self.timers.lease();
        // Nothing that is granted after it would last until now.
        self.round.take_if(|it| now.since(it.started) >= lease);
        let mut actions = self.decide(now);
        let waits = |node: &Name| {
            self.due(node) <= now
                && self
                    .round
                    .as_ref()
                    .is_none_or(|it| it.started < self.due(node))
        };
        if self.assignments.iter().any(|(_, it)| waits(&it.owner)) {
            actions.push(LeaderAction::Round);
        }
        actions
    }

    /// The assignments after an entry of the log was applied.
    pub fn applied(&mut self, now: Moment, assignments: Assignments) -> Vec<LeaderAction> {
        for (node, lease) in &mut self.nodes {
            lease.owed |= assignments.version(node) != self.assignments.version(node);
        }
        let changed = |vip: &IpAddr| {
            let epoch = |it: &Assignments| it.get(*vip).map(|it| it.epoch);
            epoch(&assignments) != epoch(&self.assignments)
        };
        self.proposed.retain(|vip, _| !changed(vip));
        self.moves.retain(|vip, _| !changed(vip));
        self.assignments = assignments;
        self.targets_for = None;
        self.decide(now)
    }

    /// A proposal was refused, and will never take effect. Of others the outcome is unknown until it is applied.
    pub fn refused(&mut self, now: Moment, assigns: &[Assign]) -> Vec<LeaderAction> {
        self.proposed.retain(|_, it| !assigns.contains(it));
        self.decide(now)
    }

    /// Where VIPs should be has changed.
    pub fn place(&mut self, now: Moment, rules: Arc<PlacementRules>) -> Vec<LeaderAction> {
        self.rules = rules;
        self.targets_for = None;
        self.decide(now)
    }

    /// The controllers are others. What was told before may have been told by others.
    pub fn reconfigured(&mut self, now: Moment, controllers: BTreeSet<u64>) {
        self.controllers = controllers;
        self.settled_at = self.settled_at.max(now + self.timers.fence());
        self.round = None;
    }

    /// Grants first, so that a node whose request waited for a round does not count as lost.
    fn decide(&mut self, now: Moment) -> Vec<LeaderAction> {
        self.find_targets(now);
        self.start_moves(now);
        let mut actions = self.grants(now);
        let assigns = self.proposals(now);
        if !assigns.is_empty() {
            for assign in &assigns {
                self.proposed.insert(assign.vip, assign.clone());
                self.moves.remove(&assign.vip);
            }
            actions.push(LeaderAction::Propose(assigns));
        }
        actions
    }

    /// Until when a node may hold what it was granted, by whomever.
    fn due(&self, node: &Name) -> Moment {
        let lease = self.nodes.get(node).and_then(|it| it.counted_from);
        lease.map_or(self.settled_at, |from| {
            self.settled_at.max(from + self.timers.fence())
        })
    }

    /// Whether a node holds nothing any more: its lease has run out, and since then a majority has said that it has not told it to go on.
    fn is_lost(&self, now: Moment, node: &Name) -> bool {
        let due = self.due(node);
        let Some(round) = &self.round else {
            return false;
        };
        let told = round.told.get(node).copied().unwrap_or_default();
        let told = told.max(round.told_others);
        now >= due && round.started >= due && round.started >= told + self.timers.fence()
    }

    fn find_targets(&mut self, now: Moment) {
        let lease = self.timers.lease();
        let live = self.nodes.iter();
        let live = live.filter(|(_, it)| now.since(it.received) < lease);
        let steady_after = self.timers.steady_after();
        let steady = live
            .clone()
            .filter(|(_, it)| now.since(it.since) >= steady_after);
        let mut candidates = Candidates {
            steady: steady.map(|(name, _)| name.clone()).collect(),
            live: live.clone().map(|(name, _)| name.clone()).collect(),
            ..Candidates::default()
        };
        for (name, node) in live {
            let unfit = node.request.unfit.keys();
            candidates
                .unfit
                .extend(unfit.map(|vip| (*vip, name.clone())));
            let lately = node.unfit_at.iter();
            let lately = lately.filter(|(_, at)| now.since(**at) < steady_after);
            let lately = lately.map(|(vip, _)| (*vip, name.clone()));
            candidates.lately_unfit.extend(lately);
        }
        if self.targets_for.as_ref() == Some(&candidates) {
            return;
        }
        let current = self.assignments.iter();
        let current = current.map(|(vip, it)| (vip, it.owner.clone())).collect();
        self.targets = place(&self.rules, &current, &candidates);
        self.targets_for = Some(candidates);
    }
}

// === impl NodeLease ===

impl NodeLease {
    fn says_other_than(&self, before: &Self) -> bool {
        let (now, before) = (&self.request, &before.request);
        now.released != before.released || now.ready != before.ready || now.unfit != before.unfit
    }
}

#[cfg(test)]
mod tests;
