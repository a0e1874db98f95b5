use std::net::IpAddr;
use std::sync::Arc;

use crate::attributes::{Attributes, InvalidAttributes};
use crate::{AttributesSpec, Prefix};

/// What one neighbor is told otherwise than the others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRule {
    /// The routes that it is for: those within this prefix.
    pub within: Prefix,
    /// What becomes of them.
    pub action: ExportAction,
}

/// What becomes of a route before a neighbor is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportAction {
    /// The neighbor is not told of it.
    Withhold,
    /// It is told of it, with these changes.
    Announce(AttributesChange),
}

/// How the attributes of a route change for a neighbor. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributesChange {
    /// Where routes lead to instead.
    pub next_hop: Option<IpAddr>,
    /// `MULTI_EXIT_DISC` instead.
    pub med: Option<u32>,
    /// How often our AS stands in the path in addition.
    pub prepend: u8,
    /// `LOCAL_PREF` instead.
    pub local_preference: Option<u32>,
    /// Communities in addition.
    pub communities: Vec<u32>,
    /// Extended communities in addition.
    pub extended_communities: Vec<u64>,
    /// Large communities in addition.
    pub large_communities: Vec<(u32, u32, u32)>,
}

/// Rules of one neighbor that can be followed for every route. The first one that a route is within decides; without one it is
/// announced as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportRules(Vec<ExportRule>);

/// Why rules are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExport {
    /// Beside those of the route they would not fit into a message.
    #[error(
        "rule {index}: {count} communities of a kind in addition are more than {COMMUNITIES_MAX}"
    )]
    Communities {
        /// Whose, counted from 0.
        index: usize,
        /// How many.
        count: usize,
    },
    /// What it changes is refused of routes as well.
    #[error("rule {index}")]
    Attributes {
        /// Whose, counted from 0.
        index: usize,
        /// Why.
        source: InvalidAttributes,
    },
}

/// Communities of each kind that a rule may add: with 100 of the route itself a message still has room for prefixes.
const COMMUNITIES_MAX: usize = 20;

// === impl ExportRules ===

impl ExportRules {
    /// What the neighbor is told of a route; none if it is not told of it.
    pub fn apply(&self, prefix: Prefix, attributes: &Arc<Attributes>) -> Option<Arc<Attributes>> {
        let rule = self.0.iter().find(|rule| rule.within.covers(prefix));
        match rule.map(|rule| &rule.action) {
            None => Some(Arc::clone(attributes)),
            Some(ExportAction::Withhold) => None,
            Some(ExportAction::Announce(change)) if *change == AttributesChange::default() => {
                Some(Arc::clone(attributes))
            }
            Some(ExportAction::Announce(change)) => Some(Arc::new(attributes.changed_by(change))),
        }
    }

    /// Whether every route is announced as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<ExportRule>> for ExportRules {
    type Error = InvalidExport;

    fn try_from(rules: Vec<ExportRule>) -> Result<Self, InvalidExport> {
        for (index, rule) in rules.iter().enumerate() {
            if let ExportAction::Announce(change) = &rule.action {
                check(change).map_err(|refusal| refusal.at(index))?;
            }
        }
        Ok(Self(rules))
    }
}

// === impl InvalidExport ===

enum Refusal {
    Communities(usize),
    Attributes(InvalidAttributes),
}

impl Refusal {
    fn at(self, index: usize) -> InvalidExport {
        match self {
            Self::Communities(count) => InvalidExport::Communities { index, count },
            Self::Attributes(source) => InvalidExport::Attributes { index, source },
        }
    }
}

fn check(change: &AttributesChange) -> Result<(), Refusal> {
    let AttributesChange {
        next_hop,
        med,
        prepend,
        local_preference,
        communities,
        extended_communities,
        large_communities,
    } = change.clone();
    let counts = [
        communities.len(),
        extended_communities.len(),
        large_communities.len(),
    ];
    if let Some(count) = counts.into_iter().find(|count| *count > COMMUNITIES_MAX) {
        return Err(Refusal::Communities(count));
    }
    let spec = AttributesSpec {
        next_hop,
        med,
        prepend,
        local_preference,
        communities,
        extended_communities,
        large_communities,
        ..AttributesSpec::default()
    };
    Attributes::try_from(spec)
        .map(drop)
        .map_err(Refusal::Attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::adj_rib_out::Told;
    use crate::testing::{config, peer_open};

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn rule(within: &str, action: ExportAction) -> ExportRule {
        let within = prefix(within);
        ExportRule { within, action }
    }

    fn route() -> Arc<Attributes> {
        let spec = AttributesSpec {
            origin: Origin::Egp,
            med: Some(1),
            prepend: 1,
            communities: vec![1, 3],
            ..AttributesSpec::default()
        };
        Arc::new(spec.try_into().unwrap())
    }

    #[test]
    fn the_first_rule_that_covers_a_route_decides() {
        let rules = vec![
            rule(
                "192.0.2.0/25",
                ExportAction::Announce(AttributesChange::default()),
            ),
            rule("0.0.0.0/0", ExportAction::Withhold),
        ];
        let rules = ExportRules::try_from(rules).unwrap();
        let is_told = |text| rules.apply(prefix(text), &route()).is_some();
        assert!(is_told("192.0.2.1/32"));
        assert!(!is_told("192.0.2.129/32"));
        // It is for parts of the prefix, not for what the prefix is a part of.
        assert!(!is_told("192.0.2.0/24"));
        assert!(is_told("2001:db8::1/128"));
        assert_eq!(rules.apply(prefix("192.0.2.1/32"), &route()), Some(route()));
    }

    #[test]
    fn a_change_replaces_numbers_and_adds_the_rest() {
        let change = AttributesChange {
            next_hop: "192.0.2.9".parse().ok(),
            med: Some(5),
            prepend: 2,
            local_preference: Some(50),
            communities: vec![2, 3],
            extended_communities: vec![7],
            large_communities: vec![(1, 2, 3)],
        };
        let rules = vec![rule("0.0.0.0/0", ExportAction::Announce(change))];
        let rules = ExportRules::try_from(rules).unwrap();
        let told = rules.apply(prefix("192.0.2.1/32"), &route()).unwrap();
        let expected = AttributesSpec {
            next_hop: "192.0.2.9".parse().ok(),
            origin: Origin::Egp,
            med: Some(5),
            prepend: 3,
            local_preference: Some(50),
            communities: vec![1, 2, 3],
            extended_communities: vec![7],
            large_communities: vec![(1, 2, 3)],
            is_draining: false,
        };
        assert_eq!(told.to_spec(), expected);
    }

    #[test]
    fn the_most_that_a_rule_adds_to_the_most_that_a_route_has_fits_into_a_message() {
        let spec = AttributesSpec {
            med: Some(1),
            prepend: 32,
            local_preference: Some(1),
            communities: (0..100).collect(),
            extended_communities: (0..100).collect(),
            large_communities: (0..100).map(|number| (number, 0, 0)).collect(),
            is_draining: true,
            ..AttributesSpec::default()
        };
        let route = Arc::new(Attributes::try_from(spec).unwrap());
        let change = AttributesChange {
            prepend: 32,
            communities: (100..120).collect(),
            extended_communities: (100..120).collect(),
            large_communities: (100..120).map(|number| (number, 0, 0)).collect(),
            ..AttributesChange::default()
        };
        let rules = vec![rule("::/0", ExportAction::Announce(change))];
        let rules = ExportRules::try_from(rules).unwrap();
        let vip = prefix("2001:db8::1/128");
        let told = rules.apply(vip, &route).unwrap();
        assert_eq!(told.to_spec().large_communities.len(), 120);
        let mut routes = crate::AdjRibOut::default();
        let negotiated = crate::open::negotiate(&config(), &peer_open()).unwrap();
        routes.begin(&config(), negotiated);
        routes.set(vip, Some(told));
        let message = routes.next_message();
        assert!(
            matches!(message, Some(Told::Update(update)) if update.to_message().path_attributes.len() > 2_880)
        );
    }

    #[test]
    fn what_is_refused() {
        let refusal = |change| {
            let rules = vec![rule("0.0.0.0/0", ExportAction::Announce(change))];
            ExportRules::try_from(rules).err()
        };
        let many = |count: u32| AttributesChange {
            communities: (0..count).collect(),
            ..AttributesChange::default()
        };
        assert_eq!(refusal(many(20)), None);
        let (index, count) = (0, 21);
        assert_eq!(
            refusal(many(21)),
            Some(InvalidExport::Communities { index, count })
        );
        let long = AttributesChange {
            prepend: 33,
            ..AttributesChange::default()
        };
        let source = InvalidAttributes::Prepend(33);
        assert_eq!(
            refusal(long),
            Some(InvalidExport::Attributes { index, source })
        );
    }
}
