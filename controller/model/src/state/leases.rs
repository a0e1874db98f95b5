//! Who answers for VIPs: the replicated part of it. Nodes follow none of this by generations.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lbfabric_abi::NODES_MAX;
use lbfabric_proto::internal::v1::{self as internal, lease_command};

use super::FabricState;
use crate::{
    AnnouncedBy, Generation, Labels, Name, Refusal, RefusalKind, Violation,
    lease::{Assign, Assignments, Epoch, NodePlace, PlacementRules, Spread, VipPlace, address},
    vip::address_to_bytes,
};

/// The owners of VIPs, and what operators want of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    assignments: Arc<Assignments>,
    nodes: BTreeSet<Name>,
    wishes: BTreeMap<IpAddr, VipWish>,
}

/// What an operator wants of a VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipWish {
    /// The node that is to own it, as long as that lives and is not drained.
    pub node: Option<Name>,
    /// Whether that is over once the VIP has left the node again.
    pub once: bool,
    /// Whether nobody is to own it.
    pub drained: bool,
}

/// Changes [`Leases`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseCommand {
    /// Give VIPs away, all or none.
    Assign(Vec<Assign>),
    /// A node may be given VIPs.
    Admit(Name),
    /// What is wanted of a VIP from now on.
    Wish(IpAddr, VipWish),
}

// === impl FabricState ===

impl FabricState {
    /// What decides which node each VIP with a lease is given to.
    pub fn placement_rules(&self) -> PlacementRules {
        let nodes = self.leases.nodes.iter();
        let nodes = nodes.map(|name| (name.clone(), self.node_place(name)));
        let services = self.services.values().map(|stored| &stored.service);
        let vips = services.flat_map(|service| {
            let leased = service.announcement.iter().filter_map(|it| match &it.by {
                AnnouncedBy::Lease(spread) => Some((&it.nodes, spread)),
                AnnouncedBy::Bgp(_) => None,
            });
            leased.flat_map(|(only, spread)| {
                let vips = service.vips.iter().map(|vip| vip.address());
                vips.map(|vip| (vip, self.vip_place(vip, only, spread.clone())))
            })
        });
        PlacementRules {
            nodes: nodes.collect(),
            vips: vips.collect(),
        }
    }

    fn node_place(&self, name: &Name) -> NodePlace {
        let node = self.nodes.get(name).map(|stored| &stored.value);
        NodePlace {
            weight: node.map_or(1, |it| it.weight.get()),
            labels: node
                .map(|it| it.labels.as_map().clone())
                .unwrap_or_default(),
            drained: node.is_some_and(|it| it.is_drained),
        }
    }

    fn vip_place(&self, vip: IpAddr, only: &Labels, spread: Option<Spread>) -> VipPlace {
        let wish = self.leases.wish(vip);
        VipPlace {
            only: only.as_map().clone(),
            pin: wish.and_then(|it| it.node.clone()),
            spread,
            drained: wish.is_some_and(|it| it.drained),
        }
    }
}

// === impl Leases ===

impl Leases {
    /// The owners.
    pub fn assignments(&self) -> &Arc<Assignments> {
        &self.assignments
    }

    /// The nodes that have asked for leases, and may be given VIPs.
    pub fn nodes(&self) -> &BTreeSet<Name> {
        &self.nodes
    }

    /// What is wanted of a VIP.
    pub fn wish(&self, vip: IpAddr) -> Option<&VipWish> {
        self.wishes.get(&vip)
    }

    pub(super) fn execute(
        &mut self,
        index: Generation,
        command: &LeaseCommand,
    ) -> Result<(), Refusal> {
        match command {
            LeaseCommand::Assign(assigns) => return self.assign(Epoch(index.0), assigns),
            LeaseCommand::Admit(node) => {
                if self.nodes.len() >= NODES_MAX as usize {
                    let reason = format!("there are {NODES_MAX} nodes already: delete some");
                    return Err(Refusal::new(RefusalKind::Invalid, "admit.node", reason));
                }
                self.nodes.insert(node.clone());
            }
            LeaseCommand::Wish(vip, wish) if *wish == VipWish::default() => {
                self.wishes.remove(vip);
            }
            LeaseCommand::Wish(vip, wish) => {
                self.wishes.insert(*vip, wish.clone());
            }
        }
        Ok(())
    }

    /// A node that is deleted is given nothing any more.
    pub(super) fn forget(&mut self, node: &Name) {
        self.nodes.remove(node);
    }

    fn assign(&mut self, epoch: Epoch, assigns: &[Assign]) -> Result<(), Refusal> {
        let mut next = Assignments::clone(&self.assignments);
        for (i, assign) in assigns.iter().enumerate() {
            if !next.apply(epoch, assign) {
                let path = format!("assigns[{i}]");
                let reason = format!("{} has another owner by now", assign.vip);
                return Err(Refusal::new(RefusalKind::Stale, path, reason));
            }
        }
        for assign in assigns {
            self.end_move(assign);
        }
        self.assignments = Arc::new(next);
        Ok(())
    }

    fn end_move(&mut self, assign: &Assign) {
        let before = self.assignments.get(assign.vip).map(|it| &it.owner);
        let leaves = |wish: &VipWish| {
            let node = wish.node.as_ref();
            wish.once && node.is_some() && before == node && assign.to.as_ref() != node
        };
        if self.wishes.get(&assign.vip).is_some_and(leaves) {
            self.wishes.remove(&assign.vip);
        }
    }

    pub(super) fn to_stored(&self) -> internal::StoredLeases {
        let Self {
            assignments,
            nodes,
            wishes,
        } = self;
        let wishes = wishes.iter().map(|(vip, wish)| internal::StoredWish {
            vip: address_to_bytes(*vip),
            wish: Some(wish.into()),
        });
        internal::StoredLeases {
            assignments: assignments.to_stored(),
            versions: assignments.versions_to_stored(),
            nodes: nodes.iter().map(Name::to_string).collect(),
            wishes: wishes.collect(),
        }
    }

    pub(super) fn from_stored(stored: internal::StoredLeases) -> Result<Self, Violation> {
        let assignments = Assignments::from_stored(stored.assignments, stored.versions)?;
        let nodes = stored.nodes.iter();
        let nodes = nodes.map(|node| Name::parse(node, "leases.nodes"));
        let wishes = stored.wishes.into_iter().map(|it| {
            let vip = address(&it.vip, "leases.wishes.vip")?;
            Ok((vip, it.wish.unwrap_or_default().try_into()?))
        });
        Ok(Self {
            assignments: Arc::new(assignments),
            nodes: nodes.collect::<Result<_, _>>()?,
            wishes: wishes.collect::<Result<_, Violation>>()?,
        })
    }
}

// === impl VipWish ===

impl TryFrom<internal::VipWish> for VipWish {
    type Error = Violation;

    fn try_from(proto: internal::VipWish) -> Result<Self, Violation> {
        let node = (!proto.node.is_empty()).then(|| Name::parse(&proto.node, "wish.node"));
        Ok(Self {
            node: node.transpose()?,
            once: proto.once,
            drained: proto.drained,
        })
    }
}

impl From<&VipWish> for internal::VipWish {
    fn from(
        VipWish {
            node,
            once,
            drained,
        }: &VipWish,
    ) -> Self {
        Self {
            node: node.as_ref().map(Name::to_string).unwrap_or_default(),
            once: *once,
            drained: *drained,
        }
    }
}

// === impl LeaseCommand ===

impl TryFrom<internal::LeaseCommand> for LeaseCommand {
    type Error = Violation;

    fn try_from(proto: internal::LeaseCommand) -> Result<Self, Violation> {
        match proto.command {
            Some(lease_command::Command::Assign(assign)) => {
                let assigns = assign.assigns.into_iter().map(TryInto::try_into);
                Ok(Self::Assign(assigns.collect::<Result<_, _>>()?))
            }
            Some(lease_command::Command::Admit(admit)) => {
                Ok(Self::Admit(Name::parse(&admit.node, "admit.node")?))
            }
            Some(lease_command::Command::Wish(wish)) => {
                let vip = address(&wish.vip, "wish.vip")?;
                Ok(Self::Wish(vip, wish.wish.unwrap_or_default().try_into()?))
            }
            None => Err(Violation::new("lease", "it is of no known kind")),
        }
    }
}

impl From<&LeaseCommand> for internal::LeaseCommand {
    fn from(command: &LeaseCommand) -> Self {
        let command = match command {
            LeaseCommand::Assign(assigns) => {
                let assigns = assigns.iter().map(Into::into).collect();
                lease_command::Command::Assign(internal::AssignCommand { assigns })
            }
            LeaseCommand::Admit(node) => lease_command::Command::Admit(internal::AdmitCommand {
                node: node.to_string(),
            }),
            LeaseCommand::Wish(vip, wish) => lease_command::Command::Wish(internal::WishCommand {
                vip: address_to_bytes(*vip),
                wish: Some(wish.into()),
            }),
        };
        Self {
            command: Some(command),
        }
    }
}
