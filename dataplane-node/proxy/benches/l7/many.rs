//! Ten thousand services, and ten thousand routes: what a request costs must not depend on how many there are.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use lbfabric_proxy::route::{
    Action, Conditions, Forward, HostPattern, PathPattern, Route, RouteTable, RoutesConfig,
};

/// Of which there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    Services,
    Routes,
}

/// How many.
pub(crate) const MANY: u32 = 10_000;
/// How many services are asked at the same time, each by a thread of the client's.
pub(crate) const ASKED_SERVICES: u32 = 16;
/// For how many routes there are requests, one after the other.
const ASKED_ROUTES: u32 = 1_000;

/// Where the n-th service listens.
pub(crate) fn address(first: SocketAddr, n: u32) -> SocketAddr {
    if n == 0 {
        return first;
    }
    let [_, _, high, low] = n.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 2, high, low)), first.port())
}

/// Routes of all kinds, or one for all requests.
pub(crate) fn routes(count: u32) -> RouteTable {
    let routes = if count == 1 {
        let when = Conditions::default();
        vec![Route::new("all", when, Action::Forward(Forward::to(0)))]
    } else {
        (0..count).map(route).collect()
    };
    let config = RoutesConfig {
        routes,
        ..RoutesConfig::default()
    };
    RouteTable::new(config, 1, 7, None).unwrap()
}

/// The n-th: of ten three with a host and two with all hosts below a name, two with an exact path and two with a prefix among those of one host,
/// and one with a regular expression.
fn route(n: u32) -> Route {
    let (host, path) = match n % 10 {
        0..3 => (format!("h{n}.example"), PathPattern::default()),
        3..5 => (format!("*.w{n}.example"), PathPattern::default()),
        5..7 => (
            "api.example".to_owned(),
            PathPattern::exact(&format!("/r/{n}/exact")).unwrap(),
        ),
        7..9 => (
            "api.example".to_owned(),
            PathPattern::prefix(&format!("/r/{n}/below")).unwrap(),
        ),
        _ => (
            format!("x{n}.example"),
            PathPattern::regex("/r/[a-z]+/[0-9]+").unwrap(),
        ),
    };
    let when = Conditions {
        host: HostPattern::parse(&host).unwrap(),
        path,
        ..Conditions::default()
    };
    let action = Action::Forward(Forward::to(0));
    Route::new(&n.to_string(), when, action)
}

/// Host and path of a request that the n-th route is for.
fn asked(n: u32) -> (String, String) {
    match n % 10 {
        0..3 => (format!("h{n}.example"), "/r/abc".to_owned()),
        3..5 => (format!("a.w{n}.example"), "/r/abc".to_owned()),
        5..7 => ("api.example".to_owned(), format!("/r/{n}/exact")),
        7..9 => ("api.example".to_owned(), format!("/r/{n}/below/abc")),
        _ => (format!("x{n}.example"), "/r/abc/123".to_owned()),
    }
}

/// What `wrk` does: each of its threads asks one of the services, far from each other.
pub(crate) fn ask_services(first: SocketAddr, services: u32) -> String {
    let mut script = "local at = 0\nlocal addresses = {".to_owned();
    for n in 0..ASKED_SERVICES {
        let n = n * (services / ASKED_SERVICES);
        write!(script, "\"{}\", ", address(first, n).ip()).unwrap();
    }
    let port = first.port();
    script
        + &format!(
            "}}\nsetup = function(thread)\n    at = at + 1\n    thread.addr = wrk.lookup(addresses[at], \"{port}\")[1]\nend\n"
        )
}

/// What `wrk` does: it asks for one route after the other, the same whether they are there or one for all.
pub(crate) fn ask_routes() -> String {
    let mut script = "local at = 0\nlocal asked = {".to_owned();
    for n in 0..ASKED_ROUTES {
        let (host, path) = asked(n * (MANY / ASKED_ROUTES) + n % 10);
        write!(script, "{{\"{host}\", \"{path}\"}}, ").unwrap();
    }
    script
        + "}\nlocal requests = {}\ninit = function(arguments)\n    for n, it in ipairs(asked) do\n        requests[n] = wrk.format(\"GET\", it[2], {Host = it[1]})\n    end\nend\nrequest = function()\n    at = at % #requests + 1\n    return requests[at]\nend\n"
}
