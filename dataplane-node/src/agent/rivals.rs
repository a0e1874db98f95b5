//! Others who take themselves for the owner of a VIP of this node, as the agent tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lbfabric_model::ServiceId;
use lbfabric_proto::v1;
use tracing::{error, warn};

use super::role::RoleState;
use crate::{
    chain::Chain,
    neighbor::{LeasedVips, Mac, Rival},
    netlink::LinkView,
    plan::Desired,
    reconciler::Reconciler,
};

impl RoleState {
    /// Others who take themselves for the owner of a VIP of this node.
    pub(crate) fn rivals(&self) -> Vec<Rival> {
        let vips = self.leased_vips();
        vips.map_or_else(Vec::new, |vips| vips.rivals())
    }

    /// Tells the programs the interfaces' own addresses, and looks for rivals. True if there are new ones.
    pub(crate) fn look_for_rivals(
        &self,
        interfaces: &[String],
        links: &BTreeMap<String, LinkView>,
    ) -> bool {
        let vips = self.leased_vips();
        vips.is_some_and(|vips| look(vips, interfaces, links))
    }

    /// What the programs answer ARP and neighbor discovery for; none while there are no maps.
    pub(crate) fn leased_vips(&self) -> Option<&Arc<LeasedVips>> {
        match self {
            Self::LoadBalancer(lb) => {
                let maps = lb.program.maps().map(Reconciler::maps)?;
                Some(maps.leased_vips())
            }
            Self::Server(_) => None,
        }
    }
}

fn look(vips: &LeasedVips, interfaces: &[String], links: &BTreeMap<String, LinkView>) -> bool {
    let carries = |name: &String| {
        let link = links.get(name)?;
        Some((link.index, link.mac?))
    };
    let own: BTreeMap<u32, Mac> = interfaces.iter().filter_map(carries).collect();
    let all: BTreeSet<Mac> = links.values().filter_map(|link| link.mac).collect();
    let looked = vips.links(&own).and_then(|()| vips.look_for_rivals(&all));
    match looked {
        Ok(new) => {
            for rival in &new {
                error!(vip = %rival.vip, mac = %text_of(rival.mac), interface = interface(rival, links),
                    "another host answers for a VIP of this node");
            }
            !new.is_empty()
        }
        Err(error) => {
            warn!(error = %Chain(&error), "others' claims to VIPs cannot be read");
            false
        }
    }
}

/// Adds what the users of services should know of rivals.
pub(super) fn warn_services(
    reports: &mut [v1::NodeServiceReport],
    rivals: &[Rival],
    links: &BTreeMap<String, LinkView>,
    desired: &Desired,
) {
    for rival in rivals {
        for report in &mut *reports {
            if has_vip(desired, ServiceId(report.id), rival.vip) {
                report.warnings.push(warning(rival, links));
            }
        }
    }
}

fn has_vip(desired: &Desired, service: ServiceId, vip: IpAddr) -> bool {
    let of_l4 = desired.services.get(&service);
    let of_l7 = desired.proxies.get(&service);
    of_l4.is_some_and(|it| it.vips.contains(&vip.into()))
        || of_l7.is_some_and(|it| it.vips.contains(&vip.into()))
}

fn warning(rival: &Rival, links: &BTreeMap<String, LinkView>) -> String {
    format!(
        "another host, {} on {}, answers for VIP {} as well",
        text_of(rival.mac),
        interface(rival, links),
        rival.vip
    )
}

fn interface<'a>(rival: &Rival, links: &'a BTreeMap<String, LinkView>) -> &'a str {
    let found = links.iter().find(|(_, link)| link.index == rival.ifindex);
    found.map_or("an interface that has gone", |(name, _)| name.as_str())
}

fn text_of(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
