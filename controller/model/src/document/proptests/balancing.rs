use lbfabric_proto::v1;

/// How requests are spread, sound as long as the numbers are: `pick` an algorithm's, `small` below a hundred, `count` below 40,000, and `ms` a
/// time of an hour at most.
pub(super) fn balancing(pick: i32, [small, count, ms]: [u32; 3]) -> v1::BalancingSpec {
    let is = |algorithm: v1::BalancingAlgorithm| pick == algorithm as i32;
    v1::BalancingSpec {
        algorithm: pick,
        hash: is(v1::BalancingAlgorithm::Hash).then(|| v1::HashSpec {
            on: Some(v1::hash_spec::On::Cookie("client".to_owned())),
            bound_percent: 100 + small,
        }),
        latency_decay_ms: if is(v1::BalancingAlgorithm::PeakEwma) {
            ms
        } else {
            0
        },
        sticky_cookie: (small % 2 == 0).then(|| v1::StickyCookieSpec {
            name: "server".to_owned(),
            max_age_secs: count,
            secure: Some(count % 2 == 0),
            ..v1::StickyCookieSpec::default()
        }),
        slow_start_ms: ms,
        outlier_ejection: (count % 2 == 0).then(|| v1::OutlierEjectionSpec {
            consecutive_failures: Some(count),
            failure_percent: Some(small.max(1)),
            requests_min: count,
            all_5xx: small % 3 == 0,
            ..v1::OutlierEjectionSpec::default()
        }),
        server_limits: Some(v1::ServerLimitsSpec {
            requests: count,
            connections: small,
            pending: Some(small),
            pending_timeout_ms: ms,
        }),
        idle_connections: (ms % 2 == 0).then_some(v1::IdleConnectionsSpec {
            connections: Some(small),
            timeout_ms: ms,
        }),
        retry_budget: Some(v1::RetryBudgetSpec {
            percent: Some(small),
            per_second_min: Some(count),
        }),
    }
}
