use std::{collections::BTreeMap, fmt::Display};

use lbfabric_proto::v1::FieldChange;

/// An object as a flat list of paths and values, to say what differs between two.
#[derive(Default)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    pub(crate) fn put(&mut self, path: impl Into<String>, value: impl Display) {
        self.0.insert(path.into(), value.to_string());
    }

    pub(crate) fn put_list<T: Display>(&mut self, path: &str, values: impl IntoIterator<Item = T>) {
        let values: Vec<_> = values.into_iter().map(|v| v.to_string()).collect();
        if !values.is_empty() {
            self.put(path, values.join(", "));
        }
    }

    /// The paths whose values differ, in order.
    pub(crate) fn changes(&self, after: &Self) -> Vec<FieldChange> {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(after.0.keys()).collect();
        paths
            .into_iter()
            .filter_map(|path| {
                let (before, after) = (self.0.get(path), after.0.get(path));
                (before != after).then(|| FieldChange {
                    path: path.clone(),
                    before: before.cloned().unwrap_or_default(),
                    after: after.cloned().unwrap_or_default(),
                })
            })
            .collect()
    }
}
