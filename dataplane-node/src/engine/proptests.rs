//! What the API takes, the engine takes too: whatever passes the model's checks can be built.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, LazyLock},
};

use lbfabric_model::{
    Apply, Command, CompiledFabric, Document, FabricState, Generation, NodeFacts, Outcome, Role,
};
use lbfabric_proto::v1;
use lbfabric_proxy::observe::{AccessLog, Sink};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{routes::RouteTables, transparent::Surroundings, wanted::Wanted, watching::Watching};
use crate::{
    plan::{Desired, HealthView},
    snapshot::HeldSnapshot,
};

const HOSTS: &[&str] = &[
    "",
    "*",
    "a.example",
    "*.example",
    "A.example",
    "[::1]",
    "192.0.2.1",
];
const AUTHORITIES: &[&str] = &["a.example", "a.example:80", "[::1]:8443"];
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a%20b", "/a%2Fb", "/a;b", "/..."];
const REGEXES: &[&str] = &["a", "(a)", "a|b", "(?i)a", "/[a-z]+", "(?<n>a)", "a{100}"];
const REPLACEMENTS: &[&str] = &["", "/x", "$0", "/$$", "/${0}a"];
const METHODS: &[&str] = &["GET", "POST", "M-SEARCH"];
const TYPES: &[&str] = &["application/json", "image/*", "text/plain"];
const NAMES: &[&str] = &["X-Tenant", "x-a", "Accept", "Server"];
const VALUES: &[&str] = &["", "a", "a b", "yes; q=1"];
const SOURCES: &[&str] = &[
    "192.0.2.0/24",
    "2001:db8::/32",
    "192.0.2.1",
    "0.0.0.0/0",
    "::ffff:0:0/96",
];

/// Mostly what is right, and else anything that might be taken for it.
fn text(right: &'static [&'static str]) -> BoxedStrategy<String> {
    prop_oneof![
        40 => select(right).prop_map(str::to_owned),
        2 => select(vec![
            "/a%2f", "/a/../b", "/..;x", "//", "/a//b", "/a\\b", "/%2E", "/a%", "a", "A", "a:80", "a b", "get", "CONNECT", "*/*", "Host",
            "Date", "Content-Length", "X-Forwarded-For", "192.0.2.1/24", "(", "a)(b", "$1", "${n}", "$2", "\\pL", "[", "a{1000}", "(\\w{90}){90}",
            "\u{e4}", " a", "a\tb", "a\r\nb", "\0", "text/plain; charset=utf-8",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => "/[ -~]{0,12}",
        1 => "[a-z()\\[\\]|*+?.\\\\^$]{0,10}",
        1 => (0usize..2_100).prop_map(|length| format!("/{}", "a".repeat(length))),
    ]
    .boxed()
}

fn texts(right: &'static [&'static str]) -> BoxedStrategy<Vec<String>> {
    let some = subsequence(right, 0..right.len());
    prop_oneof![
        20 => some.prop_map(|some| some.into_iter().map(str::to_owned).collect::<Vec<_>>()),
        1 => vec(text(right), 1..3),
        1 => text(right).prop_map(|it| vec![it; 33]),
    ]
    .boxed()
}

/// Mostly of a range, or left out.
fn number(right: RangeInclusive<u32>) -> BoxedStrategy<u32> {
    prop_oneof![
        30 => right,
        6 => Just(0u32),
        1 => select(vec![127, 128, 129, 16_384, 16_385, 1_000_000, 1_000_001, 1 << 20, 3_600_000, 86_400_000, 86_400_001]),
        1 => any::<u32>(),
    ]
    .boxed()
}

fn name() -> BoxedStrategy<String> {
    select(vec!["a", "b", "c", "long-name-of-a-pool-or-a-rate-limit"])
        .prop_map(str::to_owned)
        .boxed()
}

fn field() -> BoxedStrategy<v1::FieldMatchSpec> {
    (text(NAMES), text(VALUES), text(REGEXES), 0..3)
        .prop_map(|(name, exact, regex, pick)| v1::FieldMatchSpec {
            name,
            exact: if pick == 1 { exact } else { String::new() },
            regex: if pick == 2 { regex } else { String::new() },
        })
        .boxed()
}

fn conditions() -> BoxedStrategy<v1::RouteMatchSpec> {
    let path = (text(PATHS), text(REGEXES), 0..4);
    let fields = (vec(field(), 0..3), vec(field(), 0..2));
    (
        text(HOSTS),
        path,
        texts(METHODS),
        fields,
        texts(SOURCES),
        0..3,
    )
        .prop_map(
            |(host, (path, regex, pick), methods, (headers, query), sources, scheme)| {
                let at = |wanted| {
                    if pick == wanted {
                        path.clone()
                    } else {
                        String::new()
                    }
                };
                v1::RouteMatchSpec {
                    host,
                    path: at(1),
                    path_prefix: at(2),
                    path_regex: if pick == 3 { regex } else { String::new() },
                    methods,
                    headers,
                    query,
                    sources,
                    scheme,
                }
            },
        )
        .boxed()
}

fn edits() -> BoxedStrategy<v1::HeaderEditsSpec> {
    let header =
        || (text(NAMES), text(VALUES)).prop_map(|(name, value)| v1::HeaderSpec { name, value });
    (vec(header(), 0..2), vec(header(), 0..2), texts(NAMES))
        .prop_map(|(set, add, remove)| v1::HeaderEditsSpec { set, add, remove })
        .boxed()
}

fn key() -> BoxedStrategy<v1::RequestKeySpec> {
    (text(NAMES), 0..3)
        .prop_map(|(name, pick)| {
            let at = |wanted| {
                if pick == wanted {
                    name.clone()
                } else {
                    String::new()
                }
            };
            v1::RequestKeySpec {
                header: at(1),
                cookie: at(2),
            }
        })
        .boxed()
}

/// Host, one of three ways to write a path, and the regular expression.
type Place = (String, String, String, Option<v1::RegexRewriteSpec>);

fn place() -> BoxedStrategy<Place> {
    let regex = (text(REGEXES), text(REPLACEMENTS));
    (text(AUTHORITIES), text(PATHS), regex, 0..5)
        .prop_map(|(host, path, (pattern, replacement), pick)| {
            let at = |wanted| {
                if pick == wanted {
                    path.clone()
                } else {
                    String::new()
                }
            };
            let regex = (pick == 3).then_some(v1::RegexRewriteSpec {
                pattern,
                replacement,
            });
            let host = if pick % 2 == 0 { host } else { String::new() };
            (host, at(1), at(2), regex)
        })
        .boxed()
}

fn forward() -> BoxedStrategy<v1::RouteForwardSpec> {
    let part = (name(), option::of(number(0..=1_000)))
        .prop_map(|(pool, weight)| v1::SplitSpec { pool, weight });
    let timeouts = [(); 4].map(|()| number(1..=86_400_000)).prop_map(
        |[connect_ms, total_ms, silence_ms, tunnel_ms]| v1::RouteTimeoutsSpec {
            connect_ms,
            total_ms,
            silence_ms,
            tunnel_ms,
        },
    );
    let retries = (
        number(1..=10),
        subsequence(&[1, 2, 3, 4, 5, 6][..], 0..3),
        number(1..=100),
        any::<bool>(),
    )
        .prop_map(
            |(attempts, on, budget_percent, any_method)| v1::RouteRetriesSpec {
                attempts,
                on,
                budget_percent,
                any_method,
            },
        );
    (
        option::of(name()),
        vec(part, 0..3),
        option::of(key()),
        option::of(place()),
        option::of(edits()),
        option::of(timeouts),
        option::of(retries),
    )
        .prop_map(
            |(pool, split, split_by, place, request_headers, timeouts, retries)| {
                let rewrite = place.map(|(host, path, path_prefix, path_regex)| v1::RewriteSpec {
                    host,
                    path,
                    path_prefix,
                    path_regex,
                });
                v1::RouteForwardSpec {
                    pool: pool.filter(|_| split.is_empty()).unwrap_or_default(),
                    split_by: split_by.filter(|_| !split.is_empty()),
                    split,
                    rewrite,
                    request_headers,
                    timeouts,
                    retries,
                }
            },
        )
        .boxed()
}

fn route() -> BoxedStrategy<v1::RouteSpec> {
    let redirect = (
        select(vec![0, 301, 302, 303, 307, 308, 304]),
        0..4,
        place(),
        any::<bool>(),
    )
        .prop_map(
            |(status, scheme, (host, path, path_prefix, path_regex), drop_query)| {
                v1::RouteRedirectSpec {
                    status,
                    scheme,
                    host,
                    path,
                    path_prefix,
                    path_regex,
                    drop_query,
                }
            },
        );
    let answer =
        (number(200..=599), text(TYPES), text(VALUES)).prop_map(|(status, content_type, body)| {
            v1::RouteAnswerSpec {
                status,
                content_type,
                body,
            }
        });
    let limits = (
        option::of(any::<u64>()),
        number(128..=16_384),
        number(1..=128),
    )
        .prop_map(|(body_bytes, head_bytes, fields)| v1::RouteLimitsSpec {
            body_bytes,
            head_bytes,
            fields,
        });
    let actions = prop_oneof![
        3 => forward().prop_map(|it| (Some(it), None, None)),
        2 => redirect.prop_map(|it| (None, Some(it), None)),
        2 => answer.prop_map(|it| (None, None, Some(it))),
    ];
    (
        option::of(conditions()),
        actions,
        option::of(edits()),
        (texts(SOURCES), texts(METHODS), texts(TYPES)),
        option::of(limits),
        vec(name(), 0..2),
    )
        .prop_map(
            |(
                r#match,
                (forward, redirect, answer),
                response_headers,
                lists,
                limits,
                rate_limits,
            )| {
                let (deny_sources, allow_methods, allow_content_types) = lists;
                v1::RouteSpec {
                    name: "r".to_owned(),
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
                }
            },
        )
        .boxed()
}

fn proxy() -> BoxedStrategy<v1::ProxySpec> {
    let rate = (
        name(),
        [
            number(1..=1_000_000),
            number(100..=3_600_000),
            number(1..=1_000_000),
        ],
        option::of(key()),
        any::<bool>(),
    )
        .prop_map(|(name, [requests, per_ms, burst], key, every_request)| {
            v1::RequestRateSpec {
                name,
                requests: requests.max(1),
                per_ms,
                burst,
                key,
                every_request,
                values: 64,
            }
        });
    let connections = [(); 2]
        .map(|()| number(1..=10_000_000))
        .prop_map(|[service, source]| v1::ConnectionLimitsSpec {
            service,
            source,
            sources: 64,
        });
    let policy = any::<[bool; 4]>().prop_map(|[dots, empty, keep, escaped]| v1::PathPolicySpec {
        refuse_dot_segments: dots,
        refuse_empty_segments: empty,
        keep_empty_segments: keep,
        refuse_escaped_slashes: escaped,
    });
    (
        vec(route(), 0..2),
        vec(rate, 0..3),
        texts(SOURCES),
        option::weighted(0.2, connections),
        option::weighted(0.2, policy),
    )
        .prop_map(
            |(mut routes, mut rate_limits, deny_sources, connection_limits, path_policy)| {
                // Names that are there, and each once, more often than by chance.
                for (n, rate) in rate_limits.iter_mut().enumerate() {
                    rate.name = format!("rate-{n}");
                }
                let known: Vec<_> = rate_limits.iter().map(|it| it.name.clone()).collect();
                for (n, route) in routes.iter_mut().enumerate() {
                    route.name = format!("route-{n}");
                    if !route.rate_limits.is_empty() {
                        route.rate_limits.clone_from(&known);
                    }
                }
                v1::ProxySpec {
                    routes,
                    rate_limits,
                    deny_sources,
                    connection_limits,
                    path_policy,
                    ..v1::ProxySpec::default()
                }
            },
        )
        .boxed()
}

pub(super) fn fabric(proxy: v1::ProxySpec) -> v1::FabricSpec {
    let pool = |name: &str| v1::PoolSpec {
        name: name.to_owned(),
        ..v1::PoolSpec::default()
    };
    v1::FabricSpec {
        pools: ["a", "b", "c", "long-name-of-a-pool-or-a-rate-limit"]
            .map(pool)
            .into(),
        services: vec![v1::ServiceSpec {
            name: "web".to_owned(),
            vips: vec!["203.0.113.1".to_owned(), "2001:db8::1".to_owned()],
            ports: vec!["80-81".to_owned()],
            mode: v1::Mode::L7Reverse.into(),
            pool: "b".to_owned(),
            proxy: Some(proxy),
            ..v1::ServiceSpec::default()
        }],
        ..v1::FabricSpec::default()
    }
}

/// What a node is told of a fabric; none if the API refuses it.
pub(super) fn told(spec: &v1::FabricSpec) -> Option<Desired> {
    let document = Document::parse(spec).ok()?;
    let mut state = FabricState::default();
    state.apply(Generation(1), &Command::SetHashKey([1; 16]));
    let apply = Command::Apply(Apply {
        document,
        prune: false,
        expected_generation: None,
    });
    let outcome = state.apply(Generation(2), &apply);
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    let facts = NodeFacts {
        name: "node".to_owned(),
        role: Role::LoadBalancer,
        addresses: Vec::new(),
    };
    let snapshot = CompiledFabric::compile(&state, None).for_node(&facts);
    let mut held = HeldSnapshot::default();
    held.apply(snapshot.delta(&BTreeMap::new()))
        .expect("it adds up");
    let desired = Desired::decode(&held);
    assert_eq!(desired.undecodable, BTreeMap::new());
    Some(desired)
}

/// It sees nothing, as nothing is served.
pub(super) static WATCHING: LazyLock<Watching> = LazyLock::new(|| Watching {
    metrics: Arc::default(),
    log: Arc::new(AccessLog::start(Sink::Nowhere).expect("a thread")),
    spans: None,
});

/// Builds all that the engine is told; whether there was anything.
pub(super) fn build(spec: &v1::FabricSpec) -> bool {
    let Some(desired) = told(spec) else {
        return false;
    };
    let around = Surroundings {
        subnets: &[],
        own: &[],
        local_ports: (32_768, 60_999),
    };
    let (health, before) = (HealthView::default(), BTreeMap::new());
    let wanted = Wanted::new(&desired, &health, &before, None, around);
    assert_eq!(wanted.refusals, BTreeMap::new());
    assert_eq!(wanted.parts.len(), 4);
    let mut tables = RouteTables::default();
    for (key, part) in wanted.parts {
        let id = lbfabric_model::ServiceId(key.id);
        let table = part
            .behaviour
            .table(id, &mut tables)
            .expect("the API has taken it");
        let ways = (table, part.behaviour.sni().expect("the same"));
        let config = part.behaviour.config(None, None, ways, &WATCHING);
        assert!(!config.pools.is_empty());
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_the_api_takes_can_be_built(proxy in proxy()) {
        build(&fabric(proxy));
    }
}

/// Without this the property could hold because nothing passes.
#[test]
fn much_of_what_is_tried_is_taken() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let taken = (0..1_000).filter(|_| {
        let proxy = proxy().new_tree(&mut runner).expect("a value").current();
        !proxy.routes.is_empty() && build(&fabric(proxy))
    });
    let taken = taken.count();
    assert!(taken > 50, "{taken} of 1,000");
}
