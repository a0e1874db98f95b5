//! What the service's routes say of a request, carried out: of any version of HTTP.

use std::{
    cell::Cell,
    rc::Rc,
    sync::LazyLock,
    time::{Duration, Instant},
};

use crate::{
    config::{ProxyConfig, Timeouts},
    http1::{FieldEdits, Forwarding},
    route::{
        Answer, Attempted, Authority, Decision, Failure, Fields, Forward, RetryBudget,
        RouteRequest, RouteTable, Way,
    },
};

/// What a worker counts for the routes of a service.
#[derive(Debug, Default)]
pub(crate) struct RouteWorker {
    turn: Cell<u64>,
    budget: RetryBudget,
}

/// What the routing of a request that is sent on leaves behind for what comes later.
#[derive(Debug)]
pub(crate) struct Routed {
    /// The place of its route; none without routes.
    route: Option<usize>,
    /// The place of the pool that it goes to.
    pool: usize,
    /// It went to another server, or again to one, so often.
    retries: Cell<u8>,
    worker: Rc<RouteWorker>,
}

/// The clock of all rates, the same for all workers.
pub fn rate_clock() -> Duration {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed()
}

impl RouteWorker {
    /// Decides about a request: where it goes, or the route that answers it and the answer.
    pub(crate) fn decide<'t, F: Fields>(
        &self,
        table: &'t RouteTable,
        request: &RouteRequest<'_, F>,
    ) -> Result<Way, (Option<usize>, Answer<'t>)> {
        if table.is_empty() {
            return Ok(Way::default());
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        match table.decide(request, turn, rate_clock) {
            Decision::Forward(way) => Ok(way),
            Decision::Answer { route, answer } => Err((route, answer)),
        }
    }

    /// What is remembered of a decision.
    pub(crate) fn routed(self: &Rc<Self>, way: &Way, config: &ProxyConfig) -> Routed {
        if let Some(forward) = config.routes.forward(way.route) {
            forward.retries.note(&self.budget);
        }
        Routed {
            route: way.route,
            pool: way.pool,
            retries: Cell::new(0),
            worker: self.clone(),
        }
    }
}

impl Routed {
    fn forward<'c>(&self, config: &'c ProxyConfig) -> Option<&'c Forward> {
        config.routes.forward(self.route)
    }

    /// How a request goes on: for whom, and with which changes.
    pub(crate) fn forwarding<'c>(
        &self,
        forwarding: Forwarding<'c>,
        config: &'c ProxyConfig,
    ) -> Forwarding<'c> {
        match self.forward(config) {
            Some(forward) => Forwarding {
                host: forward.rewrite.host.as_ref().map(Authority::as_str),
                edits: &forward.request,
                ..forwarding
            },
            None => forwarding,
        }
    }

    /// The place of the pool that it goes to.
    pub(crate) const fn pool(&self) -> usize {
        self.pool
    }

    /// How long things may take.
    pub(crate) fn timeouts(&self, config: &ProxyConfig) -> Timeouts {
        let forward = self.forward(config);
        forward.map_or(config.timeouts, |it| it.timeouts.over(config.timeouts))
    }

    /// How long all of it may take; none for any time.
    pub(crate) fn total(&self, config: &ProxyConfig) -> Option<Duration> {
        let total = self.forward(config)?.timeouts.total?;
        Some(total.time())
    }

    /// The changes to the answer's head.
    pub(crate) fn edits<'c>(&self, config: &'c ProxyConfig) -> &'c FieldEdits {
        config.routes.answer_edits(self.route)
    }

    /// The most bytes of a body.
    pub(crate) fn body_bytes(&self, config: &ProxyConfig) -> u64 {
        let route = self.route.map(|at| &config.routes.routes()[at]);
        let limit = route.and_then(|route| route.guard.limits.body_bytes());
        limit.unwrap_or(u64::MAX)
    }

    /// Whether the request is sent again after a failure, which is counted.
    pub(crate) fn again(
        &self,
        failure: Failure,
        is_idempotent: bool,
        has_body: bool,
        config: &ProxyConfig,
    ) -> bool {
        let Some(forward) = self.forward(config) else {
            return false;
        };
        let attempted = Attempted {
            retries: self.retries.get(),
            is_idempotent,
            has_body,
        };
        let again = forward
            .retries
            .take(failure, attempted, &self.worker.budget);
        if again {
            self.retries.set(attempted.retries + 1);
        }
        again
    }
}
