use std::{collections::BTreeSet, sync::Arc};

use super::{
    Action, Conditions, Connections, Fields, HostPattern, InvalidRoute, PathRefusal, RateLimiter,
    Route, RouteRequest, RoutesConfig,
    conditions::{Paths, Unmet},
    hash::Map,
    host::{HostName, Hosts},
    index::{PathIndex, RouteAt},
    path,
};

/// Routes of a service.
const ROUTES_MAX: usize = 100_000;
/// Routes with a regular expression for one host pattern: they are tried one after the other.
const REGEXES_MAX: usize = 64;
/// Rate limits of a service, and of one route.
const RATE_LIMITS_MAX: usize = 64;
/// Conditions of one kind on a route.
const CONDITIONS_MAX: usize = 16;

/// The routes of a service, found in a time that does not depend on how many there are.
///
/// The first of these that a request meets gets it: the most specific host pattern (the name, the longest `*.` above it, `*`), then the exact path,
/// then regular expressions in their order, then the longest prefix, then the order in which they were given. A route whose
/// other conditions are not met is passed by, also for one of a less specific host.
///
/// Hosts are hashed, paths are walked in a tree. What is looked at one by one are the routes with the same host and path, and the
/// regular expressions of a host, of which there are at most 64.
#[derive(Debug, Default)]
pub struct RouteTable {
    pub(super) config: RoutesConfig,
    hosts: Map<PathIndex>,
    below: Map<PathIndex>,
    any: Option<PathIndex>,
    /// In the order of the configuration.
    pub(super) limiters: Vec<Arc<RateLimiter>>,
    /// Of every request.
    pub(super) limit_all: Vec<usize>,
    /// Of each route.
    pub(super) limits: Vec<Vec<usize>>,
    connections: Option<Arc<Connections>>,
}

/// A route whose host and path are a request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'t> {
    /// Its place.
    pub route: usize,
    /// Why it is not the request's, or that it could be.
    pub unmet: Option<Unmet<'t>>,
}

/// A request's target, taken apart.
pub(super) struct Target<'a> {
    /// Its path in normal form.
    pub(super) path: std::borrow::Cow<'a, str>,
    pub(super) query: Option<&'a str>,
}

impl RouteTable {
    /// For a service with so many pools. `seed` is random and not known outside. What `previous` has counted for a limit that is the same
    /// goes on being counted.
    pub fn new(
        config: RoutesConfig,
        pools: usize,
        seed: u64,
        previous: Option<&Self>,
    ) -> Result<Self, InvalidRoute> {
        check(&config, pools)?;
        let names: Vec<&str> = config
            .rate_limits
            .iter()
            .map(super::RateLimit::name)
            .collect();
        let limit_all = resolve(&config.limit_all, &names, "limit_all")?;
        let limits = config.routes.iter().enumerate().map(|(at, route)| {
            resolve(
                &route.guard.rate_limits,
                &names,
                &format!("routes[{at}].guard.rate_limits"),
            )
        });
        let limits = limits.collect::<Result<_, _>>()?;
        let before = previous.map_or(&[][..], |it| &it.limiters);
        let limiters = config.rate_limits.iter().map(|limit| {
            let same = before.iter().find(|it| it.limit() == limit).cloned();
            same.unwrap_or_else(|| Arc::new(RateLimiter::new(limit.clone(), seed)))
        });
        let limiters = limiters.collect();
        let same = previous.and_then(|it| it.connections.clone());
        let same = same.filter(|it| *it.limits() == config.connections);
        let connections = match same {
            None if config.connections == super::ConnectionLimits::default() => None,
            None => Some(Arc::new(Connections::new(config.connections, seed))),
            same => same,
        };
        let (mut hosts, mut below, mut any) = (Map::default(), Map::default(), None);
        for (pattern, index) in indexes(&config.routes)? {
            match &pattern.0 {
                Hosts::One(name) => {
                    hosts.insert(name.as_bytes().into(), index);
                }
                Hosts::Below(name) => {
                    below.insert(name.as_bytes().into(), index);
                }
                Hosts::Any => any = Some(index),
            }
        }
        Ok(Self {
            config,
            hosts,
            below,
            any,
            limiters,
            limit_all,
            limits,
            connections,
        })
    }

    /// Whether every request goes to the first pool as it came.
    pub fn is_empty(&self) -> bool {
        self.config.routes.is_empty() && self.config.deny.is_empty() && self.limit_all.is_empty()
    }

    /// The routes, by their places.
    pub fn routes(&self) -> &[Route] {
        &self.config.routes
    }

    /// Where connections are counted; none if any number may come.
    pub const fn connections(&self) -> Option<&Arc<Connections>> {
        self.connections.as_ref()
    }

    /// The place of the route that a request gets, and how many steps it took to find it.
    pub fn find<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
    ) -> Result<(Option<usize>, u32), PathRefusal> {
        let target = self.target(request)?;
        let mut steps = 0;
        Ok((self.find_for(request, &target, &mut steps), steps))
    }

    pub(super) fn target<'a, F>(
        &self,
        request: &RouteRequest<'a, F>,
    ) -> Result<Target<'a>, PathRefusal> {
        let (path, query) = path::split_query(request.target);
        let path = path::normal(path, self.config.paths)?;
        Ok(Target { path, query })
    }

    pub(super) fn find_for<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
        target: &Target<'_>,
        steps: &mut u32,
    ) -> Option<usize> {
        let fits = |at| self.unmet(at, request, target).is_none();
        self.first(request.host, &target.path, steps, fits)
    }

    /// The routes that are for a request's host and path, in the order in which they are asked: the first one that could be the request's is.
    pub fn candidates<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
    ) -> Result<Vec<Candidate<'_>>, PathRefusal> {
        let target = self.target(request)?;
        let mut candidates = Vec::new();
        let note = |at: RouteAt| {
            let unmet = self.unmet(at, request, &target);
            let route = at as usize;
            candidates.push(Candidate { route, unmet });
            // So that all of them are asked.
            false
        };
        let found = self.first(request.host, &target.path, &mut 0, note);
        debug_assert_eq!(found, None, "no route has fitted");
        Ok(candidates)
    }

    /// Why a route that the index has found is not a request's.
    fn unmet<F: Fields>(
        &self,
        at: RouteAt,
        request: &RouteRequest<'_, F>,
        target: &Target<'_>,
    ) -> Option<Unmet<'_>> {
        let when = &self.config.routes[at as usize].when;
        let has_path = match &when.path.0 {
            // The tree has seen to it.
            Paths::Exact(_) | Paths::Below(_) => true,
            Paths::Matching(pattern) => pattern.is_match(target.path.as_bytes()),
        };
        if has_path {
            when.unmet(request, target.query)
        } else {
            Some(Unmet::Path)
        }
    }

    /// The first route for a host and a path that `fits`, which is asked by the order of precedence.
    fn first(
        &self,
        host: Option<&str>,
        path: &str,
        steps: &mut u32,
        mut fits: impl FnMut(RouteAt) -> bool,
    ) -> Option<usize> {
        let mut look = |index: Option<&PathIndex>| {
            *steps += 1;
            index?.find(path, steps, &mut fits).map(|at| at as usize)
        };
        if let Some(name) = host.and_then(HostName::of) {
            let exact = look(self.hosts.get(name.as_bytes()));
            if exact.is_some() {
                return exact;
            }
            if !self.below.is_empty() {
                let wider = name
                    .parents()
                    .find_map(|parent| look(self.below.get(parent)));
                if wider.is_some() {
                    return wider;
                }
            }
        }
        look(self.any.as_ref())
    }
}

/// The paths of each host pattern.
fn indexes(routes: &[Route]) -> Result<Vec<(&HostPattern, PathIndex)>, InvalidRoute> {
    let mut by_host: Vec<(&HostPattern, RouteAt, &Conditions)> = routes
        .iter()
        .zip(0..)
        .map(|(route, at)| (&route.when.host, at, &route.when))
        .collect();
    by_host.sort_by_key(|(host, at, _)| (*host, *at));
    let groups = by_host.chunk_by(|one, next| one.0 == next.0);
    let indexes = groups.map(|group| {
        let index = PathIndex::new(group.iter().map(|(_, at, when)| (*at, *when)));
        if index.regexes() > REGEXES_MAX {
            let reason = format!(
                "one host has at most {REGEXES_MAX} routes with regular expressions, not {}: use prefixes, or more specific hosts",
                index.regexes()
            );
            return Err(InvalidRoute::new(&format!("routes[{}].path.regex", group[0].1), reason));
        }
        Ok((group[0].0, index))
    });
    indexes.collect()
}

/// The places of the limits with these names.
fn resolve(wanted: &[Box<str>], names: &[&str], field: &str) -> Result<Vec<usize>, InvalidRoute> {
    let place = |name: &str| {
        names.iter().position(|it| *it == name).ok_or_else(|| {
            let reason = format!(
                "names rate limits that there are ({}), not {name:?}",
                names.join(", ")
            );
            InvalidRoute::new(field, reason)
        })
    };
    wanted.iter().map(|name| place(name)).collect()
}

fn check(config: &RoutesConfig, pools: usize) -> Result<(), InvalidRoute> {
    let RoutesConfig {
        paths: _,
        deny: _,
        connections: _,
        rate_limits,
        limit_all,
        routes,
    } = config;
    at_most("routes", routes.len(), ROUTES_MAX)?;
    at_most("rate_limits", rate_limits.len(), RATE_LIMITS_MAX)?;
    at_most("limit_all", limit_all.len(), RATE_LIMITS_MAX)?;
    unique(
        "rate_limits",
        rate_limits.iter().map(super::RateLimit::name),
    )?;
    unique("routes", routes.iter().map(|route| &*route.name))?;
    for (at, route) in routes.iter().enumerate() {
        check_route(route, pools).map_err(|error| error.within(&format!("routes[{at}]")))?;
    }
    Ok(())
}

fn check_route(route: &Route, pools: usize) -> Result<(), InvalidRoute> {
    let Route {
        name,
        when,
        guard,
        action,
        answer: _,
    } = route;
    if name.is_empty() || name.len() > 64 {
        return Err(InvalidRoute::new("name", "has 1 to 64 bytes"));
    }
    at_most("fields", when.fields.len(), CONDITIONS_MAX)?;
    at_most("query", when.query.len(), CONDITIONS_MAX)?;
    at_most(
        "guard.rate_limits",
        guard.rate_limits.len(),
        RATE_LIMITS_MAX,
    )?;
    match action {
        Action::Forward(forward) => {
            if let Some(pool) = forward.split.pools().find(|pool| *pool >= pools) {
                let reason =
                    format!("names pools below {pools}, the service's number of them, not {pool}");
                return Err(InvalidRoute::new("forward.split", reason));
            }
            forward
                .rewrite
                .path
                .check(&when.path)
                .map_err(|error| error.within("forward"))
        }
        Action::Redirect(redirect) => redirect
            .check(&when.path)
            .map_err(|error| error.within("redirect")),
        Action::Answer(_) => Ok(()),
    }
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), InvalidRoute> {
    if count <= most {
        return Ok(());
    }
    Err(InvalidRoute::new(
        field,
        format!("are at most {most}, not {count}"),
    ))
}

fn unique<'n>(field: &str, names: impl Iterator<Item = &'n str>) -> Result<(), InvalidRoute> {
    let mut seen = BTreeSet::new();
    for (at, name) in names.enumerate() {
        if !seen.insert(name) {
            let reason = format!("is of its own: {name:?} is another's already");
            return Err(InvalidRoute::new(&format!("{field}[{at}].name"), reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;
