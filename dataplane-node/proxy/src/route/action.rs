use super::{
    Conditions, ConnectionLimits, FixedAnswer, Guard, PathPolicy, Prefixes, RateLimit, Redirect,
    Retries, Rewrite, RouteTimeouts, Split,
};
use crate::http1::FieldEdits;

/// What a service does with requests, before any server sees them. The default lets all of them through to the first pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutesConfig {
    /// How paths are read, if there are routes.
    pub paths: PathPolicy,
    /// Clients that get a 403, whatever they ask for.
    pub deny: Prefixes,
    /// How many connections there may be.
    pub connections: ConnectionLimits,
    /// Rate limits, which routes name.
    pub rate_limits: Vec<RateLimit>,
    /// Names of the rate limits that count every request.
    pub limit_all: Vec<Box<str>>,
    /// In the order that decides between those that nothing else does. With routes, a request that meets none gets a 404.
    pub routes: Vec<Route>,
}

/// What is done with the requests that meet some conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Of its own in the service: counters and logs have it.
    pub name: Box<str>,
    /// Which requests it is for.
    pub when: Conditions,
    /// What they must be.
    pub guard: Guard,
    /// What is done with them.
    pub action: Action,
    /// Changes to the heads of answers, the servers' and its own.
    pub answer: FieldEdits,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A server answers it.
    Forward(Forward),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// Always the same answer.
    Answer(FixedAnswer),
}

/// How a request goes to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Which pool it goes to.
    pub split: Split,
    /// Its host and path there.
    pub rewrite: Rewrite,
    /// Changes to its head.
    pub request: FieldEdits,
    /// How long it may take.
    pub timeouts: RouteTimeouts,
    /// When it is sent again.
    pub retries: Retries,
}

impl Forward {
    /// To a pool, without changes.
    pub fn to(pool: usize) -> Self {
        Self {
            split: Split::to(pool),
            rewrite: Rewrite::default(),
            request: FieldEdits::default(),
            timeouts: RouteTimeouts::default(),
            retries: Retries::NONE,
        }
    }
}

impl Route {
    /// With no other rules.
    pub fn new(name: &str, when: Conditions, action: Action) -> Self {
        Self {
            name: name.into(),
            when,
            guard: Guard::default(),
            action,
            answer: FieldEdits::default(),
        }
    }
}
