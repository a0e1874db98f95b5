//! Who answers for VIPs: the replicated part of it. Nodes follow none of this by generations.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lbfabric_abi::NODES_MAX;
use lbfabric_proto::internal::v1::{self as internal, lease_command, wish_command::Change};

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
    /// When each VIP was given to its owner, in milliseconds since 1970.
    since: BTreeMap<IpAddr, u64>,
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
    /// Give VIPs away, all or none, at this time in milliseconds since 1970.
    Assign(Vec<Assign>, u64),
    /// A node may be given VIPs.
    Admit(Name),
    /// Something else is wanted of a VIP from now on.
    Wish(IpAddr, WishChange),
}

/// Changes a [`VipWish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WishChange {
    /// A node is to own it, until it has left that again.
    Move(Name),
    /// A node is to own it.
    Pin(Name),
    /// No node in particular is to own it.
    Unpin,
    /// Whether nobody is to own it.
    Drain(bool),
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
                AnnouncedBy::Lease(rule) => Some((&it.nodes, &rule.spread)),
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

    /// Since when a VIP has had its owner, in milliseconds since 1970.
    pub fn since(&self, vip: IpAddr) -> Option<u64> {
        self.since.get(&vip).copied()
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
            LeaseCommand::Assign(assigns, at) => return self.assign(Epoch(index.0), assigns, *at),
            LeaseCommand::Admit(node) => {
                if self.nodes.len() >= NODES_MAX as usize {
                    let reason = format!("there are {NODES_MAX} nodes already: delete some");
                    return Err(Refusal::new(RefusalKind::Invalid, "admit.node", reason));
                }
                self.nodes.insert(node.clone());
            }
            LeaseCommand::Wish(vip, change) => self.change_wish(*vip, change),
        }
        Ok(())
    }

    /// A node that is deleted is given nothing any more.
    pub(super) fn forget(&mut self, node: &Name) {
        self.nodes.remove(node);
    }

    fn change_wish(&mut self, vip: IpAddr, change: &WishChange) {
        let owner = self.assignments.get(vip).map(|it| &it.owner);
        let wish = self.wishes.entry(vip).or_default();
        match change {
            // It is there.
            WishChange::Move(node) if owner == Some(node) => wish.node = None,
            WishChange::Move(node) | WishChange::Pin(node) => wish.node = Some(node.clone()),
            WishChange::Unpin => wish.node = None,
            WishChange::Drain(drained) => wish.drained = *drained,
        }
        if let WishChange::Move(_) | WishChange::Pin(_) | WishChange::Unpin = change {
            let is_move = matches!(change, WishChange::Move(_));
            wish.once = is_move && wish.node.is_some();
        }
        self.wishes.retain(|_, wish| *wish != VipWish::default());
    }

    fn assign(&mut self, epoch: Epoch, assigns: &[Assign], at: u64) -> Result<(), Refusal> {
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
            match assign.to {
                Some(_) => self.since.insert(assign.vip, at),
                None => self.since.remove(&assign.vip),
            };
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
            self.change_wish(assign.vip, &WishChange::Unpin);
        }
    }

    pub(super) fn to_stored(&self) -> internal::StoredLeases {
        let Self {
            assignments,
            nodes,
            wishes,
            since,
        } = self;
        let wishes = wishes.iter().map(|(vip, wish)| internal::StoredWish {
            vip: address_to_bytes(*vip),
            wish: Some(wish.into()),
        });
        internal::StoredLeases {
            assignments: assignments.to_stored(since),
            versions: assignments.versions_to_stored(),
            nodes: nodes.iter().map(Name::to_string).collect(),
            wishes: wishes.collect(),
        }
    }

    pub(super) fn from_stored(stored: internal::StoredLeases) -> Result<Self, Violation> {
        let since = stored.assignments.iter().map(|it| {
            let vip = address(&it.vip, "leases.assignments.vip")?;
            Ok((vip, it.since_unix_ms))
        });
        let since = since.collect::<Result<_, Violation>>()?;
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
            since,
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
                let assigns = assigns.collect::<Result<_, _>>()?;
                Ok(Self::Assign(assigns, assign.at_unix_ms))
            }
            Some(lease_command::Command::Admit(admit)) => {
                Ok(Self::Admit(Name::parse(&admit.node, "admit.node")?))
            }
            Some(lease_command::Command::Wish(wish)) => {
                let vip = address(&wish.vip, "wish.vip")?;
                let change = match wish.change {
                    Some(Change::MoveTo(to)) => WishChange::Move(Name::parse(&to, "wish.move_to")?),
                    Some(Change::PinTo(to)) => WishChange::Pin(Name::parse(&to, "wish.pin_to")?),
                    Some(Change::Unpin(_)) => WishChange::Unpin,
                    Some(Change::Drain(drained)) => WishChange::Drain(drained),
                    None => return Err(Violation::new("wish", "it is of no known kind")),
                };
                Ok(Self::Wish(vip, change))
            }
            None => Err(Violation::new("lease", "it is of no known kind")),
        }
    }
}

impl From<&LeaseCommand> for internal::LeaseCommand {
    fn from(command: &LeaseCommand) -> Self {
        let command = match command {
            LeaseCommand::Assign(assigns, at) => {
                lease_command::Command::Assign(internal::AssignCommand {
                    assigns: assigns.iter().map(Into::into).collect(),
                    at_unix_ms: *at,
                })
            }
            LeaseCommand::Admit(node) => lease_command::Command::Admit(internal::AdmitCommand {
                node: node.to_string(),
            }),
            LeaseCommand::Wish(vip, change) => {
                let change = match change {
                    WishChange::Move(to) => Change::MoveTo(to.to_string()),
                    WishChange::Pin(to) => Change::PinTo(to.to_string()),
                    WishChange::Unpin => Change::Unpin(true),
                    WishChange::Drain(drained) => Change::Drain(*drained),
                };
                lease_command::Command::Wish(internal::WishCommand {
                    vip: address_to_bytes(*vip),
                    change: Some(change),
                })
            }
        };
        Self {
            command: Some(command),
        }
    }
}
