use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lbfabric_proto::v1;
use prost::Message as _;

use super::{at::At, rates, route};
use crate::{Name, Violation, fields::Fields};

/// Routes of a service.
const ROUTES_MAX: usize = 10_000;
/// Bytes of all of them, encoded.
const ROUTES_BYTES_MAX: usize = 2 << 20;
/// Routes with a regular expression for one host: they are tried one after the other.
const REGEXES_MAX: usize = 64;
const RATE_LIMITS_MAX: usize = 64;

/// What is done with a service's requests before a server sees them: specifications that were checked, with every default filled in. Nothing that
/// the engine would refuse can be in one. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing(Arc<Rules>);

#[derive(Debug, Default, PartialEq)]
struct Rules {
    routes: Vec<v1::RouteSpec>,
    deny_sources: Vec<String>,
    connection_limits: Option<v1::ConnectionLimitsSpec>,
    rate_limits: Vec<v1::RequestRateSpec>,
    path_policy: Option<v1::PathPolicySpec>,
    /// Where routes name pools.
    uses: Vec<(PoolField, Name)>,
}

/// Where a route names a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolField {
    /// The place of the route.
    pub route: usize,
    /// The place in its split, if it has one.
    pub part: Option<usize>,
}

// === impl Routing ===

impl Routing {
    /// Checks what a specification at `path` says of it. After a violation the result is of no use.
    pub(super) fn parse(spec: &v1::ProxySpec, path: &str, violations: &mut Vec<Violation>) -> Self {
        let mut at = At::new(path, violations);
        let rate_limits = spec.rate_limits.iter().enumerate();
        let rate_limits: Vec<_> = rate_limits
            .map(|(i, limit)| rates::rate(limit, at.item("rate_limits", i)))
            .collect();
        at.at_most_items("rate_limits", rate_limits.len(), RATE_LIMITS_MAX);
        at.at_most_items("routes", spec.routes.len(), ROUTES_MAX);
        let routes = spec.routes.iter().take(ROUTES_MAX).enumerate();
        let routes: Vec<_> = routes
            .map(|(i, spec)| route::route(spec, at.item("routes", i)))
            .collect();
        let rules = Rules {
            uses: uses(&routes),
            deny_sources: at.sources("deny_sources", &spec.deny_sources),
            connection_limits: spec
                .connection_limits
                .map(|limits| rates::connections(limits, at.field("connection_limits"))),
            path_policy: spec.path_policy,
            rate_limits,
            routes,
        };
        rules.check(&mut at);
        Self(Arc::new(rules))
    }

    /// The routes, in their order.
    pub fn routes(&self) -> &[v1::RouteSpec] {
        &self.0.routes
    }

    /// Clients that are refused whatever they ask for.
    pub fn deny_sources(&self) -> &[String] {
        &self.0.deny_sources
    }

    /// How many connections there may be.
    pub fn connection_limits(&self) -> Option<v1::ConnectionLimitsSpec> {
        self.0.connection_limits
    }

    /// The rate limits, which routes name.
    pub fn rate_limits(&self) -> &[v1::RequestRateSpec] {
        &self.0.rate_limits
    }

    /// How paths are read.
    pub fn path_policy(&self) -> Option<v1::PathPolicySpec> {
        self.0.path_policy
    }

    /// Where routes name pools, and which.
    pub fn pool_fields(&self) -> impl Iterator<Item = (PoolField, &Name)> {
        self.0.uses.iter().map(|(field, name)| (*field, name))
    }

    /// The pools that routes name, each once, in the order in which they come first.
    pub fn pools(&self) -> Vec<&Name> {
        let mut seen = BTreeSet::new();
        let names = self.0.uses.iter().map(|(_, name)| name);
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The fields that it is made of, and whether they say anything.
    pub(crate) fn said(&self) -> [(&'static str, bool); 5] {
        let Rules {
            routes,
            deny_sources,
            connection_limits,
            rate_limits,
            path_policy,
            uses: _,
        } = &*self.0;
        [
            ("routes", !routes.is_empty()),
            ("deny_sources", !deny_sources.is_empty()),
            ("connection_limits", connection_limits.is_some()),
            ("rate_limits", !rate_limits.is_empty()),
            ("path_policy", path_policy.is_some()),
        ]
    }

    /// A specification with these fields alone.
    pub(super) fn to_spec(&self) -> v1::ProxySpec {
        let Rules {
            routes,
            deny_sources,
            connection_limits,
            rate_limits,
            path_policy,
            uses: _,
        } = &*self.0;
        v1::ProxySpec {
            routes: routes.clone(),
            deny_sources: deny_sources.clone(),
            connection_limits: *connection_limits,
            rate_limits: rate_limits.clone(),
            path_policy: *path_policy,
            ..v1::ProxySpec::default()
        }
    }

    pub(super) fn fields(&self, fields: &mut Fields) {
        fields.put_message("proxy", "ProxySpec", &self.to_spec());
    }
}

// === impl Rules ===

/// There is nothing in it that is not equal to itself, as floating point numbers are.
impl Eq for Rules {}

impl Rules {
    /// What no rule can know by itself.
    fn check(&self, at: &mut At<'_>) {
        let limits = self.rate_limits.iter().map(|limit| limit.name.as_str());
        unique("rate_limits", limits.clone(), at);
        unique("routes", self.routes.iter().map(|it| it.name.as_str()), at);
        let limits: BTreeSet<&str> = limits.collect();
        for (i, route) in self.routes.iter().enumerate() {
            for (n, name) in route.rate_limits.iter().enumerate() {
                if !limits.contains(name.as_str()) {
                    at.refuse(
                        &format!("routes[{i}].rate_limits[{n}]"),
                        format!(
                            "there is no rate limit `{}`: add it to the service's `proxy.rate_limits`",
                            crate::name::shortened(name)
                        ),
                    );
                }
            }
        }
        self.check_regexes(at);
        let bytes: usize = self.routes.iter().map(v1::RouteSpec::encoded_len).sum();
        if bytes > ROUTES_BYTES_MAX {
            at.refuse(
                "routes",
                format!("they take {bytes} bytes, {ROUTES_BYTES_MAX} at most: split the service, or shorten them"),
            );
        }
        let policy = self.path_policy.unwrap_or_default();
        if policy.refuse_empty_segments && policy.keep_empty_segments {
            at.refuse(
                "path_policy.keep_empty_segments",
                "`refuse_empty_segments` is there too: remove one of them",
            );
        }
    }

    fn check_regexes(&self, at: &mut At<'_>) {
        let mut by_host: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, route) in self.routes.iter().enumerate() {
            let Some(when) = route
                .r#match
                .as_ref()
                .filter(|it| !it.path_regex.is_empty())
            else {
                continue;
            };
            let count = by_host.entry(when.host.as_str()).or_default();
            *count += 1;
            if *count == REGEXES_MAX + 1 {
                at.refuse(
                    &format!("routes[{i}].match.path_regex"),
                    format!(
                        "it is one more than the {REGEXES_MAX} that a host may have, as they are tried one after the other: use \
                         prefixes, or more specific hosts"
                    ),
                );
            }
        }
    }
}

fn uses(routes: &[v1::RouteSpec]) -> Vec<(PoolField, Name)> {
    let mut uses = Vec::new();
    for (route, spec) in routes.iter().enumerate() {
        let Some(forward) = &spec.forward else {
            continue;
        };
        let own = (!forward.pool.is_empty()).then_some((None, &forward.pool));
        let parts = forward.split.iter().enumerate();
        let parts = parts.map(|(part, it)| (Some(part), &it.pool));
        for (part, pool) in own.into_iter().chain(parts) {
            // One that is none is a mistake already.
            let name = Name::parse(pool, "").ok();
            uses.extend(name.map(|name| (PoolField { route, part }, name)));
        }
    }
    uses
}

fn unique<'n>(field: &str, names: impl Iterator<Item = &'n str>, at: &mut At<'_>) {
    let mut seen = BTreeSet::new();
    for (i, name) in names.enumerate() {
        if !seen.insert(name) {
            at.refuse(
                &format!("{field}[{i}].name"),
                format!("`{name}` is another's name already: give each its own"),
            );
        }
    }
}

impl std::fmt::Display for PoolField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { route, part } = self;
        write!(f, "proxy.routes[{route}].forward")?;
        match part {
            Some(part) => write!(f, ".split[{part}].pool"),
            None => f.write_str(".pool"),
        }
    }
}

#[cfg(test)]
mod tests;
