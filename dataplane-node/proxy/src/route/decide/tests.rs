use super::*;
use crate::{
    http1::Body,
    route::{
        Authority, Conditions, ContentTypes, FieldEdit, FieldName, FieldValue, FixedAnswer,
        HostPattern, Methods, PathPattern, PathRewrite, Prefixes, RateLimit, Redirect,
        RedirectStatus, RequestKey, Route, RouteLimits, RoutesConfig, Scheme, Side, Split, compile,
        request::tests::Said,
    },
};

/// A request of a test, and what becomes of it.
#[derive(Clone)]
struct Asked {
    method: &'static str,
    host: Option<&'static str>,
    target: &'static str,
    client: &'static str,
    body: Body,
    head_bytes: usize,
    fields: Vec<(&'static str, &'static str)>,
    turn: u64,
    now: Duration,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            method: "GET",
            host: Some("a.example:8080"),
            target: "/",
            client: "192.0.2.1",
            body: Body::Length(0),
            head_bytes: 100,
            fields: Vec::new(),
            turn: 0,
            now: Duration::from_secs(100),
        }
    }
}

impl Asked {
    fn of<'t>(&self, table: &'t RouteTable) -> Decision<'t> {
        let request = RouteRequest {
            method: self.method,
            host: self.host,
            target: self.target,
            scheme: "http",
            client: self.client.parse().unwrap(),
            body: self.body,
            head_bytes: self.head_bytes,
            fields: &Said(&self.fields),
        };
        // Whoever only looks sees what is decided, and takes no part in it.
        let seen = format!("{:?}", table.peek(&request, self.turn, self.now));
        let decision = table.decide(&request, self.turn, || self.now);
        assert_eq!(seen, format!("{decision:?}"));
        decision
    }

    fn way(&self, table: &RouteTable) -> Way {
        match self.of(table) {
            Decision::Forward(way) => way,
            Decision::Answer { answer, .. } => panic!("{answer:?}"),
        }
    }

    /// Status, fields and cause.
    fn answer(&self, table: &RouteTable) -> (u16, String, &'static str) {
        match self.of(table) {
            Decision::Forward(way) => panic!("{way:?}"),
            Decision::Answer { answer, .. } => (
                answer.status,
                String::from_utf8(answer.lines).unwrap(),
                answer.cause,
            ),
        }
    }
}

fn table(change: impl FnOnce(&mut Route)) -> RouteTable {
    let mut route = Route::new(
        "all",
        Conditions::default(),
        Action::Forward(Forward::to(1)),
    );
    change(&mut route);
    let config = RoutesConfig {
        routes: vec![route],
        rate_limits: vec![
            RateLimit::new(
                "slow",
                RequestKey::Source,
                (1, Duration::from_secs(10)),
                2,
                64,
            )
            .unwrap(),
        ],
        ..RoutesConfig::default()
    };
    RouteTable::new(config, 3, 0, None).unwrap()
}

#[test]
fn without_rules_everything_goes_to_the_first_pool() {
    let table = RouteTable::default();
    assert!(table.is_empty());
    let asked = Asked {
        target: "/../%zz",
        ..Asked::default()
    };
    assert_eq!(asked.way(&table), Way::default());
    assert!(table.forward(None).is_none());
}

#[test]
fn requests_that_no_route_is_for_get_a_404_and_odd_paths_a_400() {
    let table = table(|route| route.when.host = HostPattern::parse("b.example").unwrap());
    assert_eq!(Asked::default().answer(&table).0, 404);
    let odd = Asked {
        target: "/a/%2e%2e/../x",
        ..Asked::default()
    };
    let (status, _, cause) = odd.answer(&table);
    assert_eq!((status, cause), (400, "path-leaves-root"));
    let there = Asked {
        host: Some("B.example"),
        ..Asked::default()
    };
    assert_eq!(there.way(&table).pool, 1);
}

#[test]
fn denied_clients_get_a_403_of_the_service_and_of_a_route() {
    let deny = || Prefixes::parse(["192.0.2.0/24", "2001:db8::/32"]).unwrap();
    let of_service = RoutesConfig {
        deny: deny(),
        ..RoutesConfig::default()
    };
    let of_service = RouteTable::new(of_service, 1, 0, None).unwrap();
    let of_route = table(|route| route.guard.deny = deny());
    for table in [of_service, of_route] {
        assert!(!table.is_empty());
        for (client, is_denied) in [
            ("192.0.2.9", true),
            ("2001:db8::1", true),
            ("198.51.100.1", false),
        ] {
            let asked = Asked {
                client,
                ..Asked::default()
            };
            let is_answered = matches!(asked.of(&table), Decision::Answer { .. });
            assert_eq!(is_answered, is_denied, "{client}");
        }
        assert_eq!(Asked::default().answer(&table).0, 403);
    }
}

#[test]
fn requests_have_to_be_what_a_route_declares() {
    let table = table(|route| {
        route.guard.methods = Some(Methods::parse(["GET", "POST"]).unwrap());
        route.guard.content_types = Some(ContentTypes::parse(["application/json"]).unwrap());
        route.guard.limits = RouteLimits::new(Some(1_000), Some(512), Some(2)).unwrap();
    });
    let good = Asked {
        method: "POST",
        body: Body::Length(1_000),
        head_bytes: 512,
        fields: vec![("content-type", "application/json"), ("x-a", "")],
        ..Asked::default()
    };
    assert_eq!(good.way(&table).pool, 1);
    let status = |change: fn(&mut Asked)| {
        let mut asked = good.clone();
        change(&mut asked);
        asked.answer(&table)
    };
    let (refused, lines, cause) = status(|it| it.method = "DELETE");
    assert_eq!((refused, cause), (405, "method"));
    assert!(lines.contains("Allow: GET, POST\r\n"), "{lines}");
    assert_eq!(status(|it| it.body = Body::Length(1_001)).0, 413);
    assert_eq!(status(|it| it.fields[0].1 = "text/plain").0, 415);
    assert_eq!(status(|it| it.fields.truncate(0)).0, 415);
    assert_eq!(status(|it| it.fields.push(("x-b", ""))).0, 431);
    assert_eq!(status(|it| it.head_bytes = 513).0, 431);
    let mut without = good.clone();
    (without.body, without.fields) = (Body::Length(0), Vec::new());
    assert_eq!(
        without.way(&table).pool,
        1,
        "what has no body needs no type"
    );
    for limits in [
        RouteLimits::new(None, Some(1), None),
        RouteLimits::new(None, None, Some(129)),
    ] {
        assert!(limits.unwrap_err().field.starts_with("limits."));
    }
}

#[test]
fn too_many_requests_get_a_429_that_says_when_to_come_back() {
    let of_route = table(|route| route.guard.rate_limits = vec!["slow".into()]);
    let of_service = RoutesConfig {
        rate_limits: vec![
            RateLimit::new(
                "slow",
                RequestKey::Source,
                (1, Duration::from_secs(10)),
                2,
                64,
            )
            .unwrap(),
        ],
        limit_all: vec!["slow".into()],
        ..RoutesConfig::default()
    };
    let of_service = RouteTable::new(of_service, 3, 0, None).unwrap();
    for table in [of_route, of_service] {
        let asked = Asked::default();
        asked.way(&table);
        asked.way(&table);
        let (status, lines, cause) = asked.answer(&table);
        assert_eq!((status, cause), (429, "rate"));
        assert!(lines.contains("Retry-After: 10\r\n"), "{lines}");
        let later = |millis| Asked {
            now: asked.now + Duration::from_millis(millis),
            ..Asked::default()
        };
        assert!(later(9_001).answer(&table).1.contains("Retry-After: 1\r\n"));
        later(10_000).way(&table);
        let other = Asked {
            client: "192.0.2.2",
            ..Asked::default()
        };
        other.way(&table);
    }
}

#[test]
fn targets_and_pools_are_decided() {
    let table = table(|route| {
        route.when.path = PathPattern::prefix("/api").unwrap();
        let mut forward = Forward::to(0);
        forward.split = Split::weighted(&[(0, 1), (2, 1)], SplitBy::Turn).unwrap();
        forward.rewrite.path = PathRewrite::prefix("/").unwrap();
        route.action = Action::Forward(forward);
    });
    let way = |turn| {
        let asked = Asked {
            target: "/api/./x?y=/api/../z",
            turn,
            ..Asked::default()
        };
        asked.way(&table)
    };
    assert_eq!(way(0).target.as_deref(), Some("/x?y=/api/../z"));
    let seconds = (0..100).filter(|turn| way(*turn).pool == 2).count();
    assert!((49..=51).contains(&seconds), "{seconds}");
    assert!(table.forward(way(0).route).is_some());
}

#[test]
fn a_value_goes_the_same_way_always() {
    let table = table(|route| {
        let mut forward = Forward::to(0);
        let key = RequestKey::Field(FieldName::parse("x-user").unwrap());
        forward.split = Split::weighted(&[(0, 1), (2, 1)], SplitBy::Key(key)).unwrap();
        route.action = Action::Forward(forward);
    });
    let pool = |user, turn| {
        let asked = Asked {
            fields: vec![("x-user", user)],
            turn,
            ..Asked::default()
        };
        asked.way(&table).pool
    };
    let users = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let pools: Vec<_> = users.iter().map(|user| pool(user, 1)).collect();
    assert!(pools.contains(&0) && pools.contains(&2), "{pools:?}");
    for (user, first) in users.into_iter().zip(pools) {
        assert!((0..50).all(|turn| pool(user, turn) == first));
    }
}

#[test]
fn redirects_lead_where_they_say() {
    let location = |redirect: (Option<Scheme>, Option<&str>, PathRewrite, bool), asked: &Asked| {
        let table = table(|route| {
            route.when.path = PathPattern::prefix("/old").unwrap();
            let (scheme, host, path, query) = redirect;
            let host = host.map(|host| Authority::parse(host).unwrap());
            let status = RedirectStatus::parse(308).unwrap();
            route.action =
                Action::Redirect(Redirect::new(status, scheme, host, path, query).unwrap());
        });
        let (status, lines, _) = asked.answer(&table);
        let location = lines
            .lines()
            .find_map(|line| line.strip_prefix("Location: "));
        (status, location.unwrap_or_default().to_owned())
    };
    let asked = Asked {
        target: "/old//evil.example/%7ex?q=1",
        ..Asked::default()
    };
    let https = || (Some(Scheme::Https), None, PathRewrite::Keep, true);
    for (redirect, expected) in [
        (https(), "https://a.example/old/evil.example/~x?q=1"),
        (
            (
                Some(Scheme::Https),
                Some("b.example:8443"),
                PathRewrite::Keep,
                false,
            ),
            "https://b.example:8443/old/evil.example/~x",
        ),
        (
            (
                None,
                Some("b.example"),
                PathRewrite::whole("/new").unwrap(),
                true,
            ),
            "http://b.example/new?q=1",
        ),
        (
            (None, None, PathRewrite::prefix("/").unwrap(), false),
            "http://a.example:8080/evil.example/~x",
        ),
        (
            (
                None,
                None,
                PathRewrite::substitute("^/old", "/new").unwrap(),
                false,
            ),
            "http://a.example:8080/new/evil.example/~x",
        ),
    ] {
        assert_eq!(location(redirect, &asked), (308, expected.to_owned()));
    }
    let nobody = Asked {
        host: None,
        target: "/old",
        ..Asked::default()
    };
    assert_eq!(location(https(), &nobody).0, 400);
}

#[test]
fn answers_have_the_fields_that_a_route_gives_them() {
    let table = table(|route| {
        route.action = Action::Answer(FixedAnswer::new(200, Some("text/plain"), b"ok").unwrap());
        let name = |text| FieldName::parse(text).unwrap();
        let value = |text| FieldValue::parse(text).unwrap();
        let edits = [
            FieldEdit::Set(name("content-type"), value("text/html")),
            FieldEdit::Add(name("x-frame-options"), value("DENY")),
        ];
        route.answer = compile(&edits, Side::Answer).unwrap();
    });
    let (status, lines, cause) = Asked::default().answer(&table);
    assert_eq!((status, cause), (200, "fixed"));
    assert_eq!(
        lines,
        "Content-Type: text/html\r\nX-Frame-Options: DENY\r\n"
    );
}
