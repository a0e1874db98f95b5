use lbfabric_abi::POOL_BACKENDS_MAX;
use lbfabric_proto::v1::{self, announcement_spec::By};

use crate::{
    Labels, Name, Violation, fields::Fields, labels::is_word, lease::Spread, name::shortened,
};

mod community;

pub use community::Community;

/// The most communities of one route.
const COMMUNITIES_MAX: usize = 64;
/// The most times that an AS number may be prepended.
const PREPEND_MAX: u32 = 32;

/// How clients' packets find the way to nodes that serve a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// How nodes draw them.
    pub by: AnnouncedBy,
    /// What a node has to have.
    pub nodes: Labels,
}

/// How nodes draw the packets to a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnouncedBy {
    /// One node at a time answers for it.
    Lease(LeaseRule),
    /// All nodes that can serve it announce this.
    Bgp(BgpRoute),
}

/// What decides which node answers for a VIP, beside the nodes' weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRule {
    /// Its VIPs may keep apart from others.
    pub spread: Option<Spread>,
    /// The healthy servers that a node should have.
    pub min_healthy_servers: u32,
}

/// What is announced with a VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BgpRoute {
    /// Its communities, of any kind, each once.
    pub communities: Vec<Community>,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// How often the AS number stands in the path beyond once.
    pub prepend: u8,
    /// `LOCAL_PREF`; 100 if nothing is said.
    pub local_preference: Option<u32>,
    /// The healthy servers that it takes.
    pub min_healthy_servers: u32,
}

// === impl Announcement ===

impl Announcement {
    pub(crate) fn parse(
        spec: &v1::AnnouncementSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let nodes = Labels::parse(&spec.nodes, &format!("{path}.nodes"), violations);
        let by = match &spec.by {
            None => {
                violations.push(Violation::new(
                    path,
                    "who announces the VIPs is missing: write `lease: {}` on a flat network, or `bgp: {}` on a routed one",
                ));
                None
            }
            Some(By::Lease(lease)) => {
                let rule = LeaseRule::parse(lease, &format!("{path}.lease"), violations);
                Some(AnnouncedBy::Lease(rule))
            }
            Some(By::Bgp(route)) => {
                let route = BgpRoute::parse(route, &format!("{path}.bgp"), violations);
                Some(AnnouncedBy::Bgp(route))
            }
        };
        (violations.len() == before).then_some(Self { by: by?, nodes })
    }

    /// The specification.
    pub fn to_spec(&self) -> v1::AnnouncementSpec {
        let by = match &self.by {
            AnnouncedBy::Lease(rule) => By::Lease(rule.to_spec()),
            AnnouncedBy::Bgp(route) => By::Bgp(route.to_spec()),
        };
        v1::AnnouncementSpec {
            by: Some(by),
            nodes: self.nodes.to_spec(),
        }
    }

    /// What services that share a VIP have to agree in.
    pub(crate) fn shared(&self) -> Self {
        let mut shared = self.clone();
        match &mut shared.by {
            AnnouncedBy::Lease(rule) => rule.min_healthy_servers = 0,
            AnnouncedBy::Bgp(route) => route.min_healthy_servers = 0,
        }
        shared
    }

    pub(crate) fn fields(&self, fields: &mut Fields) {
        // A message without fields would not be seen.
        let by = match &self.by {
            AnnouncedBy::Lease(_) => "lease",
            AnnouncedBy::Bgp(_) => "bgp",
        };
        fields.put("announce", by);
        fields.put_message("announce", "AnnouncementSpec", &self.to_spec());
    }
}

// === impl LeaseRule ===

impl LeaseRule {
    fn parse(spec: &v1::LeaseSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let spread = spec.spread.as_ref();
        check_servers(spec.min_healthy_servers, path, violations);
        Self {
            spread: spread.and_then(|it| parse_spread(it, &format!("{path}.spread"), violations)),
            min_healthy_servers: spec.min_healthy_servers,
        }
    }

    fn to_spec(&self) -> v1::LeaseSpec {
        v1::LeaseSpec {
            spread: self.spread.as_ref().map(|it| v1::SpreadSpec {
                group: it.group.clone(),
                over: it.over.clone(),
            }),
            min_healthy_servers: self.min_healthy_servers,
        }
    }
}

fn check_servers(min: u32, path: &str, violations: &mut Vec<Violation>) {
    if min > POOL_BACKENDS_MAX {
        violations.push(Violation::new(
            format!("{path}.min_healthy_servers"),
            format!("{min}: give 0 to {POOL_BACKENDS_MAX}"),
        ));
    }
}

fn parse_spread(
    spec: &v1::SpreadSpec,
    path: &str,
    violations: &mut Vec<Violation>,
) -> Option<Spread> {
    let group = Name::parse(&spec.group, &format!("{path}.group"));
    let group = group.map_err(|it| violations.push(it)).ok();
    if !spec.over.is_empty() && !is_word(&spec.over) {
        violations.push(Violation::new(
            format!("{path}.over"),
            format!(
                "`{}` is not a label's name: write one as `rack`, or leave it out to spread over nodes",
                shortened(&spec.over)
            ),
        ));
        return None;
    }
    Some(Spread {
        group: group?.to_string(),
        over: spec.over.clone(),
    })
}

// === impl BgpRoute ===

impl BgpRoute {
    fn parse(spec: &v1::BgpRouteSpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let mut communities = Vec::new();
        for (i, text) in spec.communities.iter().enumerate() {
            let path = format!("{path}.communities[{i}]");
            match text.parse() {
                Ok(community) if communities.contains(&community) => violations.push(
                    Violation::new(path, format!("{community} stands here twice: name it once")),
                ),
                Ok(community) => communities.push(community),
                Err(reason) => violations.push(Violation::new(
                    path,
                    format!("`{}` {reason}", shortened(text)),
                )),
            }
        }
        if spec.prepend > PREPEND_MAX {
            violations.push(Violation::new(
                format!("{path}.prepend"),
                format!("{}: give 0 to {PREPEND_MAX}", spec.prepend),
            ));
        }
        check_servers(spec.min_healthy_servers, path, violations);
        if communities.len() > COMMUNITIES_MAX {
            violations.push(Violation::new(
                format!("{path}.communities"),
                format!(
                    "{} communities: give at most {COMMUNITIES_MAX}",
                    communities.len()
                ),
            ));
        }
        Self {
            communities,
            med: spec.med,
            prepend: u8::try_from(spec.prepend).unwrap_or(u8::MAX),
            local_preference: spec.local_preference,
            min_healthy_servers: spec.min_healthy_servers,
        }
    }

    fn to_spec(&self) -> v1::BgpRouteSpec {
        v1::BgpRouteSpec {
            communities: self.communities.iter().map(Community::to_string).collect(),
            med: self.med,
            prepend: self.prepend.into(),
            local_preference: self.local_preference,
            min_healthy_servers: self.min_healthy_servers,
        }
    }
}

#[cfg(test)]
mod tests;
