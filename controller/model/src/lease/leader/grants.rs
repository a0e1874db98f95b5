use std::{net::IpAddr, time::Duration};

use super::{Leader, LeaderAction, Move};
use crate::{
    Name,
    lease::{Epoch, Grant, Granted, Moment},
};

impl Leader {
    /// A grant for every node that is owed one, as far as the last round allows.
    pub(super) fn grants(&mut self, now: Moment) -> Vec<LeaderAction> {
        let Some(started) = self.round.as_ref().map(|it| it.started) else {
            return Vec::new();
        };
        let lease = self.timers.lease();
        let mut owed = Vec::new();
        for (node, it) in &mut self.nodes {
            let spent = it.received.since(started);
            let is_of_use = spent < lease && now.since(it.received) < lease;
            if !it.owed || !is_of_use {
                continue;
            }
            it.owed = false;
            let counts_from = it.received.min(started);
            it.counted_from = it.counted_from.max(Some(counts_from));
            owed.push((node.clone(), lease.saturating_sub(spent)));
        }
        let mut actions = Vec::new();
        for (node, valid) in owed {
            if let Some(grant) = self.grant(&node, valid) {
                actions.push(LeaderAction::Grant(node, grant));
            }
        }
        actions
    }

    fn grant(&mut self, node: &Name, valid: Duration) -> Option<Grant> {
        let request = &self.nodes.get(node)?.request;
        self.count.number += 1;
        // What is being given to somebody else is not granted, and the version of what is left exists nowhere else.
        let is_whole = !self
            .assignments
            .of(node)
            .any(|(vip, _)| self.proposed.contains_key(&vip));
        let version = if is_whole {
            self.assignments.version(node)
        } else {
            Epoch(0)
        };
        let is_known = is_whole && request.holds == version;
        Some(Grant {
            ordinal: self.count,
            session: request.session,
            sent: request.sent,
            valid,
            version,
            vips: (!is_known).then(|| self.granted(node)),
            controllers: self.controllers.clone(),
            release: self.to_release(node).collect(),
            warm: self.to_warm(node).collect(),
        })
    }

    fn granted(&self, node: &Name) -> Granted {
        let of = self.assignments.of(node);
        let vips = of.filter(|(vip, _)| !self.proposed.contains_key(vip));
        let of = self.assignments.of(node);
        let assignments = of.filter_map(|(vip, _)| self.assignments.get(vip));
        Granted {
            vips: vips.collect(),
            peers: assignments
                .flat_map(|it| it.peers.iter().cloned())
                .collect(),
        }
    }

    fn to_release(&self, node: &Name) -> impl Iterator<Item = (IpAddr, crate::lease::Release)> {
        self.moves.iter().filter_map(move |(vip, it)| match it {
            Move::Releasing { release, .. } => {
                let owner = self.assignments.get(*vip).map(|it| &it.owner);
                (owner == Some(node)).then_some((*vip, *release))
            }
            Move::Warming { .. } => None,
        })
    }

    fn to_warm(&self, node: &Name) -> impl Iterator<Item = IpAddr> {
        self.moves.iter().filter_map(move |(vip, it)| match it {
            Move::Warming { to } => (to == node).then_some(*vip),
            Move::Releasing { .. } => None,
        })
    }
}
