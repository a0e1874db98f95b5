use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::Name;

/// Which assignment of a VIP: the index of the log entry that made it. None is used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Who owns which VIP: the replicated part of leases, changed by [`Assign`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Assignments {
    vips: BTreeMap<IpAddr, Assignment>,
    nodes: BTreeMap<Name, NodeVips>,
}

/// A VIP's owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The owner.
    pub owner: Name,
    /// Which assignment it is.
    pub epoch: Epoch,
    /// The nodes that the VIP may be given to although the owner did not release it. It holds the VIP without controllers only while all of
    /// them agree.
    pub peers: BTreeSet<Name>,
}

/// The VIPs of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct NodeVips {
    /// When they changed last.
    version: Epoch,
    vips: BTreeMap<IpAddr, Epoch>,
}

/// Gives a VIP to a node, or to none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assign {
    /// The VIP.
    pub vip: IpAddr,
    /// The new owner; none if nobody is to answer any more.
    pub to: Option<Name>,
    /// See [`Assignment::peers`].
    pub peers: BTreeSet<Name>,
    /// The assignment that this one replaces: if it is another by then, nothing happens.
    pub replaces: Option<Epoch>,
    /// Whether the owner has released it. If not, its lease has run out, and only its peers can have it.
    pub released: bool,
}

// === impl Assignments ===

impl Assignments {
    /// Executes one assignment of the log entry with this index. False if it does not fit, and nothing happened.
    pub fn apply(&mut self, index: Epoch, assign: &Assign) -> bool {
        let Assign {
            vip,
            to,
            peers,
            replaces,
            released,
        } = assign;
        let before = self.vips.get(vip);
        if before.map(|it| it.epoch) != *replaces {
            return false;
        }
        if let (Some(before), Some(to)) = (before, to)
            && !released
            && !before.peers.contains(to)
        {
            return false;
        }
        if let Some(before) = self.vips.remove(vip) {
            let node = self.nodes.entry(before.owner).or_default();
            node.vips.remove(vip);
            node.version = index;
        }
        if let Some(owner) = to {
            let node = self.nodes.entry(owner.clone()).or_default();
            node.vips.insert(*vip, index);
            node.version = index;
            let assignment = Assignment {
                owner: owner.clone(),
                epoch: index,
                peers: peers.clone(),
            };
            self.vips.insert(*vip, assignment);
        }
        true
    }

    /// The owner of a VIP.
    pub fn get(&self, vip: IpAddr) -> Option<&Assignment> {
        self.vips.get(&vip)
    }

    /// All of them, by VIP.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Assignment)> {
        self.vips.iter().map(|(vip, it)| (*vip, it))
    }

    /// When the VIPs of a node changed last; zero for one that never had any.
    pub fn version(&self, node: &Name) -> Epoch {
        self.nodes.get(node).map_or(Epoch(0), |it| it.version)
    }

    /// All nodes that have or had VIPs, with the version of what they have.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&Name, Epoch)> {
        self.nodes.iter().map(|(node, it)| (node, it.version))
    }

    /// What was there once, from its parts.
    pub(crate) fn restore(
        vips: impl IntoIterator<Item = (IpAddr, Assignment)>,
        versions: impl IntoIterator<Item = (Name, Epoch)>,
    ) -> Self {
        let mut restored = Self::default();
        for (node, version) in versions {
            restored.nodes.entry(node).or_default().version = version;
        }
        for (vip, assignment) in vips {
            let node = restored.nodes.entry(assignment.owner.clone()).or_default();
            node.vips.insert(vip, assignment.epoch);
            restored.vips.insert(vip, assignment);
        }
        restored
    }

    /// The VIPs of a node.
    pub fn of(&self, node: &Name) -> impl Iterator<Item = (IpAddr, Epoch)> {
        let vips = self.nodes.get(node).into_iter().flat_map(|it| &it.vips);
        vips.map(|(vip, epoch)| (*vip, *epoch))
    }
}
