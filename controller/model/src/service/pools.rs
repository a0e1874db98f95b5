//! The pools that a service names.

use std::fmt;

use lbfabric_proto::v1;

use super::Service;
use crate::{Name, PoolField};

/// Where a service names a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolPlace {
    /// In `pool`.
    Own,
    /// In one of its routes.
    Route(PoolField),
    /// In this one of its `proxy.sni.routes`.
    Sni(usize),
}

impl Service {
    /// Where it names pools, and which.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (PoolPlace, &Name)> {
        let routing = self.proxy.iter().flat_map(|it| it.routing.pool_fields());
        let routes = routing.map(|(field, name)| (PoolPlace::Route(field), name));
        let sni = self.proxy.iter().filter_map(|it| it.sni.as_ref());
        let sni = sni.flat_map(|it| it.routes().iter().enumerate());
        let sni = sni.map(|(at, route)| (PoolPlace::Sni(at), &route.pool));
        let own = [(PoolPlace::Own, &self.pool)].into_iter();
        own.chain(routes).chain(sni)
    }
}

/// As [`Service::pools`], of a specification that may have mistakes.
pub(crate) fn named_pools(spec: &v1::ServiceSpec) -> Vec<(PoolPlace, &str)> {
    let mut named = vec![(PoolPlace::Own, spec.pool.as_str())];
    let routes = spec.proxy.iter().flat_map(|proxy| &proxy.routes);
    for (route, spec) in routes.enumerate() {
        let Some(forward) = &spec.forward else {
            continue;
        };
        let own = (!forward.pool.is_empty()).then_some((None, &forward.pool));
        let parts = forward.split.iter().enumerate();
        let parts = parts.map(|(part, it)| (Some(part), &it.pool));
        for (part, pool) in own.into_iter().chain(parts) {
            let field = PoolField { route, part };
            named.push((PoolPlace::Route(field), pool.as_str()));
        }
    }
    let sni = spec.proxy.iter().filter_map(|proxy| proxy.sni.as_ref());
    let sni = sni.flat_map(|sni| sni.routes.iter().enumerate());
    named.extend(sni.map(|(at, route)| (PoolPlace::Sni(at), route.pool.as_str())));
    named
}

impl fmt::Display for PoolPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("pool"),
            Self::Route(field) => field.fmt(f),
            Self::Sni(route) => write!(f, "proxy.sni.routes[{route}].pool"),
        }
    }
}
