pub(in crate::lease) mod asking;
mod holding;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use self::{asking::Asking, holding::Holding};
use super::{Epoch, LeaseRequest, Moment, Ordinal, Release, Timers, Unfit};
use crate::Name;

/// A node's part in leases. What it answers for is in the XDP program's map, with one end of the lease for all of it: a node whose agent hangs falls
/// silent by itself.
///
/// ```text
///              grant, or a majority of controllers that nobody leads       every peer has lost the controllers too
///           ┌──────────────────────────────────┐                     ┌──────────────────────────────────────────┐
///           ▼                                  │                     ▼                                          │
///  none ─ grant ─► leased until `leased_until` ┴─ policy `hold` ─► held until `held_until` ─ grant ─► leased    │
///   ▲                  │ no time is left                             │  └─────────────────────────────────────┘
///   └──────────────────┴─────────────────────────────────────────────┘ no time is left
/// ```
///
/// From `held` only a grant leads back: a leader may have given the VIPs to a peer, which keeps quiet because it has promised to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub(super) timers: Timers,
    pub(super) node: Name,
    pub(super) policy: LossPolicy,
    pub(super) session: u64,
    pub(super) holding: Option<Holding>,
    /// Assignments that are given up for good.
    pub(super) released: BTreeMap<IpAddr, Release>,
    pub(super) warm: BTreeSet<IpAddr>,
    pub(super) ready: BTreeSet<IpAddr>,
    pub(super) unfit: Arc<BTreeMap<IpAddr, Unfit>>,
    /// Of the newest grant that was taken.
    pub(super) taken: Ordinal,
    pub(super) last_request: Option<Moment>,
    /// When a controller said something last.
    pub(super) heard: Moment,
    /// No VIP that is not answered for yet is before this, as a peer may count on it.
    pub(super) takes_from: Moment,
    pub(super) asked_controllers: Asking<u64>,
    pub(super) asked_peers: Asking<Name>,
}

/// What an owner does without controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossPolicy {
    /// It keeps its VIPs while every node that could have them has lost the controllers too.
    Hold,
    /// It releases its VIPs.
    Release,
}

/// What the owner wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerAction {
    /// Answer for a VIP and announce it.
    Answer(IpAddr, Epoch),
    /// Do not answer for a VIP any more.
    Stop(IpAddr),
    /// What is answered for is until then.
    Until(Moment),
    /// Get ready for a VIP, and say so to [`Owner::ready`].
    Warm(IpAddr),
    /// Ask the leader.
    Request(LeaseRequest),
    /// Ask all controllers whether nobody leads, and give the moment back to [`Owner::nobody_leads`].
    AskControllers(Moment),
    /// Ask these nodes whether they have lost the controllers, and give the moment back to [`Owner::peer_agrees`].
    AskPeers(Moment, BTreeSet<Name>),
}

/// What an agent finds in the map of the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// What is answered for.
    pub vips: BTreeMap<IpAddr, Epoch>,
    /// Until when.
    pub until: Moment,
}

// === impl Owner ===

impl Owner {
    /// An agent that has just started; `session` is another one each time. It goes on with what its predecessor answered for, to its end, and takes
    /// nothing new until nobody can count on what that one said.
    pub fn new(
        now: Moment,
        node: Name,
        session: u64,
        timers: Timers,
        policy: LossPolicy,
        adopted: Adopted,
    ) -> Self {
        let Adopted { vips, until } = adopted;
        // What ran out while nobody was there still stands in the map: it is stopped before anything is granted.
        let is_something = now < until || !vips.is_empty();
        Self {
            timers,
            node,
            policy,
            session,
            holding: is_something.then(|| Holding::adopted(vips, until)),
            released: BTreeMap::new(),
            warm: BTreeSet::new(),
            ready: BTreeSet::new(),
            unfit: Arc::default(),
            taken: Ordinal::default(),
            last_request: None,
            heard: now,
            takes_from: now + timers.fence(),
            asked_controllers: Asking::default(),
            asked_peers: Asking::default(),
        }
    }

    /// Time has passed. To be called every [`Timers::renew_every`], and at [`Self::end`].
    pub fn tick(&mut self, now: Moment) -> Vec<OwnerAction> {
        let mut actions = Vec::new();
        self.expire(now, &mut actions);
        self.hold_alone(now, &mut actions);
        self.answer(now, &mut actions);
        let every = self.timers.renew_every();
        if self.last_request.is_none_or(|it| now.since(it) >= every) {
            actions.push(self.request(now));
            self.ask_others(now, &mut actions);
        }
        actions
    }

    /// When it falls silent, if nothing happens.
    pub fn end(&self) -> Option<Moment> {
        self.holding.as_ref().map(Holding::end)
    }

    /// The node is ready for a VIP that it was asked to warm up.
    pub fn ready(&mut self, now: Moment, vip: IpAddr) -> Vec<OwnerAction> {
        if self.warm.contains(&vip) && self.ready.insert(vip) {
            vec![self.request(now)]
        } else {
            Vec::new()
        }
    }

    /// The node cannot serve these VIPs any more, or for now.
    pub fn unfit(&mut self, now: Moment, unfit: &Arc<BTreeMap<IpAddr, Unfit>>) -> Vec<OwnerAction> {
        if self.unfit == *unfit {
            return Vec::new();
        }
        self.unfit = unfit.clone();
        vec![self.request(now)]
    }

    /// A controller has said that nobody leads, when asked at `asked`.
    pub fn nobody_leads(
        &mut self,
        now: Moment,
        controller: u64,
        asked: Moment,
    ) -> Vec<OwnerAction> {
        let mut actions = Vec::new();
        self.heard = now;
        self.expire(now, &mut actions);
        let lease = self.timers.lease();
        self.asked_controllers.answer(asked, controller);
        let Some(holding) = &mut self.holding else {
            return actions;
        };
        // Once only peers hold it, a leader may have given it away.
        let is_leased = now < holding.leased_until;
        let agreed = self.asked_controllers.of(asked);
        let agreed = agreed.filter(|it| holding.controllers.contains(it)).count();
        if is_leased && agreed * 2 > holding.controllers.len() {
            holding.leased_until = holding.leased_until.max(asked + lease);
            actions.push(OwnerAction::Until(holding.end()));
        }
        actions
    }

    /// A controller has answered otherwise: somebody leads.
    pub fn somebody_leads(&mut self, now: Moment) {
        self.heard = now;
    }

    /// A peer asks whether this node has lost the controllers. If so it takes no VIP for as long as the peer may count on it.
    pub fn peer_asks(&mut self, now: Moment) -> bool {
        let has_lost = self.has_lost_controllers(now);
        if has_lost {
            self.takes_from = self.takes_from.max(now + self.timers.fence());
        }
        has_lost
    }

    /// A peer has lost the controllers too, and takes nothing for a while.
    pub fn peer_agrees(&mut self, now: Moment, peer: Name, asked: Moment) -> Vec<OwnerAction> {
        let mut actions = Vec::new();
        self.expire(now, &mut actions);
        self.asked_peers.answer(asked, peer);
        let Some(holding) = &mut self.holding else {
            return actions;
        };
        let agreed: BTreeSet<_> = self.asked_peers.of(asked).collect();
        // An answer to what was never asked is from nobody.
        let have_all = !agreed.is_empty() && holding.peers.iter().all(|it| agreed.contains(it));
        if self.policy == LossPolicy::Hold && have_all {
            holding.held_until = holding.held_until.max(asked + self.timers.lease());
            actions.push(OwnerAction::Until(holding.end()));
        }
        actions
    }

    fn has_lost_controllers(&self, now: Moment) -> bool {
        now.since(self.heard) >= self.timers.gone_after()
    }

    /// A node that nobody else could take VIPs from asks nobody.
    fn hold_alone(&mut self, now: Moment, actions: &mut Vec<OwnerAction>) {
        let has_lost = self.has_lost_controllers(now);
        let Some(holding) = &mut self.holding else {
            return;
        };
        if has_lost && self.policy == LossPolicy::Hold && holding.is_alone {
            holding.held_until = now + self.timers.lease();
            actions.push(OwnerAction::Until(holding.end()));
        }
    }

    fn request(&mut self, now: Moment) -> OwnerAction {
        self.last_request = Some(now);
        OwnerAction::Request(LeaseRequest {
            node: self.node.clone(),
            session: self.session,
            sent: now,
            holds: self.holding.as_ref().map_or(Epoch(0), |it| it.version),
            released: self.released.clone(),
            ready: self.ready.clone(),
            unfit: self.unfit.clone(),
        })
    }

    fn ask_others(&mut self, now: Moment, actions: &mut Vec<OwnerAction>) {
        let Some(holding) = &self.holding else {
            return;
        };
        let lease = self.timers.lease();
        let left = holding.leased_until.since(now);
        if !left.is_zero() && left <= self.timers.ask_below() && !holding.controllers.is_empty() {
            self.asked_controllers.ask(now, lease);
            actions.push(OwnerAction::AskControllers(now));
        }
        if self.policy == LossPolicy::Hold
            && !holding.peers.is_empty()
            && self.has_lost_controllers(now)
        {
            self.asked_peers.ask(now, lease);
            actions.push(OwnerAction::AskPeers(now, holding.peers.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
