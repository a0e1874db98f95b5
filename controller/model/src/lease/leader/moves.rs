use std::{collections::BTreeSet, net::IpAddr};

use super::{Leader, Move};
use crate::{
    Name,
    lease::{Assign, Assignment, Moment, Release},
};

impl Leader {
    /// Begins, goes on with and gives up moves from owners that live.
    pub(super) fn start_moves(&mut self, now: Moment) {
        let assigned = self.assignments.iter();
        let assigned = assigned.filter(|(vip, _)| !self.proposed.contains_key(vip));
        let assigned: Vec<_> = assigned
            .filter(|(vip, of)| self.is_to_move(*vip, of) || self.moves.contains_key(vip))
            .map(|(vip, of)| (vip, of.clone()))
            .collect();
        for (vip, of) in assigned {
            let next = self.next_of_move(now, vip, &of);
            if next.as_ref() == self.moves.get(&vip) {
                continue;
            }
            let concerned = match &next {
                Some(Move::Warming { to }) => Some(to),
                Some(Move::Releasing { .. }) => Some(&of.owner),
                None => None,
            };
            if let Some(node) = concerned.and_then(|name| self.nodes.get_mut(name)) {
                node.owed = true;
            }
            match next {
                Some(next) => self.moves.insert(vip, next),
                None => self.moves.remove(&vip),
            };
        }
    }

    /// Whether an owner that lives is to have it no more, or not in this epoch.
    fn is_to_move(&self, vip: IpAddr, of: &Assignment) -> bool {
        let stays = match self.targets.get(&vip) {
            Some(to) => *to == of.owner && of.peers == self.rules.peers(vip, to),
            // Its users are better off with an owner that should not have it than with none.
            None => self.rules.has(vip),
        };
        !stays || self.gave_up(vip, of)
    }

    /// Whether the owner has released it, at whomever's wish.
    fn gave_up(&self, vip: IpAddr, of: &Assignment) -> bool {
        let owner = self.nodes.get(&of.owner);
        let release = owner.and_then(|it| it.request.released.get(&vip));
        release.is_some_and(|it| it.epoch == of.epoch)
    }

    fn next_of_move(&mut self, now: Moment, vip: IpAddr, of: &Assignment) -> Option<Move> {
        let owner = self.nodes.get(&of.owner)?;
        if now.since(owner.received) >= self.timers.lease() {
            return None;
        }
        let session = owner.request.session;
        if let Some(it @ Move::Releasing { session: asked, .. }) = self.moves.get(&vip)
            && *asked == session
        {
            return Some(it.clone());
        }
        if !self.is_to_move(vip, of) {
            return None;
        }
        // Whoever released it at another leader's wish has to say it to this one.
        if !self.gave_up(vip, of)
            && let Some(to) = self.targets.get(&vip)
            && *to != of.owner
            && !self.is_ready(vip, to)
        {
            return Some(Move::Warming { to: to.clone() });
        }
        self.count.number += 1;
        let release = Release {
            epoch: of.epoch,
            asked: self.count,
        };
        Some(Move::Releasing { release, session })
    }

    fn is_ready(&self, vip: IpAddr, node: &Name) -> bool {
        let node = self.nodes.get(node);
        node.is_some_and(|it| it.request.ready.contains(&vip))
    }

    /// What can be given away now.
    pub(super) fn proposals(&self, now: Moment) -> Vec<Assign> {
        let assigned = self.assignments.iter().filter_map(|(vip, of)| {
            let to = self.targets.get(&vip);
            let released = self.is_released(vip, of);
            let is_free = released || self.is_lost(now, &of.owner);
            if !is_free || self.proposed.contains_key(&vip) {
                return None;
            }
            match to {
                Some(to) if !released && !of.peers.contains(to) => return None,
                // Its owner may come back.
                None if self.rules.has(vip) => return None,
                Some(_) | None => {}
            }
            Some(self.assign(vip, to, Some(of), released))
        });
        let new = self.targets.iter().filter_map(|(vip, to)| {
            let is_free = self.assignments.get(*vip).is_none() && now >= self.settled_at;
            let is_new = is_free && !self.proposed.contains_key(vip);
            is_new.then(|| self.assign(*vip, Some(to), None, true))
        });
        assigned.chain(new).collect()
    }

    fn is_released(&self, vip: IpAddr, of: &Assignment) -> bool {
        let Some(Move::Releasing { release, session }) = self.moves.get(&vip) else {
            return false;
        };
        let owner = self.nodes.get(&of.owner).map(|it| &it.request);
        owner.is_some_and(|it| it.session == *session && it.released.get(&vip) == Some(release))
    }

    fn assign(
        &self,
        vip: IpAddr,
        to: Option<&Name>,
        of: Option<&Assignment>,
        released: bool,
    ) -> Assign {
        Assign {
            vip,
            to: to.cloned(),
            peers: to.map_or_else(BTreeSet::new, |to| self.rules.peers(vip, to)),
            replaces: of.map(|it| it.epoch),
            released,
        }
    }
}
