use super::*;

fn parse(spec: &v1::ProxySpec) -> (Routing, Vec<String>) {
    let mut violations = Vec::new();
    let parsed = Routing::parse(spec, "p", &mut violations);
    (parsed, violations.into_iter().map(|v| v.path).collect())
}

fn route(name: &str) -> v1::RouteSpec {
    v1::RouteSpec {
        name: name.to_owned(),
        ..v1::RouteSpec::default()
    }
}

fn forward(name: &str, forward: v1::RouteForwardSpec) -> v1::RouteSpec {
    v1::RouteSpec {
        forward: Some(forward),
        ..route(name)
    }
}

fn with(routes: Vec<v1::RouteSpec>) -> v1::ProxySpec {
    v1::ProxySpec {
        routes,
        ..v1::ProxySpec::default()
    }
}

fn when(r#match: v1::RouteMatchSpec) -> v1::RouteSpec {
    v1::RouteSpec {
        r#match: Some(r#match),
        ..route("r")
    }
}

/// The mistakes of one route, without its own path.
fn mistakes(route: v1::RouteSpec) -> Vec<String> {
    let paths = parse(&with(vec![route])).1.into_iter();
    paths
        .map(|path| {
            let rest = path.strip_prefix("p.routes[0]").expect("of the route");
            rest.trim_start_matches('.').to_owned()
        })
        .collect()
}

#[test]
fn what_is_left_out_is_filled_in() {
    let spec = v1::ProxySpec {
        routes: vec![
            route("plain"),
            forward(
                "split",
                v1::RouteForwardSpec {
                    split: vec![
                        v1::SplitSpec {
                            pool: "a".to_owned(),
                            weight: None,
                        },
                        v1::SplitSpec {
                            pool: "b".to_owned(),
                            weight: Some(0),
                        },
                    ],
                    retries: Some(v1::RouteRetriesSpec::default()),
                    ..v1::RouteForwardSpec::default()
                },
            ),
            v1::RouteSpec {
                redirect: Some(v1::RouteRedirectSpec {
                    scheme: v1::HttpScheme::Https.into(),
                    ..v1::RouteRedirectSpec::default()
                }),
                ..route("secure")
            },
            v1::RouteSpec {
                answer: Some(v1::RouteAnswerSpec {
                    body: "hello".to_owned(),
                    ..v1::RouteAnswerSpec::default()
                }),
                deny_sources: vec!["192.0.2.0/24".to_owned()],
                ..route("hello")
            },
        ],
        rate_limits: vec![v1::RequestRateSpec {
            name: "all".to_owned(),
            requests: 5,
            ..v1::RequestRateSpec::default()
        }],
        connection_limits: Some(v1::ConnectionLimitsSpec::default()),
        ..v1::ProxySpec::default()
    };
    let (parsed, mistakes) = parse(&spec);
    assert_eq!(mistakes, Vec::<String>::new());
    let [plain, split, secure, hello] = parsed.routes() else {
        panic!("four routes");
    };
    assert_eq!(plain.forward, Some(v1::RouteForwardSpec::default()));
    let split = split.forward.as_ref().unwrap();
    assert_eq!(split.split[0].weight, Some(1));
    let retries = split.retries.as_ref().unwrap();
    assert_eq!((retries.attempts, retries.budget_percent), (1, 20));
    assert_eq!(retries.on, [1, 2]);
    assert_eq!(secure.forward, None);
    assert_eq!(secure.redirect.as_ref().unwrap().status, 302);
    let answer = hello.answer.as_ref().unwrap();
    assert_eq!(answer.content_type, "text/plain; charset=utf-8");
    let rate = &parsed.rate_limits()[0];
    assert_eq!((rate.per_ms, rate.burst, rate.values), (1_000, 5, 65_536));
    let filled = parsed.to_spec();
    assert_eq!(parse(&filled), (parsed.clone(), vec![]));
    let names: Vec<_> = parsed.pools().into_iter().map(Name::as_str).collect();
    assert_eq!(names, ["a", "b"]);
    let fields: Vec<_> = parsed.pool_fields().map(|(at, _)| at.to_string()).collect();
    let path = |part| format!("proxy.routes[1].forward.split[{part}].pool");
    assert_eq!(fields, [path(0), path(1)]);
}

#[test]
fn conditions_that_no_request_could_meet_are_refused() {
    let field = |name: &str, exact: &str, regex: &str| v1::FieldMatchSpec {
        name: name.to_owned(),
        exact: exact.to_owned(),
        regex: regex.to_owned(),
    };
    let route = when(v1::RouteMatchSpec {
        host: "www.example.com:80".to_owned(),
        path: "/a".to_owned(),
        path_prefix: "b".to_owned(),
        path_regex: "(".to_owned(),
        methods: vec!["GET".to_owned(), "get".to_owned(), "GET".to_owned()],
        headers: vec![field("a b", "", ""), field("a", "b", "c")],
        query: vec![field("", "", "("), field("any thing", "", "")],
        sources: vec!["192.0.2.1/24".to_owned()],
        scheme: 3,
    });
    assert_eq!(
        mistakes(route),
        [
            "match.host",
            "match.path_prefix",
            "match.path_regex",
            "match.path_prefix",
            "match.methods[1]",
            "match.methods[2]",
            "match.headers[0].name",
            "match.headers[1]",
            "match.query[0].name",
            "match.query[0].regex",
            "match.scheme",
            "match.sources[0]",
        ]
    );
}

#[test]
fn actions_that_could_not_be_carried_out_are_refused() {
    let header = |name: &str, value: &str| v1::HeaderSpec {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let spec = v1::RouteForwardSpec {
        pool: "a".to_owned(),
        split: vec![v1::SplitSpec {
            pool: "B".to_owned(),
            weight: Some(0),
        }],
        split_by: Some(v1::RequestKeySpec {
            header: "a".to_owned(),
            cookie: "b".to_owned(),
        }),
        rewrite: Some(v1::RewriteSpec {
            host: "*.a".to_owned(),
            path: "/a/../b".to_owned(),
            path_prefix: String::new(),
            path_regex: Some(v1::RegexRewriteSpec {
                pattern: "a".to_owned(),
                replacement: "$1".to_owned(),
            }),
        }),
        request_headers: Some(v1::HeaderEditsSpec {
            set: vec![header("Host", "a"), header("A", "b\r\nC: d")],
            add: vec![header("X-Forwarded-For", "a")],
            remove: vec!["Content-Length".to_owned()],
        }),
        timeouts: Some(v1::RouteTimeoutsSpec {
            total_ms: TIME_MS_MAX + 1,
            ..v1::RouteTimeoutsSpec::default()
        }),
        retries: Some(v1::RouteRetriesSpec {
            attempts: 11,
            on: vec![1, 1, 6],
            budget_percent: 101,
            any_method: false,
        }),
    };
    assert_eq!(
        mistakes(forward("r", spec)),
        [
            "forward.split",
            "forward.split_by",
            "forward.request_headers.set[0].name",
            "forward.request_headers.set[1].value",
            "forward.request_headers.add[0].name",
            "forward.request_headers.remove[0]",
            "forward.timeouts.total_ms",
            "forward.split[0].pool",
            "forward.split",
            "forward.rewrite.path",
            "forward.rewrite.path_regex.replacement",
            "forward.rewrite.path_regex",
            "forward.rewrite.host",
            "forward.retries.on[1]",
            "forward.retries.on[2]",
            "forward.retries.attempts",
            "forward.retries.budget_percent",
        ]
    );
    let redirect = |redirect| v1::RouteSpec {
        redirect: Some(redirect),
        ..when(v1::RouteMatchSpec {
            path: "/a".to_owned(),
            ..v1::RouteMatchSpec::default()
        })
    };
    let nowhere = v1::RouteRedirectSpec {
        status: 304,
        ..v1::RouteRedirectSpec::default()
    };
    assert_eq!(mistakes(redirect(nowhere)), ["redirect.status", "redirect"]);
    let prefix = v1::RouteRedirectSpec {
        path_prefix: "/b".to_owned(),
        ..v1::RouteRedirectSpec::default()
    };
    assert_eq!(mistakes(redirect(prefix)), ["redirect.path_prefix"]);
    let answer = |status, content_type: &str, body: &str| v1::RouteSpec {
        answer: Some(v1::RouteAnswerSpec {
            status,
            content_type: content_type.to_owned(),
            body: body.to_owned(),
        }),
        ..route("r")
    };
    assert_eq!(mistakes(answer(199, "", "")), ["answer.status"]);
    assert_eq!(mistakes(answer(204, "", "a")), ["answer.body"]);
    assert_eq!(mistakes(answer(200, "a/b", "")), ["answer.content_type"]);
    let large = "a".repeat((64 << 10) + 1);
    assert_eq!(mistakes(answer(200, "", &large)), ["answer.body"]);
    let both = v1::RouteSpec {
        forward: Some(v1::RouteForwardSpec::default()),
        ..answer(200, "", "")
    };
    assert_eq!(mistakes(both), [""]);
}

const TIME_MS_MAX: u32 = 86_400_000;

#[test]
fn what_a_service_says_as_a_whole_is_checked() {
    let regex = |i: usize| v1::RouteSpec {
        name: format!("r{i}"),
        ..when(v1::RouteMatchSpec {
            path_regex: "/a+".to_owned(),
            ..v1::RouteMatchSpec::default()
        })
    };
    let limited = v1::RouteSpec {
        rate_limits: vec!["one".to_owned(), "two".to_owned()],
        limits: Some(v1::RouteLimitsSpec {
            body_bytes: Some(0),
            head_bytes: 127,
            fields: 129,
        }),
        allow_methods: vec!["CONNECT".to_owned()],
        allow_content_types: vec!["json".to_owned()],
        ..route("limited")
    };
    let routes = (0..65).map(regex).chain([limited.clone(), limited]);
    let rate = v1::RequestRateSpec {
        name: "one".to_owned(),
        requests: 0,
        per_ms: 99,
        values: (1 << 20) + 1,
        ..v1::RequestRateSpec::default()
    };
    let spec = v1::ProxySpec {
        routes: routes.collect(),
        deny_sources: vec!["everybody".to_owned()],
        rate_limits: vec![rate.clone(), rate],
        connection_limits: Some(v1::ConnectionLimitsSpec {
            service: 10_000_001,
            source: 0,
            sources: (1 << 20) + 1,
        }),
        path_policy: Some(v1::PathPolicySpec {
            refuse_empty_segments: true,
            keep_empty_segments: true,
            ..v1::PathPolicySpec::default()
        }),
        ..v1::ProxySpec::default()
    };
    let (_, found) = parse(&spec);
    let mut expected = Vec::new();
    for i in 0..2 {
        for field in ["requests", "per_ms", "values"] {
            expected.push(format!("p.rate_limits[{i}].{field}"));
        }
    }
    for i in 65..67 {
        for field in [
            "allow_methods[0]",
            "allow_content_types[0]",
            "limits.head_bytes",
            "limits.fields",
        ] {
            expected.push(format!("p.routes[{i}].{field}"));
        }
    }
    expected.extend(
        [
            "p.deny_sources[0]",
            "p.connection_limits.service",
            "p.connection_limits.sources",
            "p.rate_limits[1].name",
            "p.routes[66].name",
            "p.routes[65].rate_limits[1]",
            "p.routes[66].rate_limits[1]",
            "p.routes[64].match.path_regex",
            "p.path_policy.keep_empty_segments",
        ]
        .map(str::to_owned),
    );
    assert_eq!(found, expected);
}

#[test]
fn there_is_room_for_as_many_routes_as_are_said() {
    let routes = |count: usize| with((0..count).map(|i| route(&format!("r{i}"))).collect());
    assert_eq!(parse(&routes(ROUTES_MAX)).1, Vec::<String>::new());
    assert_eq!(parse(&routes(ROUTES_MAX + 1)).1, ["p.routes"]);
    let large = |i: usize| v1::RouteSpec {
        answer: Some(v1::RouteAnswerSpec {
            body: "a".repeat(64 << 10),
            ..v1::RouteAnswerSpec::default()
        }),
        ..route(&format!("r{i}"))
    };
    let spec = with((0..32).map(large).collect());
    assert_eq!(parse(&spec).1, ["p.routes"]);
}
