use std::collections::BTreeMap;
use std::sync::Arc;

use lbfabric_bgp::{Aggregate, Announcements, Attributes, ExportRules, Prefix, RouteChange};

/// What is to be announced to neighbors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Prefixes and what is announced with them.
    pub prefixes: BTreeMap<Prefix, Arc<Attributes>>,
    /// Prefixes that stand for those within them.
    pub aggregates: Vec<Aggregate>,
    /// What neighbors are told otherwise, by their names; aggregates included. Changes need no new session.
    pub exports: BTreeMap<String, Arc<ExportRules>>,
    /// Neighbors are asked to prefer other ways (RFC 8326).
    pub is_draining: bool,
}

/// Turns one [`Routes`] after the other into changes.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    current: Arc<Routes>,
    announcements: Announcements,
}

// === impl RouteTable ===

impl RouteTable {
    pub(crate) fn is_draining(&self) -> bool {
        self.current.is_draining
    }

    /// What the neighbor is told of changes.
    pub(crate) fn exported(
        &self,
        neighbor: &str,
        changes: Arc<[RouteChange]>,
    ) -> Arc<[RouteChange]> {
        let Some(rules) = self.rules(neighbor) else {
            return changes;
        };
        let exported = |change: &RouteChange| RouteChange {
            prefix: change.prefix,
            attributes: change
                .attributes
                .as_ref()
                .and_then(|attributes| rules.apply(change.prefix, attributes)),
        };
        changes.iter().map(exported).collect()
    }

    /// The rules of a neighbor, if there are any.
    pub(crate) fn rules(&self, neighbor: &str) -> Option<&Arc<ExportRules>> {
        let rules = self.current.exports.get(neighbor);
        rules.filter(|rules| !rules.is_empty())
    }

    /// All that is announced, for a neighbor that is new or that has new rules.
    pub(crate) fn all(&self) -> Vec<RouteChange> {
        let change = |(prefix, attributes)| RouteChange {
            prefix,
            attributes: Some(attributes),
        };
        self.announcements.all().map(change).collect()
    }

    /// What changes with these.
    pub(crate) fn replace(&mut self, next: Arc<Routes>) -> Vec<RouteChange> {
        let before = std::mem::replace(&mut self.current, next);
        let next = &self.current;
        let mut changes = vec![];
        if before.aggregates != next.aggregates {
            changes.extend(self.announcements.set_aggregates(next.aggregates.clone()));
        }
        for prefix in before.prefixes.keys() {
            if !next.prefixes.contains_key(prefix) {
                changes.extend(self.announcements.set(*prefix, None));
            }
        }
        for (prefix, attributes) in &next.prefixes {
            let known = before.prefixes.get(prefix);
            if !known.is_some_and(|known| Arc::ptr_eq(known, attributes) || known == attributes) {
                let attributes = Some(Arc::clone(attributes));
                changes.extend(self.announcements.set(*prefix, attributes));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_bgp::{AttributesSpec, ExportAction, ExportRule};

    use super::*;

    fn routes(of: &[(&str, u32)]) -> Arc<Routes> {
        let route = |(address, med): &(&str, u32)| {
            let spec = AttributesSpec {
                med: Some(*med),
                ..AttributesSpec::default()
            };
            let prefix = Prefix::host(address.parse().unwrap());
            (prefix, Arc::new(Attributes::try_from(spec).unwrap()))
        };
        Arc::new(Routes {
            prefixes: of.iter().map(route).collect(),
            ..Routes::default()
        })
    }

    #[test]
    fn only_what_changed() {
        let mut table = RouteTable::default();
        let changed = |changes: Vec<RouteChange>| -> Vec<(String, bool)> {
            let told = |it: &RouteChange| (it.prefix.to_string(), it.attributes.is_some());
            changes.iter().map(told).collect()
        };
        let first = table.replace(routes(&[("192.0.2.1", 1), ("192.0.2.2", 1)]));
        assert_eq!(first.len(), 2);
        let second = routes(&[("192.0.2.2", 1), ("192.0.2.3", 1)]);
        let expected = [("192.0.2.1/32", false), ("192.0.2.3/32", true)];
        let expected = expected.map(|(prefix, is_there)| (prefix.to_owned(), is_there));
        assert_eq!(changed(table.replace(second)), expected);
        let third = table.replace(routes(&[("192.0.2.2", 2), ("192.0.2.3", 1)]));
        assert_eq!(changed(third), [("192.0.2.2/32".to_owned(), true)]);
        assert_eq!(table.all().len(), 2);
    }
    #[test]
    fn rules_are_for_the_neighbor_that_they_name() {
        let withhold = ExportRule {
            within: Prefix::host("192.0.2.1".parse().unwrap()),
            action: ExportAction::Withhold,
        };
        let rules = ExportRules::try_from(vec![withhold]).unwrap();
        let mut next = Routes::clone(&routes(&[("192.0.2.1", 1), ("192.0.2.2", 1)]));
        next.exports.insert("one".to_owned(), Arc::new(rules));
        let mut table = RouteTable::default();
        let changes: Arc<[RouteChange]> = table.replace(Arc::new(next)).into();
        let told = |neighbor: &str| -> Vec<bool> {
            let told = table.exported(neighbor, Arc::clone(&changes));
            told.iter().map(|it| it.attributes.is_some()).collect()
        };
        assert_eq!(told("one"), [false, true]);
        assert_eq!(told("other"), [true, true]);
    }
}
