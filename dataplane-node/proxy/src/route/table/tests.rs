use std::time::Duration;

use super::*;
use crate::{
    http1::Body,
    route::{
        Authority, ConnectionLimits, FieldCondition, FieldName, FixedAnswer, Forward, Methods,
        PathPattern, PathRewrite, Prefixes, RateLimit, Redirect, RedirectStatus, RequestKey,
        Retries, Rewrite, RouteTimeouts, Split, SplitBy, TextPattern, request::tests::Said,
    },
};

/// A route whose name is its host and path; a path that begins with `=` is exact, with `~` a regular expression.
pub(super) fn route(host: &str, path: &str) -> Route {
    let path_pattern = match path.split_at(1) {
        ("=", path) => PathPattern::exact(path),
        ("~", regex) => PathPattern::regex(regex),
        _ => PathPattern::prefix(path),
    };
    let when = Conditions {
        host: HostPattern::parse(host).unwrap(),
        path: path_pattern.unwrap(),
        ..Conditions::default()
    };
    Route::new(
        &format!("{host} {path}"),
        when,
        Action::Forward(Forward::to(0)),
    )
}

pub(super) fn table(routes: Vec<Route>) -> RouteTable {
    let config = RoutesConfig {
        routes,
        ..RoutesConfig::default()
    };
    RouteTable::new(config, 1, 0, None).unwrap()
}

/// The name of the route that a GET gets, and the steps to it.
fn get<'t>(
    table: &'t RouteTable,
    host: &str,
    target: &str,
    fields: &[(&str, &str)],
) -> (&'t str, u32) {
    let request = RouteRequest {
        method: "GET",
        host: Some(host).filter(|host| !host.is_empty()),
        target,
        scheme: "http",
        client: [192, 0, 2, 1].into(),
        body: Body::Length(0),
        head_bytes: 100,
        fields: &Said(fields),
    };
    let (found, steps) = table.find(&request).unwrap();
    // Whoever asks why is told the same.
    let candidates = table.candidates(&request).unwrap();
    let first = candidates.iter().find(|it| it.unmet.is_none());
    assert_eq!(first.map(|it| it.route), found);
    (found.map_or("none", |at| &table.routes()[at].name), steps)
}

#[test]
fn the_most_specific_route_comes_first() {
    let table = table(vec![
        route("*", "/"),
        route("*.example.com", "/"),
        route("*.deep.example.com", "/"),
        route("a.example.com", "/x"),
        route("a.example.com", "/x/y"),
        route("a.example.com", "~/x/[0-9]+"),
        route("a.example.com", "=/x/7"),
        route("a.example.com", "=/x/y/"),
        route("b.example.com", "/only"),
        route("*", "=/any"),
    ]);
    for (host, target, expected) in [
        ("a.example.com", "/x", "a.example.com /x"),
        ("A.Example.Com:8080", "/x/", "a.example.com /x"),
        ("a.example.com", "/x/y", "a.example.com /x/y"),
        ("a.example.com", "/x/y/z", "a.example.com /x/y"),
        ("a.example.com", "/x/yz", "a.example.com /x"),
        ("a.example.com", "/x/y/", "a.example.com =/x/y/"),
        ("a.example.com", "/x/7", "a.example.com =/x/7"),
        ("a.example.com", "/x/7?q=1", "a.example.com =/x/7"),
        ("a.example.com", "/x/8", "a.example.com ~/x/[0-9]+"),
        ("a.example.com", "/x/8a", "a.example.com /x"),
        ("a.example.com", "/%78/y", "a.example.com /x/y"),
        ("a.example.com", "/other", "*.example.com /"),
        ("a.example.com", "/any", "*.example.com /"),
        ("b.example.com", "/only/1", "b.example.com /only"),
        ("b.example.com", "/", "*.example.com /"),
        ("x.y.example.com", "/", "*.example.com /"),
        ("x.deep.example.com", "/", "*.deep.example.com /"),
        ("deep.example.com", "/", "*.example.com /"),
        ("example.com", "/", "* /"),
        ("xexample.com", "/", "* /"),
        ("other", "/any", "* =/any"),
        ("other", "/any/", "* /"),
        ("", "/any", "* =/any"),
        ("[::1]:80", "*", "* /"),
    ] {
        assert_eq!(
            get(&table, host, target, &[]).0,
            expected,
            "{host} {target}"
        );
    }
}

#[test]
fn a_route_whose_conditions_are_not_met_is_passed_by() {
    let named = |mut route: Route, name: &str, field: Option<&str>| {
        route.name = name.into();
        route.when.fields = field
            .map(|name| FieldCondition {
                name: FieldName::parse(name).unwrap(),
                value: TextPattern::Present,
            })
            .into_iter()
            .collect();
        route
    };
    let table = table(vec![
        named(route("a", "/x"), "first", Some("x-a")),
        named(route("a", "/x"), "second", Some("x-b")),
        named(route("a", "=/x"), "exact", Some("x-c")),
        named(route("a", "/"), "shorter", Some("x-d")),
        named(route("*", "/x"), "all", None),
    ]);
    for (fields, expected) in [
        (&[("x-b", ""), ("x-a", "")][..], "first"),
        (&[("x-b", "")], "second"),
        (&[("x-a", ""), ("x-c", "")], "exact"),
        (&[("x-d", "")], "shorter"),
        (&[], "all"),
    ] {
        assert_eq!(get(&table, "a", "/x", fields).0, expected);
    }
    assert_eq!(get(&table, "a", "/y", &[]).0, "none");
}

/// Steps are what takes time: looks into maps, and conditions that are tried.
#[test]
fn the_way_to_a_route_is_not_longer_among_ten_thousand() {
    let table_of = |count: usize| {
        let mut routes = vec![route("*", "/"), route("*.example.com", "/")];
        for at in 0..count / 2 {
            routes.push(route(&format!("host{at}.example.com"), "/api/v1"));
            routes.push(route("shop.example.com", &format!("/items/{at}/detail")));
        }
        table(routes)
    };
    let (few, many) = (table_of(2), table_of(10_000));
    assert_eq!(many.routes().len(), 10_002);
    for (host, target, expected) in [
        ("host0.example.com", "/api/v1/x", 6),
        ("shop.example.com", "/items/0/detail", 6),
        // To the end of what the tree knows, and up again to the wider host.
        ("shop.example.com", "/items/0/other", 8),
        ("nobody.example.com", "/api/v1", 6),
        ("other", "/", 6),
    ] {
        for table in [&few, &many] {
            let (_, steps) = get(table, host, target, &[]);
            assert!(
                steps <= expected,
                "{host} {target}: {steps} of {expected} steps"
            );
        }
        assert_eq!(
            get(&few, host, target, &[]).1,
            get(&many, host, target, &[]).1,
            "{host} {target}"
        );
    }
    // A path of any length is walked as far as any route goes.
    let long = "/items".repeat(1_000);
    assert!(get(&many, "shop.example.com", &long, &[]).1 <= 8);
}

fn invalid(config: RoutesConfig) -> String {
    RouteTable::new(config, 2, 0, None).unwrap_err().field
}

fn invalid_route(change: impl FnOnce(&mut Route)) -> String {
    let mut changed = route("a", "~/x");
    change(&mut changed);
    invalid(RoutesConfig {
        routes: vec![route("*", "/"), changed],
        ..RoutesConfig::default()
    })
}

#[test]
fn what_could_not_be_carried_out_is_refused_by_its_field() {
    let forward = |change: fn(&mut Forward)| {
        invalid_route(|route| {
            let mut forward = Forward::to(0);
            change(&mut forward);
            route.action = Action::Forward(forward);
        })
    };
    assert_eq!(
        invalid_route(|route| route.name = "* /".into()),
        "routes[1].name"
    );
    assert_eq!(
        invalid_route(|route| route.name = "".into()),
        "routes[1].name"
    );
    let limits = |route: &mut Route| route.guard.rate_limits = vec!["none".into()];
    assert_eq!(invalid_route(limits), "routes[1].guard.rate_limits");
    assert_eq!(
        forward(|it| it.split = Split::to(2)),
        "routes[1].forward.split"
    );
    let split =
        |it: &mut Forward| it.split = Split::weighted(&[(0, 1), (7, 1)], SplitBy::Turn).unwrap();
    assert_eq!(forward(split), "routes[1].forward.split");
    let rewrite = |it: &mut Forward| it.rewrite.path = PathRewrite::prefix("/").unwrap();
    assert_eq!(forward(rewrite), "routes[1].forward.rewrite.prefix");
    let redirect = |route: &mut Route| {
        let path = PathRewrite::prefix("/").unwrap();
        let status = RedirectStatus::parse(301).unwrap();
        route.action = Action::Redirect(Redirect::new(status, None, None, path, true).unwrap());
    };
    assert_eq!(invalid_route(redirect), "routes[1].redirect.rewrite.prefix");
    let regexes: Vec<_> = (0..=64).map(|at| route("a", &format!("~/{at}"))).collect();
    let config = RoutesConfig {
        routes: regexes,
        ..RoutesConfig::default()
    };
    assert_eq!(invalid(config), "routes[0].path.regex");
    let config = RoutesConfig {
        limit_all: vec!["none".into()],
        ..RoutesConfig::default()
    };
    assert_eq!(invalid(config), "limit_all");
    let limit =
        || RateLimit::new("a", RequestKey::Source, (1, Duration::from_secs(1)), 1, 1).unwrap();
    let config = RoutesConfig {
        rate_limits: vec![limit(), limit()],
        ..RoutesConfig::default()
    };
    assert_eq!(invalid(config), "rate_limits[1].name");
    let nowhere = Redirect::new(RedirectStatus::Found, None, None, PathRewrite::Keep, true);
    assert_eq!(nowhere.unwrap_err().field, "redirect");
    assert_eq!(
        RedirectStatus::parse(304).unwrap_err().field,
        "redirect.status"
    );
}

#[test]
fn what_was_counted_is_counted_on_if_its_limit_is_the_same() {
    let config = |burst, source| RoutesConfig {
        rate_limits: vec![
            RateLimit::new(
                "a",
                RequestKey::Source,
                (1, Duration::from_secs(1)),
                burst,
                1,
            )
            .unwrap(),
        ],
        connections: ConnectionLimits::new(None, Some(source), 8).unwrap(),
        ..RoutesConfig::default()
    };
    let first = RouteTable::new(config(1, 1), 1, 0, None).unwrap();
    let same = RouteTable::new(config(1, 1), 1, 1, Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first.limiters[0], &same.limiters[0]));
    assert!(Arc::ptr_eq(
        first.connections().unwrap(),
        same.connections().unwrap()
    ));
    let other = RouteTable::new(config(2, 2), 1, 1, Some(&first)).unwrap();
    assert!(!Arc::ptr_eq(&first.limiters[0], &other.limiters[0]));
    assert!(!Arc::ptr_eq(
        first.connections().unwrap(),
        other.connections().unwrap()
    ));
    assert!(RouteTable::default().connections().is_none() && RouteTable::default().is_empty());
}

/// Rules of every kind stand beside one another.
#[test]
fn a_route_takes_all_its_rules() {
    let mut all = route("a.example.com", "/");
    all.guard.deny = Prefixes::parse(["192.0.2.0/24"]).unwrap();
    all.guard.methods = Some(Methods::parse(["GET"]).unwrap());
    all.action = Action::Forward(Forward {
        split: Split::weighted(&[(0, 9), (1, 1)], SplitBy::Key(RequestKey::Source)).unwrap(),
        rewrite: Rewrite {
            host: Some(Authority::parse("b.example.com").unwrap()),
            path: PathRewrite::prefix("/new").unwrap(),
        },
        request: crate::http1::FieldEdits::default(),
        timeouts: RouteTimeouts::default(),
        retries: Retries::NONE,
    });
    let mut fixed = route("a.example.com", "=/health");
    fixed.action = Action::Answer(FixedAnswer::new(200, Some("text/plain"), b"ok\n").unwrap());
    let config = RoutesConfig {
        routes: vec![all, fixed],
        ..RoutesConfig::default()
    };
    let table = RouteTable::new(config, 2, 0, None).unwrap();
    assert_eq!(
        get(&table, "a.example.com", "/health", &[]).0,
        "a.example.com =/health"
    );
}
