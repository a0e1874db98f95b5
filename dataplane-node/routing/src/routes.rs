use std::collections::BTreeMap;
use std::sync::Arc;

use lbfabric_bgp::{Aggregate, Announcements, Attributes, Prefix, RouteChange};

/// What is to be announced to all neighbors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Prefixes and what is announced with them.
    pub prefixes: BTreeMap<Prefix, Arc<Attributes>>,
    /// Prefixes that stand for those within them.
    pub aggregates: Vec<Aggregate>,
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

    /// All that is announced, for a neighbor that is new.
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
    use lbfabric_bgp::AttributesSpec;

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
}
