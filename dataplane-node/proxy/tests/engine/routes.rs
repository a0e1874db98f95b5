use std::{net::SocketAddr, sync::Arc};

use lbfabric_proxy::{
    ProxyConfig,
    route::{Action, Conditions, Forward, PathPattern, Route, RouteTable, RoutesConfig},
};

use crate::worker::engine;

pub(crate) fn engine_of(servers: &[SocketAddr], config: RoutesConfig) -> SocketAddr {
    engine(ProxyConfig {
        routes: Arc::new(RouteTable::new(config, 1, 0, None).unwrap()),
        ..ProxyConfig::to(servers)
    })
}

pub(crate) fn routes(routes: Vec<Route>) -> RoutesConfig {
    RoutesConfig {
        routes,
        ..RoutesConfig::default()
    }
}

pub(crate) fn below(path: &str) -> Conditions {
    Conditions {
        path: PathPattern::prefix(path).unwrap(),
        ..Conditions::default()
    }
}

/// To the servers as it came, if it is what `change` makes it declare.
pub(crate) fn guarded(change: impl FnOnce(&mut Route)) -> RoutesConfig {
    let forward = Action::Forward(Forward::to(0));
    let mut route = Route::new("all", Conditions::default(), forward);
    change(&mut route);
    routes(vec![route])
}
