//! Assignments as they are written to the log and to snapshots.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lbfabric_proto::internal::v1 as internal;

use super::{Assign, Assignment, Assignments, Epoch};
use crate::{
    Name, Violation,
    vip::{address_from_bytes, address_to_bytes},
};

impl TryFrom<internal::VipAssign> for Assign {
    type Error = Violation;

    fn try_from(proto: internal::VipAssign) -> Result<Self, Violation> {
        let to = (!proto.to.is_empty()).then(|| Name::parse(&proto.to, "assigns.to"));
        Ok(Self {
            vip: address(&proto.vip, "assigns.vip")?,
            to: to.transpose()?,
            peers: names(&proto.peers, "assigns.peers")?,
            replaces: (proto.replaces != 0).then_some(Epoch(proto.replaces)),
            released: proto.released,
        })
    }
}

impl From<&Assign> for internal::VipAssign {
    fn from(assign: &Assign) -> Self {
        let Assign {
            vip,
            to,
            peers,
            replaces,
            released,
        } = assign;
        Self {
            vip: address_to_bytes(*vip),
            to: to.as_ref().map(Name::to_string).unwrap_or_default(),
            peers: peers.iter().map(Name::to_string).collect(),
            replaces: replaces.map_or(0, |it| it.0),
            released: *released,
        }
    }
}

// === impl Assignments ===

impl Assignments {
    pub(crate) fn to_stored(
        &self,
        since: &BTreeMap<IpAddr, u64>,
    ) -> Vec<internal::StoredAssignment> {
        let stored = self.iter().map(|(vip, it)| internal::StoredAssignment {
            vip: address_to_bytes(vip),
            owner: it.owner.to_string(),
            epoch: it.epoch.0,
            peers: it.peers.iter().map(Name::to_string).collect(),
            since_unix_ms: since.get(&vip).copied().unwrap_or_default(),
        });
        stored.collect()
    }

    pub(crate) fn versions_to_stored(&self) -> Vec<internal::StoredNodeVersion> {
        let versions = self.versions();
        let stored = versions.map(|(node, version)| internal::StoredNodeVersion {
            node: node.to_string(),
            version: version.0,
        });
        stored.collect()
    }

    pub(crate) fn from_stored(
        assignments: Vec<internal::StoredAssignment>,
        versions: Vec<internal::StoredNodeVersion>,
    ) -> Result<Self, Violation> {
        let mut restored = Vec::new();
        for stored in assignments {
            let vip = address(&stored.vip, "leases.assignments.vip")?;
            let assignment = Assignment {
                owner: Name::parse(&stored.owner, "leases.assignments.owner")?,
                epoch: Epoch(stored.epoch),
                peers: names(&stored.peers, "leases.assignments.peers")?,
            };
            restored.push((vip, assignment));
        }
        let versions = versions.into_iter().map(|stored| {
            let node = Name::parse(&stored.node, "leases.versions.node")?;
            Ok((node, Epoch(stored.version)))
        });
        let versions: Vec<_> = versions.collect::<Result<_, Violation>>()?;
        Ok(Self::restore(restored, versions))
    }
}

pub(crate) fn address(bytes: &[u8], path: &str) -> Result<IpAddr, Violation> {
    let address = address_from_bytes(bytes);
    address.ok_or_else(|| Violation::new(path, "4 or 16 bytes are right"))
}

pub(crate) fn names(texts: &[String], path: &str) -> Result<BTreeSet<Name>, Violation> {
    texts.iter().map(|text| Name::parse(text, path)).collect()
}
