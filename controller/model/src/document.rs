use std::collections::BTreeSet;

use lbfabric_proto::v1;

use crate::{Certificate, Name, Node, Pool, Service, Violation};

/// The objects of a [`v1::FabricSpec`], each valid by itself and named once within its kind.
///
/// An object keeps the index that it had in the specification, so that a mistake found later has the right path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub(crate) pools: Vec<(usize, Pool)>,
    pub(crate) services: Vec<(usize, Service)>,
    pub(crate) nodes: Vec<(usize, Node)>,
    pub(crate) certificates: Vec<(usize, Certificate)>,
}

/// A specification with mistakes.
#[derive(Clone, Debug)]
pub struct InvalidDocument {
    /// Every mistake that an object has by itself.
    pub violations: Vec<Violation>,
    /// The objects without one.
    pub valid: Document,
    /// Names of objects that are there but may not be valid: references to them are not mistakes of their own.
    pub(crate) broken: Broken,
}

/// Names that a specification with mistakes has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken {
    pub(crate) pools: BTreeSet<String>,
    pub(crate) certificates: BTreeSet<String>,
}

impl Document {
    /// Checks every object by itself.
    pub fn parse(spec: &v1::FabricSpec) -> Result<Self, Box<InvalidDocument>> {
        let mut violations = Vec::new();
        let pools = parse_all("pools", &spec.pools, Pool::parse, &mut violations);
        let services = parse_all("services", &spec.services, Service::parse, &mut violations);
        let nodes = parse_all("nodes", &spec.nodes, Node::parse, &mut violations);
        let certificates = parse_all(
            "certificates",
            &spec.certificates,
            Certificate::parse,
            &mut violations,
        );
        check_unique(
            "pools",
            pools.iter().map(|(i, p)| (*i, &p.name)),
            &mut violations,
        );
        check_unique(
            "services",
            services.iter().map(|(i, s)| (*i, &s.name)),
            &mut violations,
        );
        check_unique(
            "nodes",
            nodes.iter().map(|(i, n)| (*i, &n.name)),
            &mut violations,
        );
        check_unique(
            "certificates",
            certificates.iter().map(|(i, c)| (*i, &c.name)),
            &mut violations,
        );
        let valid = Self {
            pools,
            services,
            nodes,
            certificates,
        };
        if violations.is_empty() {
            return Ok(valid);
        }
        Err(Box::new(InvalidDocument {
            violations,
            valid,
            broken: Broken {
                pools: spec.pools.iter().map(|p| p.name.clone()).collect(),
                certificates: spec.certificates.iter().map(|c| c.name.clone()).collect(),
            },
        }))
    }

    /// The specification with every default filled in, private keys included.
    pub fn to_spec(&self) -> v1::FabricSpec {
        let Self {
            pools,
            services,
            nodes,
            certificates,
        } = self;
        v1::FabricSpec {
            pools: pools.iter().map(|(_, pool)| pool.to_spec()).collect(),
            services: services
                .iter()
                .map(|(_, service)| service.to_spec())
                .collect(),
            nodes: nodes.iter().map(|(_, node)| node.to_spec()).collect(),
            certificates: certificates
                .iter()
                .map(|(_, certificate)| certificate.to_spec())
                .collect(),
        }
    }
}

fn parse_all<S, T>(
    field: &str,
    specs: &[S],
    parse: fn(&S, &str, &mut Vec<Violation>) -> Option<T>,
    violations: &mut Vec<Violation>,
) -> Vec<(usize, T)> {
    let parsed = specs
        .iter()
        .enumerate()
        .filter_map(|(i, spec)| Some((i, parse(spec, &format!("{field}[{i}]"), violations)?)));
    parsed.collect()
}

fn check_unique<'a>(
    field: &str,
    names: impl Iterator<Item = (usize, &'a Name)>,
    violations: &mut Vec<Violation>,
) {
    let mut seen = BTreeSet::new();
    for (i, name) in names {
        if !seen.insert(name) {
            violations.push(Violation::new(
                format!("{field}[{i}].name"),
                format!("`{name}` stands in {field} twice: name each object once"),
            ));
        }
    }
}

#[cfg(test)]
mod proptests;
