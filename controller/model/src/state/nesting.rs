use std::collections::BTreeMap;

use lbfabric_abi::VIP_PREFIX_LEVELS_MAX;

use crate::{Prefix, Violation};

/// VIPs that are whole prefixes, each with its path if it is in the document: a packet looks through so many that lie within one
/// another, and not through more.
#[derive(Default)]
pub(super) struct Nesting(BTreeMap<Prefix, Option<String>>);

impl Nesting {
    /// `vip` is a whole prefix.
    pub(super) fn add(&mut self, vip: Prefix, path: Option<String>) {
        let known = self.0.entry(vip).or_default();
        if known.is_none() {
            *known = path;
        }
    }

    /// What is too deep, at the innermost one of those that are in the document.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        // In this order a prefix comes before those in it, and these before all behind it: those that it is in are at hand.
        let mut around: Vec<(&Prefix, &Option<String>)> = Vec::new();
        for (vip, path) in &self.0 {
            while around
                .last()
                .is_some_and(|(wider, _)| !wider.contains(vip.address()))
            {
                around.pop();
            }
            around.push((vip, path));
            if around.len() <= VIP_PREFIX_LEVELS_MAX {
                continue;
            }
            let in_document = around.iter().rev().find_map(|(_, path)| path.as_ref());
            if let Some(path) = in_document {
                let nested: Vec<String> = around.iter().map(|(it, _)| it.to_string()).collect();
                violations.push(Violation::new(
                    path,
                    format!(
                        "{} VIPs lie within one another, {VIP_PREFIX_LEVELS_MAX} at most: {}; take one away, or widen one of them",
                        nested.len(),
                        nested.join(", ")
                    ),
                ));
            }
        }
        violations
    }
}
