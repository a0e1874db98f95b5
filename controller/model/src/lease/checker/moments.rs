//! Time passes by moving every moment back.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Controller, NOW, Node, World, number, units};
use crate::lease::{LeaseRequest, Moment, Ordinal, Release, owner::asking::Asking};

impl World {
    pub(super) fn pass_time(&mut self) {
        let rates: Vec<_> = self.nodes.iter().map(|it| it.rate).collect();
        for controller in &mut self.controllers {
            controller.pass(&rates);
        }
        for node in &mut self.nodes {
            node.pass();
        }
        self.forget();
    }

    /// What is so old that its age makes no difference any more gets one age.
    fn forget(&mut self) {
        for node in &mut self.nodes {
            let gone_after = node.owner.timers.gone_after();
            let owner = &mut node.owner;
            owner.heard = owner.heard.max(NOW - gone_after);
            owner.last_request = owner.last_request.max(Some(NOW - units(1)));
            owner.takes_from = owner.takes_from.max(NOW);
            node.map.until = node.map.until.max(NOW);
            if let Some(holding) = &mut owner.holding {
                holding.leased_until = holding.leased_until.max(NOW);
                holding.held_until = holding.held_until.max(NOW);
            }
        }
        for it in &mut self.controllers {
            let Some(leader) = &mut it.leader else {
                continue;
            };
            let lease = leader.timers.lease();
            let fence = leader.timers.fence();
            leader.settled_at = leader.settled_at.max(NOW - lease);
            for lease_of in leader.nodes.values_mut() {
                lease_of.since = NOW;
                let from = &mut lease_of.counted_from;
                *from = from.map(|it| it.max(NOW - fence - lease));
                lease_of.received = lease_of.received.max(NOW - lease);
                lease_of.request.sent = lease_of.request.sent.max(NOW - lease);
            }
            // Of nodes that hold nothing it only matters that the newest leader hears them.
            let is_newest = it.pending_term == self.term;
            let assignments = &leader.assignments;
            leader.nodes.retain(|name, lease_of| {
                let is_idle = assignments.of(name).next().is_none();
                if is_idle && self.others_are_heard {
                    lease_of.counted_from = None;
                    lease_of.owed = false;
                }
                !is_idle || is_newest
            });
            // One that was replaced has no round any more, and what it proposes is not committed.
            let round = leader.round.as_ref().map(|it| it.started);
            let is_spent = round.is_none_or(|it| NOW.since(it) >= lease);
            if it.pending_term < self.term && is_spent && !self.leaders_ask_nobody {
                it.leader = None;
            }
        }
    }

    /// Gives ordinals the lowest numbers that keep their order: that of grants to one node, and that of questions for releases.
    pub(super) fn normalize(&mut self) {
        let mut seen = BTreeSet::new();
        for node in &mut self.nodes {
            seen.insert(node.owner.taken);
            seen.extend(node.grants.iter().map(|it| it.ordinal));
            let ranks = ranks(&seen);
            seen.clear();
            node.owner.taken = ranks[&node.owner.taken];
            let grants = std::mem::take(&mut node.grants);
            for mut grant in grants {
                grant.ordinal = ranks[&grant.ordinal];
                node.grants.insert(grant);
            }
        }
        self.each_question(&mut |it| {
            seen.insert(*it);
        });
        let ranks = ranks(&seen);
        self.each_question(&mut |it| *it = ranks[it]);
        let leaders = self
            .controllers
            .iter_mut()
            .filter_map(|it| it.leader.as_mut());
        for leader in leaders {
            leader.count.number = LATER;
        }
    }

    fn each_question(&mut self, visit: &mut impl FnMut(&mut Ordinal)) {
        for leader in self
            .controllers
            .iter_mut()
            .filter_map(|it| it.leader.as_mut())
        {
            for lease in leader.nodes.values_mut() {
                each_release(&mut lease.request.released, visit);
            }
            for it in leader.moves.values_mut() {
                if let crate::lease::leader::Move::Releasing { release, .. } = it {
                    visit(&mut release.asked);
                }
            }
        }
        for node in &mut self.nodes {
            each_release(&mut node.owner.released, visit);
            if let Some(request) = &mut node.request {
                each_release(&mut request.released, visit);
            }
            let grants = std::mem::take(&mut node.grants);
            for mut grant in grants {
                each_release(&mut grant.release, visit);
                node.grants.insert(grant);
            }
        }
    }
}

/// Higher than any number that is in use after [`World::normalize`].
const LATER: u64 = 100;

/// In each term from 1 on; nobody's stays.
fn ranks(of: &BTreeSet<Ordinal>) -> BTreeMap<Ordinal, Ordinal> {
    let mut ranks = BTreeMap::new();
    let mut last = Ordinal::default();
    for it in of {
        let number = if it.term == last.term {
            last.number + 1
        } else {
            1
        };
        last = Ordinal {
            term: it.term,
            number,
        };
        if *it == Ordinal::default() {
            last = *it;
        }
        ranks.insert(*it, last);
    }
    ranks
}

fn each_release(
    releases: &mut BTreeMap<std::net::IpAddr, Release>,
    visit: &mut impl FnMut(&mut Ordinal),
) {
    for release in releases.values_mut() {
        visit(&mut release.asked);
    }
}

impl Controller {
    fn pass(&mut self, node_rates: &[u64]) {
        let by = units(self.rate);
        let back = |it: &mut Moment| *it = *it - by;
        back(&mut self.witness.started);
        self.witness.heard.iter_mut().for_each(back);
        self.witness.told.values_mut().for_each(back);
        let Some(leader) = &mut self.leader else {
            return;
        };
        back(&mut leader.settled_at);
        if let Some(round) = &mut leader.round {
            back(&mut round.started);
            back(&mut round.told_others);
            round.told.values_mut().for_each(back);
        }
        for (name, lease) in &mut leader.nodes {
            back(&mut lease.received);
            back(&mut lease.since);
            lease.counted_from.iter_mut().for_each(back);
            lease.unfit_at.values_mut().for_each(back);
            lease.request.pass(node_rates[number(name)]);
        }
    }
}

impl LeaseRequest {
    fn pass(&mut self, rate: u64) {
        self.sent = self.sent - units(rate);
    }
}

impl Node {
    fn pass(&mut self) {
        let lease = self.owner.timers.lease();
        let by = units(self.rate);
        let back = |it: &mut Moment| *it = *it - by;
        back(&mut self.map.until);
        let owner = &mut self.owner;
        if let Some(holding) = &mut owner.holding {
            back(&mut holding.leased_until);
            back(&mut holding.held_until);
        }
        owner.last_request.iter_mut().for_each(back);
        back(&mut owner.heard);
        back(&mut owner.takes_from);
        owner.asked_controllers.pass(self.rate);
        owner.asked_peers.pass(self.rate);
        if let Some(request) = &mut self.request {
            request.pass(self.rate);
        }
        // A message that is older than a lease changes nothing for its sender.
        for asked in [&mut self.asks_controllers, &mut self.asks_peers] {
            asked.iter_mut().for_each(back);
            asked.take_if(|it| NOW.since(*it) >= lease);
        }
        let grants = std::mem::take(&mut self.grants);
        for mut grant in grants {
            grant.sent = grant.sent - by;
            if NOW < grant.sent + grant.valid {
                self.grants.insert(grant);
            }
        }
    }
}

impl<T: Ord> Asking<T> {
    fn pass(&mut self, rate: u64) {
        let answers = std::mem::take(&mut self.answers);
        let answers = answers
            .into_iter()
            .map(|(asked, it)| (asked - units(rate), it));
        self.answers = answers.collect();
    }
}
