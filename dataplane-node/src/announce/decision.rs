use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lbfabric_bgp::{Attributes, Prefix};

use super::{
    drain::Drain,
    truth::{NodeTruth, ServiceTruth},
};

/// Which VIPs a node announces with what, and why it does not announce the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Every VIP of a service that is to be announced.
    pub(crate) vips: BTreeMap<Prefix, Verdict>,
    /// Neighbors are asked to prefer other ways.
    pub(crate) is_draining: bool,
}

/// The last decision, and what it follows from: while that is the same, nothing is done for each VIP.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    grounds: Grounds,
    decision: Decision,
    /// VIPs that are announced.
    announced: usize,
}

/// All that a decision follows from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Grounds {
    /// What keeps the node from announcing anything.
    of_node: Option<Arc<[Reason]>>,
    is_draining: bool,
    services: Vec<Claim>,
}

/// What a service makes of its VIPs.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    vips: Arc<[Prefix]>,
    attributes: Arc<Attributes>,
    /// What keeps them from being announced.
    reason: Option<Reason>,
}

/// What becomes of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is announced with these.
    Announced(Arc<Attributes>),
    /// It is not, for these reasons: at least one.
    Withheld(Arc<[Reason]>),
}

/// Why a VIP is not announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The node has just started.
    NotApplied,
    /// The program does not run.
    Program(Arc<str>),
    /// None of these interfaces is up.
    LinksDown(Arc<str>),
    /// The node is drained.
    Drained,
    /// A service wants a label that the node does not have.
    NoLabel {
        /// The service.
        service: Arc<str>,
        /// The label.
        label: Arc<str>,
    },
    /// The node has refused a service.
    Refused {
        /// The service.
        service: Arc<str>,
        /// Why.
        why: Arc<str>,
    },
    /// A service has fewer healthy servers than it wants.
    FewServers {
        /// The service.
        service: Arc<str>,
        /// What it has.
        healthy: u32,
        /// What it wants.
        needed: u32,
    },
}

// === impl Decision ===

impl Decision {
    /// A VIP is announced while the node can serve every service that has it: what is lacking of one of them would be lost
    /// here, and other nodes may have it.
    fn from(grounds: &Grounds) -> Self {
        let mut vips: BTreeMap<Prefix, Verdict> = BTreeMap::new();
        for claim in &grounds.services {
            for vip in claim.vips.iter() {
                let verdict = vips.entry(*vip).or_insert_with(|| match &grounds.of_node {
                    Some(reasons) => Verdict::Withheld(Arc::clone(reasons)),
                    None => Verdict::Announced(Arc::clone(&claim.attributes)),
                });
                if let Some(reason) = &claim.reason {
                    verdict.withhold(reason);
                }
            }
        }
        Self {
            vips,
            is_draining: grounds.is_draining,
        }
    }

    /// VIPs that are announced.
    pub(crate) fn announced(&self) -> impl Iterator<Item = (Prefix, &Arc<Attributes>)> {
        self.vips.iter().filter_map(|(vip, verdict)| match verdict {
            Verdict::Announced(attributes) => Some((*vip, attributes)),
            Verdict::Withheld(_) => None,
        })
    }
}

// === impl Decided ===

impl Decided {
    /// Decides about what is true now. What was decided before, if that was something else.
    pub(crate) fn follow(
        &mut self,
        node: &NodeTruth,
        services: impl IntoIterator<Item = ServiceTruth>,
    ) -> Option<Decision> {
        let grounds = Grounds::of(node, services);
        if grounds == self.grounds {
            return None;
        }
        let next = Decision::from(&grounds);
        self.grounds = grounds;
        if next == self.decision {
            return None;
        }
        self.announced = next.announced().count();
        Some(std::mem::replace(&mut self.decision, next))
    }

    pub(crate) fn decision(&self) -> &Decision {
        &self.decision
    }

    /// How many VIPs are announced, and how many are not.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.announced, self.decision.vips.len() - self.announced)
    }
}

// === impl Grounds ===

impl Grounds {
    fn of(node: &NodeTruth, services: impl IntoIterator<Item = ServiceTruth>) -> Self {
        let claim = |service: ServiceTruth| Claim {
            reason: service.reason(),
            vips: service.vips,
            attributes: service.attributes,
        };
        Self {
            of_node: node.reasons(),
            is_draining: matches!(node.drain, Drain::Asking { .. }),
            services: services.into_iter().map(claim).collect(),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    fn withhold(&mut self, reason: &Reason) {
        let more = std::slice::from_ref(reason);
        *self = Self::Withheld(match self {
            Self::Announced(_) => more.into(),
            Self::Withheld(reasons) => reasons.iter().chain(more).cloned().collect(),
        });
    }

    pub(crate) fn is_announced(&self) -> bool {
        match self {
            Self::Announced(_) => true,
            Self::Withheld(_) => false,
        }
    }
}

// === impl NodeTruth ===

impl NodeTruth {
    /// What keeps the node from announcing anything.
    fn reasons(&self) -> Option<Arc<[Reason]>> {
        let Self {
            has_applied,
            fault,
            links_down,
            drain,
        } = self;
        let drained = match drain {
            Drain::Over => Some(Reason::Drained),
            Drain::Not | Drain::Asking { .. } => None,
        };
        let reasons: Vec<_> = [
            (!has_applied).then_some(Reason::NotApplied),
            fault.clone().map(Reason::Program),
            links_down.clone().map(Reason::LinksDown),
            drained,
        ]
        .into_iter()
        .flatten()
        .collect();
        (!reasons.is_empty()).then(|| reasons.into())
    }
}

// === impl ServiceTruth ===

impl ServiceTruth {
    /// What keeps its VIPs from being announced; of several things the one that the others may follow from.
    fn reason(&self) -> Option<Reason> {
        let service = Arc::clone(&self.name);
        if let Some(label) = self.missing_label.clone() {
            return Some(Reason::NoLabel { service, label });
        }
        if let Some(why) = self.refusal.clone() {
            return Some(Reason::Refused { service, why });
        }
        let (healthy, needed) = (self.healthy_servers, self.min_healthy_servers);
        (healthy < needed).then_some(Reason::FewServers {
            service,
            healthy,
            needed,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApplied => f.write_str("the node has not applied what it holds yet"),
            Self::Program(fault) => write!(f, "the packet program does not run: {fault}"),
            Self::LinksDown(links) => write!(f, "no interface is up: {links}"),
            Self::Drained => f.write_str("the node is drained"),
            Self::NoLabel { service, label } => {
                write!(f, "service `{service}` wants nodes with the label {label}")
            }
            Self::Refused { service, why } => {
                write!(f, "the node has refused service `{service}`: {why}")
            }
            Self::FewServers {
                service,
                healthy,
                needed,
            } => write!(
                f,
                "service `{service}` has {healthy} healthy servers and needs {needed}"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
