use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Attributes, Prefix};

/// Routes that are to be announced: those that are set, and those that stand for others.
///
/// It turns what is to be into changes, to be given to each neighbor's [`crate::AdjRibOut`].
#[derive(Clone, Debug, Default)]
pub struct Announcements {
    routes: BTreeMap<Prefix, Arc<Attributes>>,
    aggregates: BTreeMap<Prefix, Summary>,
}

/// A prefix that is announced while there is a route within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// The prefix.
    pub prefix: Prefix,
    /// What is announced with it.
    pub attributes: Attributes,
    /// Whether the routes within it are not announced.
    pub is_summary_only: bool,
}

/// What is announced of a prefix from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The prefix.
    pub prefix: Prefix,
    /// What with; none withdraws it.
    pub attributes: Option<Arc<Attributes>>,
}

#[derive(Clone, Debug)]
struct Summary {
    attributes: Arc<Attributes>,
    is_summary_only: bool,
    /// Routes within it, not counting one of the same prefix.
    parts: usize,
}

// === impl Announcements ===

impl Announcements {
    /// Announces a prefix, or no longer; what changes by that.
    pub fn set(&mut self, prefix: Prefix, attributes: Option<Arc<Attributes>>) -> Vec<RouteChange> {
        let before = self.routes.get(&prefix);
        if before == attributes.as_ref() {
            return vec![];
        }
        let had = before.is_some();
        let has = attributes.is_some();
        match attributes {
            Some(attributes) => self.routes.insert(prefix, attributes),
            None => self.routes.remove(&prefix),
        };
        let mut changed = BTreeSet::from([prefix]);
        if had != has {
            self.count(prefix, has, &mut changed);
        }
        self.changes(changed)
    }

    /// Replaces all aggregates; what changes by that.
    pub fn set_aggregates(
        &mut self,
        aggregates: impl IntoIterator<Item = Aggregate>,
    ) -> Vec<RouteChange> {
        let before: BTreeMap<_, _> = self.all().collect();
        let summary = |aggregate: Aggregate| {
            let parts = within(&self.routes, aggregate.prefix).count();
            let summary = Summary {
                attributes: Arc::new(aggregate.attributes.of_aggregate()),
                is_summary_only: aggregate.is_summary_only,
                parts,
            };
            (aggregate.prefix, summary)
        };
        self.aggregates = aggregates.into_iter().map(summary).collect();
        let after: BTreeMap<_, _> = self.all().collect();
        let prefixes: BTreeSet<Prefix> = before.keys().chain(after.keys()).copied().collect();
        let changed = prefixes
            .into_iter()
            .filter(|prefix| before.get(prefix) != after.get(prefix));
        self.changes(changed)
    }

    /// All that is announced.
    pub fn all(&self) -> impl Iterator<Item = (Prefix, Arc<Attributes>)> {
        let set = self.routes.keys();
        let standing = self.aggregates.keys();
        let standing = standing.filter(|prefix| !self.routes.contains_key(prefix));
        set.chain(standing)
            .filter_map(|prefix| Some((*prefix, self.announced(*prefix)?)))
    }

    /// What is announced with the prefix, if it is.
    pub fn announced(&self, prefix: Prefix) -> Option<Arc<Attributes>> {
        if let Some(attributes) = self.routes.get(&prefix) {
            let is_hidden = self
                .around(prefix)
                .any(|(_, summary)| summary.is_summary_only);
            return (!is_hidden).then(|| Arc::clone(attributes));
        }
        let summary = self.aggregates.get(&prefix)?;
        (summary.parts > 0).then(|| Arc::clone(&summary.attributes))
    }

    /// Counts a route that came or went at the aggregates around it, and adds what changes by that.
    fn count(&mut self, prefix: Prefix, has_come: bool, changed: &mut BTreeSet<Prefix>) {
        let around: Vec<Prefix> = self.around(prefix).map(|(prefix, _)| prefix).collect();
        for around in around {
            let Some(summary) = self.aggregates.get_mut(&around) else {
                continue;
            };
            summary.parts = if has_come {
                summary.parts + 1
            } else {
                summary.parts - 1
            };
            changed.insert(around);
        }
    }

    /// Aggregates that the prefix is a part of. There are few, while routes are many.
    fn around(&self, prefix: Prefix) -> impl Iterator<Item = (Prefix, &Summary)> {
        self.aggregates
            .iter()
            .filter(move |(around, _)| **around != prefix && around.covers(prefix))
            .map(|(around, summary)| (*around, summary))
    }

    fn changes(&self, prefixes: impl IntoIterator<Item = Prefix>) -> Vec<RouteChange> {
        let change = |prefix| RouteChange {
            prefix,
            attributes: self.announced(prefix),
        };
        prefixes.into_iter().map(change).collect()
    }
}

/// Routes within the prefix, without one of the same prefix. They follow it in the map's order.
fn within(
    routes: &BTreeMap<Prefix, Arc<Attributes>>,
    prefix: Prefix,
) -> impl Iterator<Item = Prefix> {
    routes
        .range(prefix..)
        .map(|(route, _)| *route)
        .take_while(move |route| prefix.covers(*route))
        .filter(move |route| *route != prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AttributesSpec;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn with(med: u32) -> Arc<Attributes> {
        let spec = AttributesSpec {
            med: Some(med),
            ..AttributesSpec::default()
        };
        Arc::new(spec.try_into().unwrap())
    }

    fn aggregate(text: &str, is_summary_only: bool) -> Aggregate {
        Aggregate {
            prefix: prefix(text),
            attributes: AttributesSpec::default().try_into().unwrap(),
            is_summary_only,
        }
    }

    fn named(changes: &[RouteChange]) -> Vec<String> {
        let name = |it: &RouteChange| {
            let sign = if it.attributes.is_some() { '+' } else { '-' };
            format!("{sign}{}", it.prefix)
        };
        changes.iter().map(name).collect()
    }

    #[test]
    fn only_what_changes() {
        let mut all = Announcements::default();
        let vip = prefix("192.0.2.1/32");
        assert_eq!(named(&all.set(vip, Some(with(1)))), ["+192.0.2.1/32"]);
        assert_eq!(named(&all.set(vip, Some(with(1)))), [""; 0]);
        assert_eq!(named(&all.set(vip, Some(with(2)))), ["+192.0.2.1/32"]);
        assert_eq!(named(&all.set(vip, None)), ["-192.0.2.1/32"]);
        assert_eq!(named(&all.set(vip, None)), [""; 0]);
    }

    #[test]
    fn an_aggregate_stands_while_it_has_parts() {
        let mut all = Announcements::default();
        let wide = aggregate("192.0.2.0/24", false);
        assert_eq!(named(&all.set_aggregates([wide])), [""; 0]);
        let (one, two) = (prefix("192.0.2.1/32"), prefix("192.0.2.2/32"));
        let both = ["+192.0.2.0/24", "+192.0.2.1/32"];
        assert_eq!(named(&all.set(one, Some(with(1)))), both);
        all.set(two, Some(with(1)));
        let less = named(&all.set(one, None));
        assert_eq!(less, ["+192.0.2.0/24", "-192.0.2.1/32"]);
        let none = named(&all.set(two, None));
        assert_eq!(none, ["-192.0.2.0/24", "-192.0.2.2/32"]);
    }

    #[test]
    fn a_summary_hides_its_parts() {
        let mut all = Announcements::default();
        for text in ["192.0.2.1/32", "192.0.3.1/32", "2001:db8::1/128"] {
            all.set(prefix(text), Some(with(1)));
        }
        let hiding = all.set_aggregates([aggregate("192.0.2.0/24", true)]);
        assert_eq!(named(&hiding), ["+192.0.2.0/24", "-192.0.2.1/32"]);
        let shown = all.set_aggregates([]);
        assert_eq!(named(&shown), ["-192.0.2.0/24", "+192.0.2.1/32"]);
    }

    #[test]
    fn a_route_of_the_same_prefix_is_no_part_and_goes_first() {
        let mut all = Announcements::default();
        all.set_aggregates([aggregate("192.0.2.0/24", true)]);
        let same = prefix("192.0.2.0/24");
        all.set(same, Some(with(1)));
        all.set(prefix("192.0.2.1/32"), Some(with(2)));
        assert_eq!(all.announced(same), Some(with(1)));
        all.set(prefix("192.0.2.1/32"), None);
        assert_eq!(all.announced(same), Some(with(1)));
        all.set(same, None);
        assert_eq!(all.announced(same), None);
    }

    #[test]
    fn counting_anew_comes_to_the_same() {
        let mut all = Announcements::default();
        let aggregates = || {
            [
                aggregate("10.0.0.0/8", false),
                aggregate("10.0.0.0/16", true),
            ]
        };
        all.set_aggregates(aggregates());
        for text in ["10.0.0.0/32", "10.0.0.0/12", "10.1.0.0/16", "11.0.0.0/8"] {
            all.set(prefix(text), Some(with(1)));
        }
        let counts = |all: &Announcements| -> Vec<usize> {
            all.aggregates.values().map(|it| it.parts).collect()
        };
        assert_eq!(counts(&all), [3, 1]);
        all.set_aggregates(aggregates());
        assert_eq!(counts(&all), [3, 1]);
    }
}
