//! Balancing of the API in the engine's terms.

use std::time::Duration;

use lbfabric_model::{
    Algorithm, BackendId, Balancing, HashOn, OutlierEjection, SameSite, SecretKey, ServerLimits,
    StickyCookie,
    snapshot::{NodeBackend, NodePool},
};
use lbfabric_proxy::{
    Balance, Idle, Limits, OutlierConfig, PoolConfig, RetryBudgetConfig, ServerConfig,
    StickyConfig, StickyKey,
};

use crate::plan::{Health, HealthView, RingMembers};

/// A pool as a part of a service uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServicePool {
    pub(super) name: String,
    pub(super) ring_slots: u32,
    pub(super) servers: Vec<ServerConfig>,
}

/// The servers that a pool has for requests, in its order: those that a ring would have, and those of weight 0, of which clients with a cookie
/// have some left, as long as they are healthy.
pub(super) fn servers_of<'a>(
    pool: &'a NodePool,
    health: &HealthView,
    was_member: impl Fn(BackendId) -> bool,
) -> Vec<&'a NodeBackend> {
    let RingMembers { members, panic: _ } = RingMembers::choose(pool, health, &was_member);
    let drains = |server: &NodeBackend| {
        server.weight == 0
            && match health.of(pool, server.id) {
                Health::Up => true,
                Health::Unknown => was_member(server.id),
                Health::Down { .. } => false,
            }
    };
    let servers = pool.backends.iter().enumerate();
    servers
        .filter(|(at, server)| members.binary_search(at).is_ok() || drains(server))
        .map(|(_, server)| server)
        .collect()
}

/// The key of a service's sticky cookies, which follows from the fabric's.
pub(super) fn sticky_key(fabrics: &SecretKey, service: &str) -> StickyKey {
    let purpose = format!("lbfabric sticky cookie\0{service}");
    StickyKey::derived(fabrics.secret(), &purpose)
}

/// A pool of the engine. Without a key there are no cookies.
pub(super) fn pool_config(
    balancing: &Balancing,
    pool: &ServicePool,
    sticky_key: Option<&StickyKey>,
) -> PoolConfig {
    let Balancing {
        algorithm,
        sticky_cookie,
        slow_start_ms,
        outlier_ejection,
        server_limits,
        idle_connections,
        retry_budget,
    } = balancing;
    let ServicePool {
        name,
        ring_slots,
        servers,
    } = pool;
    let sticky = sticky_cookie.as_ref().zip(sticky_key);
    PoolConfig {
        name: name.clone(),
        servers: servers.clone(),
        balance: balance(algorithm),
        sticky: sticky.map(|(cookie, key)| sticky_config(cookie, key)),
        limits: limits(*server_limits),
        slow_start: ms(*slow_start_ms),
        outliers: outlier_ejection.map(outliers),
        retries: RetryBudgetConfig {
            percent: retry_budget.percent,
            per_second_min: retry_budget.per_second_min,
        },
        idle: Idle {
            connections: usize::try_from(idle_connections.connections).unwrap_or(usize::MAX),
            timeout: ms(idle_connections.timeout_ms),
        },
        ring_slots: *ring_slots,
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

fn balance(algorithm: &Algorithm) -> Balance {
    match algorithm {
        Algorithm::RoundRobin => Balance::RoundRobin,
        Algorithm::LeastConnections => Balance::LeastConnections,
        Algorithm::PeakEwma { decay_ms } => Balance::PeakEwma {
            decay: ms(*decay_ms),
        },
        Algorithm::Hash { on, bound_percent } => Balance::Hash {
            on: match on {
                HashOn::Source => lbfabric_proxy::HashOn::Source,
                HashOn::Header(name) => lbfabric_proxy::HashOn::Header(name.clone()),
                HashOn::Cookie(name) => lbfabric_proxy::HashOn::Cookie(name.clone()),
            },
            bound_percent: *bound_percent,
        },
    }
}

fn sticky_config(cookie: &StickyCookie, key: &StickyKey) -> StickyConfig {
    let StickyCookie {
        name,
        path,
        http_only,
        secure,
        same_site,
        max_age_secs,
    } = cookie;
    StickyConfig {
        cookie: name.clone(),
        keys: vec![key.clone()],
        path: path.clone(),
        http_only: *http_only,
        secure: *secure,
        same_site: match same_site {
            SameSite::Strict => Some(lbfabric_proxy::SameSite::Strict),
            SameSite::Lax => Some(lbfabric_proxy::SameSite::Lax),
            SameSite::None => Some(lbfabric_proxy::SameSite::None),
            SameSite::Omit => None,
        },
        max_age: (*max_age_secs > 0).then(|| Duration::from_secs((*max_age_secs).into())),
    }
}

fn limits(limits: ServerLimits) -> Limits {
    let ServerLimits {
        requests,
        connections,
        pending,
        pending_timeout_ms,
    } = limits;
    Limits {
        requests,
        connections,
        pending,
        pending_timeout: ms(pending_timeout_ms),
    }
}

fn outliers(outliers: OutlierEjection) -> OutlierConfig {
    let OutlierEjection {
        consecutive_failures,
        failure_percent,
        requests_min,
        window_ms,
        ejection_ms,
        ejection_max_ms,
        ejected_percent_max,
        all_5xx,
    } = outliers;
    OutlierConfig {
        consecutive: consecutive_failures,
        failure_percent,
        requests_min,
        window: ms(window_ms),
        ejection: ms(ejection_ms),
        ejection_max: ms(ejection_max_ms),
        ejected_percent_max,
        counts_all_5xx: all_5xx,
    }
}
