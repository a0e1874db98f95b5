use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Owner, OwnerAction};
use crate::{
    Name,
    lease::{Epoch, Grant, Granted, Moment, Release},
};

/// What a node owns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holding {
    pub(in crate::lease) version: Epoch,
    pub(in crate::lease) vips: BTreeMap<IpAddr, Held>,
    pub(in crate::lease) peers: BTreeSet<Name>,
    /// Whether it is known that there are no peers.
    pub(in crate::lease) is_alone: bool,
    pub(in crate::lease) controllers: BTreeSet<u64>,
    /// By controllers' leave.
    pub(in crate::lease) leased_until: Moment,
    /// By peers' leave.
    pub(in crate::lease) held_until: Moment,
}

/// A VIP of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(in crate::lease) epoch: Epoch,
    pub(in crate::lease) is_answered: bool,
}

// === impl Holding ===

impl Holding {
    /// Whose leave it was is not known.
    pub(super) fn adopted(vips: BTreeMap<IpAddr, Epoch>, until: Moment) -> Self {
        let vips = vips.into_iter().map(|(vip, epoch)| {
            let is_answered = true;
            (vip, Held { epoch, is_answered })
        });
        Self {
            version: Epoch(0),
            vips: vips.collect(),
            peers: BTreeSet::new(),
            is_alone: false,
            controllers: BTreeSet::new(),
            leased_until: Moment::default(),
            held_until: until,
        }
    }

    /// When it is over.
    pub(super) fn end(&self) -> Moment {
        self.leased_until.max(self.held_until)
    }
}

impl Owner {
    /// Takes a grant, unless it is for somebody else, late, or older than the last one.
    pub fn granted(&mut self, now: Moment, grant: Grant) -> Vec<OwnerAction> {
        let mut actions = Vec::new();
        self.expire(now, &mut actions);
        let Grant {
            ordinal,
            session,
            sent,
            valid,
            version,
            vips,
            controllers,
            release,
            warm,
        } = grant;
        let until = sent + valid;
        let is_ours = session == self.session && sent <= now && valid <= self.timers.lease();
        if !is_ours || ordinal <= self.taken {
            return actions;
        }
        self.taken = ordinal;
        self.heard = now;
        self.warm_up(warm, &mut actions);
        let is_known = self
            .holding
            .as_ref()
            .is_some_and(|it| it.version == version);
        if now >= until || (vips.is_none() && !is_known) {
            return actions;
        }
        if let Some(vips) = vips {
            self.hold(version, vips, &mut actions);
        }
        if let Some(holding) = &mut self.holding {
            holding.controllers = controllers;
            holding.leased_until = holding.leased_until.max(until);
            // From here on the peers' leave counts for nothing: the leader counts its own.
            holding.held_until = Moment::default();
            actions.push(OwnerAction::Until(holding.end()));
        }
        let has_given_up = self.give_up(release, &mut actions);
        self.answer(now, &mut actions);
        if has_given_up {
            actions.push(self.request(now));
        }
        actions
    }

    /// Stops when no time is left.
    pub(super) fn expire(&mut self, now: Moment, actions: &mut Vec<OwnerAction>) {
        let Some(holding) = self.holding.take_if(|it| now >= it.end()) else {
            return;
        };
        for (vip, held) in holding.vips {
            if held.is_answered {
                actions.push(OwnerAction::Stop(vip));
            }
        }
        self.asked_controllers.clear();
        self.asked_peers.clear();
    }

    /// Begins to answer for what it may.
    pub(super) fn answer(&mut self, now: Moment, actions: &mut Vec<OwnerAction>) {
        let Some(holding) = &mut self.holding else {
            return;
        };
        if now < self.takes_from || now >= holding.leased_until {
            return;
        }
        for (vip, held) in &mut holding.vips {
            if !held.is_answered {
                held.is_answered = true;
                actions.push(OwnerAction::Answer(*vip, held.epoch));
            }
        }
    }

    /// Holds these VIPs and no others. What goes is stopped before the lease of what stays is longer.
    fn hold(&mut self, version: Epoch, granted: Granted, actions: &mut Vec<OwnerAction>) {
        let Granted { vips, peers } = granted;
        // A mark is kept only while there is something that it keeps off.
        self.released
            .retain(|vip, it| vips.get(vip) == Some(&it.epoch));
        let holding = self
            .holding
            .get_or_insert_with(|| Holding::adopted(BTreeMap::new(), Moment::default()));
        holding.version = version;
        holding.is_alone = peers.is_empty();
        holding.peers = peers;
        let mut before = std::mem::take(&mut holding.vips);
        for (vip, epoch) in vips {
            let was_answered = before.remove(&vip).is_some_and(|it| it.is_answered);
            if self.released.contains_key(&vip) {
                continue;
            }
            let held = Held {
                epoch,
                is_answered: was_answered,
            };
            holding.vips.insert(vip, held);
        }
        for (vip, held) in before {
            if held.is_answered {
                actions.push(OwnerAction::Stop(vip));
            }
        }
    }

    /// Gives up what the leader asks for. True if there is something new to tell it.
    fn give_up(
        &mut self,
        release: BTreeMap<IpAddr, Release>,
        actions: &mut Vec<OwnerAction>,
    ) -> bool {
        let mut has_given_up = false;
        for (vip, release) in release {
            if self.released.get(&vip) == Some(&release) {
                continue;
            }
            let held = self.holding.as_mut().map(|it| &mut it.vips);
            if let Some(vips) = held
                && vips.get(&vip).is_some_and(|it| it.epoch == release.epoch)
                && vips.remove(&vip).is_some_and(|it| it.is_answered)
            {
                actions.push(OwnerAction::Stop(vip));
            }
            self.released.insert(vip, release);
            has_given_up = true;
        }
        has_given_up
    }

    fn warm_up(&mut self, warm: BTreeSet<IpAddr>, actions: &mut Vec<OwnerAction>) {
        for vip in warm.difference(&self.warm) {
            actions.push(OwnerAction::Warm(*vip));
        }
        self.ready.retain(|it| warm.contains(it));
        self.warm = warm;
    }
}
