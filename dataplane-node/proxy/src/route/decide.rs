use std::time::Duration;

use super::{
    Action, Answer, Fields, Forward, RouteRequest, RouteTable,
    rate::RateLimiter,
    rewrite::NoTarget,
    split::{SplitBy, point_of_turn},
    table::Target,
};
use crate::http1::FieldEdits;

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision<'t> {
    /// A server answers it.
    Forward(Way),
    /// The engine does.
    Answer {
        /// The place of the route that says so.
        route: Option<usize>,
        /// What it says.
        answer: Answer<'t>,
    },
}

/// Where a request goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The place of its route; none without routes.
    pub route: Option<usize>,
    /// The pool that it goes to.
    pub pool: usize,
    /// Its target there; none if that stays.
    pub target: Option<String>,
}

/// Seed of what decides splits: not secret, and the same at every node, so that they agree.
const SPLIT_SEED: u64 = 0;

impl RouteTable {
    /// Decides about a request. `turn` counts a worker's requests; `now` is asked only where something goes by it, and is the same clock's for all
    /// workers.
    pub fn decide<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
        turn: u64,
        now: impl Fn() -> Duration,
    ) -> Decision<'_> {
        self.decide_by(request, turn, |limiter, number| limiter.take(number, now()))
    }

    /// What would be decided about a request, which counts for nothing.
    pub fn peek<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
        turn: u64,
        now: Duration,
    ) -> Decision<'_> {
        self.decide_by(request, turn, |limiter, number| limiter.peek(number, now))
    }

    /// `take` says of a limit whether the request with this number has room.
    fn decide_by<F: Fields>(
        &self,
        request: &RouteRequest<'_, F>,
        turn: u64,
        take: impl Fn(&RateLimiter, u64) -> Result<(), Duration>,
    ) -> Decision<'_> {
        let told = |answer| Decision::Answer {
            route: None,
            answer,
        };
        if self.config.deny.contains(request.client) {
            return told(Answer::told(403, "denied"));
        }
        if let Some(answer) = self.limit(&self.limit_all, request, &take) {
            return told(answer);
        }
        if self.config.routes.is_empty() {
            return Decision::Forward(Way::default());
        }
        let target = match self.target(request) {
            Ok(target) => target,
            Err(refusal) => return told(Answer::told(400, refusal.name())),
        };
        let Some(at) = self.find_for(request, &target, &mut 0) else {
            return told(Answer::told(404, "no-route"));
        };
        let route = &self.config.routes[at];
        let refused = route.guard.refuse(request);
        let refused = refused.or_else(|| self.limit(&self.limits[at], request, &take));
        let done = match (refused, &route.action) {
            (Some(answer), _) => Err(answer),
            (None, Action::Answer(fixed)) => Err(Answer::fixed(fixed)),
            (None, Action::Redirect(redirect)) => {
                let parts = (&*target.path, target.query);
                let answer = redirect.answer(request, parts, &route.when.path, self.config.paths);
                Err(answer.unwrap_or_else(no_target))
            }
            (None, Action::Forward(forward)) => self
                .way(at, forward, request, &target, turn)
                .map_err(no_target),
        };
        match done {
            Ok(way) => Decision::Forward(way),
            Err(answer) => Decision::Answer {
                route: Some(at),
                answer: answer.edited(&route.answer),
            },
        }
    }

    /// How the requests of a route are forwarded; none without one, or if they are not.
    pub fn forward(&self, route: Option<usize>) -> Option<&Forward> {
        match &self.config.routes[route?].action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Answer(_) => None,
        }
    }

    /// The changes to the heads of answers to the requests of a route.
    pub fn answer_edits(&self, route: Option<usize>) -> &FieldEdits {
        route.map_or(FieldEdits::NONE, |at| &self.config.routes[at].answer)
    }

    fn way<F: Fields>(
        &self,
        at: usize,
        forward: &Forward,
        request: &RouteRequest<'_, F>,
        target: &Target<'_>,
        turn: u64,
    ) -> Result<Way, NoTarget> {
        let point = match forward.split.by() {
            _ if forward.split.is_single() => 0,
            SplitBy::Turn => point_of_turn(turn),
            SplitBy::Key(key) => key.number(request.client, request.fields, SPLIT_SEED),
        };
        let paths = &self.config.routes[at].when.path;
        let rewrite = &forward.rewrite.path;
        Ok(Way {
            route: Some(at),
            pool: forward.split.at(point),
            target: rewrite.target(&target.path, target.query, paths, self.config.paths)?,
        })
    }

    /// Counts a request, and answers it if there are too many.
    fn limit<F: Fields>(
        &self,
        limits: &[usize],
        request: &RouteRequest<'_, F>,
        take: &impl Fn(&RateLimiter, u64) -> Result<(), Duration>,
    ) -> Option<Answer<'static>> {
        limits.iter().find_map(|at| {
            let limiter = &self.limiters[*at];
            let number = limiter
                .key()
                .number(request.client, request.fields, limiter.seed());
            let wait = take(limiter, number).err()?;
            // Whole seconds, RFC 9110 section 10.2.3, and not too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Some(Answer::told(429, "rate").with("Retry-After", &seconds.to_string()))
        })
    }
}

fn no_target(reason: NoTarget) -> Answer<'static> {
    match reason {
        NoTarget::Refused(refusal) => Answer::told(400, refusal.name()),
        NoTarget::TooLong => Answer::told(414, "rewritten-target-too-long"),
    }
}

#[cfg(test)]
mod tests;
