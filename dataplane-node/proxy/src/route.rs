//! Which requests go where, and which go nowhere.
//!
//! ```text
//! RoutesConfig ── RouteTable::new ──► RouteTable
//!                                        │
//! RouteRequest ── deny, rate of all ── path::normal ── hosts, tree of paths, other conditions ──► Route
//!                                                                                                   │
//!          Decision::Answer(403, 404, 405, 413, 415, 429, 431, redirect, fixed) ◄── Guard, rates ───┤
//!          Decision::Forward(pool, target) ◄──────────────── Split, Rewrite ────────────────────────┘
//! ```
//!
//! All of it is pure: values in, values out. Its types can hold no rule that could not be carried out: an [`InvalidRoute`] says which field is wrong
//! and what would be right. What is counted over all workers (rates, connections) is in atomic words, without locks.

mod action;
mod answer;
mod conditions;
mod connections;
mod content_types;
mod decide;
mod edits;
mod guard;
mod hash;
mod host;
mod index;
mod invalid;
mod methods;
mod path;
mod pattern;
mod prefixes;
mod rate;
mod redirect;
mod request;
mod retries;
mod rewrite;
mod split;
mod table;
mod timeouts;

pub use action::{Action, Forward, Route, RoutesConfig};
pub use answer::{Answer, FixedAnswer};
pub use conditions::{Conditions, FieldCondition, PathPattern, QueryCondition, TextPattern, Unmet};
pub use connections::{ConnectionLimits, Connections, Counted, TooMany};
pub use content_types::ContentTypes;
pub use decide::{Decision, Way};
pub use edits::{FieldEdit, FieldValue, Side, compile};
pub use guard::{Guard, RouteLimits};
pub use host::HostPattern;
pub use invalid::InvalidRoute;
pub use methods::Methods;
pub use path::{DotSegments, EmptySegments, EscapedSlashes, PathPolicy, PathRefusal, normal};
pub use pattern::Pattern;
pub use prefixes::Prefixes;
pub use rate::{RateLimit, RateLimiter};
pub use redirect::{Redirect, RedirectStatus, Scheme};
pub use request::{CookieName, FieldName, Fields, RequestKey, RouteRequest};
pub use retries::{Attempted, Failure, Retries, RetryBudget};
pub use rewrite::{Authority, PathRewrite, Rewrite, Substitution, WrittenPath};
pub use split::{Split, SplitBy};
pub use table::{Candidate, RouteTable};
pub use timeouts::{RouteTimeouts, TimeLimit};
