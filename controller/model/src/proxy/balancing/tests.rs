use super::*;
use crate::SameSite;

fn parse(spec: &v1::BalancingSpec, has_tls: bool) -> (Balancing, Vec<String>) {
    let mut violations = Vec::new();
    let parsed = Balancing::parse(spec, has_tls, "b", &mut violations);
    (parsed, violations.into_iter().map(|v| v.path).collect())
}

fn cookie(name: &str) -> v1::StickyCookieSpec {
    v1::StickyCookieSpec {
        name: name.to_owned(),
        ..v1::StickyCookieSpec::default()
    }
}

#[test]
fn everything_has_a_default() {
    let (parsed, mistakes) = parse(&v1::BalancingSpec::default(), false);
    assert_eq!((&parsed, mistakes), (&Balancing::default(), vec![]));
    let spec = v1::BalancingSpec {
        algorithm: v1::BalancingAlgorithm::Hash.into(),
        sticky_cookie: Some(cookie("server")),
        outlier_ejection: Some(v1::OutlierEjectionSpec::default()),
        ..v1::BalancingSpec::default()
    };
    for has_tls in [false, true] {
        let (parsed, mistakes) = parse(&spec, has_tls);
        assert_eq!(mistakes, Vec::<String>::new());
        let cookie = parsed.sticky_cookie.clone().unwrap();
        assert_eq!((cookie.path.as_str(), cookie.secure), ("/", has_tls));
        assert!(cookie.http_only && cookie.same_site == SameSite::Lax);
        assert_eq!(parsed.outlier_ejection, Some(OutlierEjection::default()));
        // Filled in, it means the same, whatever the service speaks.
        let filled = parsed.to_spec();
        assert_eq!(parse(&filled, !has_tls), (parsed, vec![]));
    }
}

#[test]
fn what_is_said_is_kept() {
    let spec = v1::BalancingSpec {
        algorithm: v1::BalancingAlgorithm::Hash.into(),
        hash: Some(v1::HashSpec {
            on: Some(hash_spec::On::Header("x-tenant".to_owned())),
            bound_percent: 125,
        }),
        latency_decay_ms: 0,
        sticky_cookie: Some(v1::StickyCookieSpec {
            name: "lb".to_owned(),
            path: "/app".to_owned(),
            http_only: Some(false),
            secure: Some(true),
            same_site: v1::SameSite::None.into(),
            max_age_secs: MAX_AGE,
        }),
        slow_start_ms: TIME_MS_MAX,
        outlier_ejection: Some(v1::OutlierEjectionSpec {
            consecutive_failures: Some(0),
            failure_percent: Some(1),
            requests_min: 1,
            window_ms: 100,
            ejection_ms: 100,
            ejection_max_ms: 100,
            ejected_percent_max: 100,
            all_5xx: true,
        }),
        server_limits: Some(v1::ServerLimitsSpec {
            requests: 1,
            connections: COUNT_MAX,
            pending: Some(0),
            pending_timeout_ms: 1,
        }),
        idle_connections: Some(v1::IdleConnectionsSpec {
            connections: Some(0),
            timeout_ms: 1,
        }),
        retry_budget: Some(v1::RetryBudgetSpec {
            percent: Some(0),
            per_second_min: Some(0),
        }),
    };
    let (parsed, mistakes) = parse(&spec, false);
    assert_eq!((parsed.to_spec(), mistakes), (spec, vec![]));
}

const MAX_AGE: u32 = 400 * 86_400;

#[test]
fn mistakes_are_told_by_their_paths() {
    let hash = |on, bound_percent| v1::BalancingSpec {
        algorithm: v1::BalancingAlgorithm::Hash.into(),
        hash: Some(v1::HashSpec { on, bound_percent }),
        latency_decay_ms: 5,
        ..v1::BalancingSpec::default()
    };
    let spec = hash(Some(hash_spec::On::Header("a b".to_owned())), 99);
    assert_eq!(
        parse(&spec, false).1,
        [
            "b.latency_decay_ms",
            "b.hash.header",
            "b.hash.bound_percent"
        ]
    );
    let spec = hash(Some(hash_spec::On::Cookie("x".repeat(129))), 10_001);
    assert_eq!(
        parse(&spec, false).1,
        [
            "b.latency_decay_ms",
            "b.hash.cookie",
            "b.hash.bound_percent"
        ]
    );
    let spec = v1::BalancingSpec {
        hash: Some(v1::HashSpec::default()),
        sticky_cookie: Some(v1::StickyCookieSpec {
            path: "/a;b".to_owned(),
            same_site: v1::SameSite::None.into(),
            max_age_secs: MAX_AGE + 1,
            ..cookie("")
        }),
        outlier_ejection: Some(v1::OutlierEjectionSpec {
            consecutive_failures: Some(0),
            failure_percent: Some(0),
            window_ms: 99,
            ejection_ms: 20_000,
            ejection_max_ms: 19_999,
            ejected_percent_max: 101,
            ..v1::OutlierEjectionSpec::default()
        }),
        server_limits: Some(v1::ServerLimitsSpec {
            requests: COUNT_MAX + 1,
            pending: Some(COUNT_MAX + 1),
            ..v1::ServerLimitsSpec::default()
        }),
        idle_connections: Some(v1::IdleConnectionsSpec {
            connections: Some(10_001),
            timeout_ms: TIME_MS_MAX + 1,
        }),
        retry_budget: Some(v1::RetryBudgetSpec {
            percent: Some(101),
            per_second_min: Some(COUNT_MAX + 1),
        }),
        ..v1::BalancingSpec::default()
    };
    assert_eq!(
        parse(&spec, false).1,
        [
            "b.hash",
            "b.sticky_cookie.name",
            "b.sticky_cookie.path",
            "b.sticky_cookie.same_site",
            "b.sticky_cookie.max_age_secs",
            "b.outlier_ejection",
            "b.outlier_ejection.window_ms",
            "b.outlier_ejection.ejected_percent_max",
            "b.outlier_ejection.ejection_max_ms",
            "b.server_limits.requests",
            "b.server_limits.pending",
            "b.idle_connections.connections",
            "b.idle_connections.timeout_ms",
            "b.retry_budget.percent",
            "b.retry_budget.per_second_min",
        ]
    );
}
