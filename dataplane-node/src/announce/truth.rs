use std::collections::BTreeMap;
use std::sync::Arc;

use lbfabric_bgp::{Attributes, Prefix};

use super::drain::Drain;

/// What is true of a node, as far as announcements depend on it.
#[derive(Clone, Debug)]
pub(crate) struct NodeTruth {
    /// What the node holds has been brought to its program once; before, nobody knows what it can serve.
    pub(crate) has_applied: bool,
    /// Why the program does not run as it should.
    pub(crate) fault: Option<Arc<str>>,
    /// The node's interfaces, if none of them is up.
    pub(crate) links_down: Option<Arc<str>>,
    /// How far the node's drain is.
    pub(crate) drain: Drain,
}

/// What is true of a service that is to be announced.
#[derive(Clone, Debug)]
pub(crate) struct ServiceTruth {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its addresses and prefixes: the same ones, not equal ones, as long as the service has not changed.
    pub(crate) vips: Arc<[Prefix]>,
    /// What it is announced with. All services of a VIP agree on that.
    pub(crate) attributes: Arc<Attributes>,
    /// A label that it wants and the node does not have, as `key=value`.
    pub(crate) missing_label: Option<Arc<str>>,
    /// Why the node has refused it.
    pub(crate) refusal: Option<Arc<str>>,
    /// Its healthy servers, as this node sees them.
    pub(crate) healthy_servers: u32,
    /// How many it needs for the VIP to be announced.
    pub(crate) min_healthy_servers: u32,
}

/// The first label that is wanted and not there, as `key=value`.
pub(crate) fn missing_label(
    wanted: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Option<Arc<str>> {
    let missing = wanted
        .iter()
        .find(|(key, value)| labels.get(*key) != Some(value));
    missing.map(|(key, value)| format!("{key}={value}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_counts() {
        let labels = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            all.iter().map(owned).collect()
        };
        let node = labels(&[("site", "east"), ("rack", "7")]);
        let missing = |wanted: &[(&str, &str)]| missing_label(&labels(wanted), &node);
        assert_eq!(missing(&[]), None);
        assert_eq!(missing(&[("site", "east")]), None);
        assert_eq!(
            missing(&[("site", "east"), ("rack", "8")]).as_deref(),
            Some("rack=8")
        );
        assert_eq!(missing(&[("edge", "yes")]).as_deref(), Some("edge=yes"));
    }
}
