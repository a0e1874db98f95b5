//! Routes of the API in the engine's terms. What the API takes, the engine takes too: `proptests.rs` holds the two together.

use std::{collections::BTreeMap, sync::Arc};

use lbfabric_model::{Routing, ServiceId};
use lbfabric_proto::v1;
use lbfabric_proxy::route::{
    Action, Conditions, ConnectionLimits, DotSegments, EmptySegments, EscapedSlashes, Forward,
    Guard, InvalidRoute, PathPolicy, Prefixes, RateLimit, Route, RouteTable, RoutesConfig,
};

use super::route_parts;
use crate::random::random_words;

/// The name of the route for what meets no other; no user's route can have it.
pub(super) const REST: &str = "*";

/// The tables of services. What one counts lives on as long as the service is there, and is the same for all of its parts.
#[derive(Debug, Default)]
pub(super) struct RouteTables(BTreeMap<ServiceId, Known>);

#[derive(Debug)]
struct Known {
    routing: Routing,
    places: Vec<usize>,
    table: Arc<RouteTable>,
}

impl RouteTables {
    /// The table of a service; `places` are where the pools are that the routes name, in the order of [`Routing::pools`]. The service's own is the first.
    pub(super) fn table(
        &mut self,
        service: ServiceId,
        routing: &Routing,
        places: &[usize],
    ) -> Result<Arc<RouteTable>, String> {
        let known = self.0.get(&service);
        if let Some(known) = known
            && known.routing == *routing
            && known.places == places
        {
            return Ok(Arc::clone(&known.table));
        }
        let names = routing
            .pools()
            .into_iter()
            .map(lbfabric_model::Name::as_str);
        let pools: BTreeMap<&str, usize> = names.zip(places.iter().copied()).collect();
        let count = places.iter().map(|place| place + 1).max().unwrap_or(1);
        let [seed] = random_words();
        let before = known.map(|known| &*known.table);
        let table = config(routing, &pools)
            .and_then(|config| RouteTable::new(config, count, seed, before))
            .map_err(|error| format!("its routes cannot be carried out: {error}"))?;
        let table = Arc::new(table);
        let known = Known {
            routing: routing.clone(),
            places: places.to_vec(),
            table: Arc::clone(&table),
        };
        self.0.insert(service, known);
        Ok(table)
    }

    /// Forgets services that are gone.
    pub(super) fn keep(&mut self, is_there: impl Fn(ServiceId) -> bool) {
        self.0.retain(|service, _| is_there(*service));
    }
}

/// The rules of a service; `pools` are the places of those that routes name.
fn config(routing: &Routing, pools: &BTreeMap<&str, usize>) -> Result<RoutesConfig, InvalidRoute> {
    let limits = routing.rate_limits();
    let every = limits.iter().filter(|limit| limit.every_request);
    let mut routes = Vec::with_capacity(routing.routes().len() + 1);
    for (at, spec) in (0..).zip(routing.routes()) {
        let route: Result<_, InvalidRoute> = route(spec, pools);
        routes.push(route.map_err(|error| error.within(&format!("routes[{at}]")))?);
    }
    // The service has a pool: what no route is for goes there.
    if !routes.is_empty() || routing.path_policy().is_some() {
        let rest = Action::Forward(Forward::to(0));
        routes.push(Route::new(REST, Conditions::default(), rest));
    }
    Ok(RoutesConfig {
        paths: routing
            .path_policy()
            .map_or_else(PathPolicy::default, paths),
        deny: prefixes(routing.deny_sources())?,
        connections: match routing.connection_limits() {
            Some(limits) => connections(limits)?,
            None => ConnectionLimits::default(),
        },
        rate_limits: limits.iter().map(rate).collect::<Result<_, _>>()?,
        limit_all: every.map(|limit| limit.name.as_str().into()).collect(),
        routes,
    })
}

fn route(spec: &v1::RouteSpec, pools: &BTreeMap<&str, usize>) -> Result<Route, InvalidRoute> {
    let v1::RouteSpec {
        name,
        r#match,
        forward,
        redirect,
        answer,
        response_headers,
        deny_sources,
        allow_methods,
        allow_content_types,
        limits,
        rate_limits,
    } = spec;
    let action = match (forward, redirect, answer) {
        (_, Some(redirect), _) => Action::Redirect(route_parts::redirect(redirect)?),
        (_, None, Some(answer)) => Action::Answer(route_parts::answer(answer)?),
        (Some(forward), None, None) => Action::Forward(route_parts::forward(forward, pools)?),
        (None, None, None) => Action::Forward(Forward::to(0)),
    };
    Ok(Route {
        name: name.as_str().into(),
        when: match r#match {
            Some(when) => route_parts::conditions(when)?,
            None => Conditions::default(),
        },
        guard: Guard {
            deny: prefixes(deny_sources)?,
            methods: route_parts::methods(allow_methods)?,
            content_types: route_parts::content_types(allow_content_types)?,
            limits: route_parts::limits(limits.unwrap_or_default())?,
            rate_limits: rate_limits.iter().map(|it| it.as_str().into()).collect(),
        },
        action,
        answer: route_parts::answer_edits(response_headers.as_ref())?,
    })
}

/// Addresses and prefixes.
pub(super) fn prefixes(texts: &[String]) -> Result<Prefixes, InvalidRoute> {
    Prefixes::parse(texts.iter().map(String::as_str))
}

fn paths(spec: v1::PathPolicySpec) -> PathPolicy {
    let v1::PathPolicySpec {
        refuse_dot_segments,
        refuse_empty_segments,
        keep_empty_segments,
        refuse_escaped_slashes,
    } = spec;
    PathPolicy {
        dot_segments: if refuse_dot_segments {
            DotSegments::Refuse
        } else {
            DotSegments::Resolve
        },
        empty_segments: match (refuse_empty_segments, keep_empty_segments) {
            (true, _) => EmptySegments::Refuse,
            (false, true) => EmptySegments::Keep,
            (false, false) => EmptySegments::Merge,
        },
        escaped_slashes: if refuse_escaped_slashes {
            EscapedSlashes::Refuse
        } else {
            EscapedSlashes::Keep
        },
    }
}

fn connections(spec: v1::ConnectionLimitsSpec) -> Result<ConnectionLimits, InvalidRoute> {
    let v1::ConnectionLimitsSpec {
        service,
        source,
        sources,
    } = spec;
    let limit = |value: u32| (value > 0).then_some(value);
    ConnectionLimits::new(limit(service), limit(source), sources)
}

fn rate(spec: &v1::RequestRateSpec) -> Result<RateLimit, InvalidRoute> {
    let v1::RequestRateSpec {
        name,
        requests,
        per_ms,
        burst,
        key,
        every_request: _,
        values,
    } = spec;
    let key = route_parts::key(key.as_ref())?;
    let per = std::time::Duration::from_millis((*per_ms).into());
    RateLimit::new(name, key, (*requests, per), *burst, *values)
}
