use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::Leader;
use crate::{
    Name,
    lease::{Moment, Unfit},
};

/// How VIPs and nodes are, as the leader sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderView {
    /// VIPs that have an owner, or are to have one.
    pub vips: BTreeMap<IpAddr, VipView>,
    /// Nodes that have asked this leader for leases.
    pub nodes: BTreeMap<Name, NodeView>,
}

/// How a VIP is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipView {
    /// The node that is to own it, if there is one that can.
    pub wanted: Option<Name>,
    /// Whether its owner has a lease.
    pub is_answered: bool,
    /// Whether it is on its way to another owner.
    pub is_moving: bool,
    /// The nodes that ask for leases and cannot serve it.
    pub unfit: BTreeMap<Name, Unfit>,
}

/// How a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Whether it asks for leases.
    pub is_live: bool,
    /// Whether it has done so for long enough to be given VIPs that are served elsewhere.
    pub is_steady: bool,
}

impl Leader {
    /// How everything is now.
    pub fn view(&self, now: Moment) -> LeaderView {
        let known = self.assignments.iter().map(|(vip, _)| vip);
        let known: BTreeSet<_> = known.chain(self.targets.keys().copied()).collect();
        let vips = known.into_iter().map(|vip| (vip, self.view_of(now, vip)));
        let nodes = self.nodes.iter().map(|(name, node)| {
            let is_live = now.since(node.received) < self.timers.lease();
            let view = NodeView {
                is_live,
                is_steady: is_live && now.since(node.since) >= self.timers.steady_after(),
            };
            (name.clone(), view)
        });
        LeaderView {
            vips: vips.collect(),
            nodes: nodes.collect(),
        }
    }

    fn view_of(&self, now: Moment, vip: IpAddr) -> VipView {
        let owner = self.assignments.get(vip).map(|it| &it.owner);
        let lease = owner.and_then(|owner| self.nodes.get(owner)?.counted_from);
        let unfit = self.nodes.iter().filter_map(|(name, node)| {
            let reason = node.request.unfit.get(&vip)?;
            let is_live = now.since(node.received) < self.timers.lease();
            is_live.then(|| (name.clone(), *reason))
        });
        VipView {
            wanted: self.targets.get(&vip).cloned(),
            is_answered: lease.is_some_and(|from| now < from + self.timers.lease()),
            is_moving: self.moves.contains_key(&vip) || self.proposed.contains_key(&vip),
            unfit: unfit.collect(),
        }
    }
}
