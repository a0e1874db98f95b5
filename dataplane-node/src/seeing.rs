//! What there is to see of the node: its administration over HTTP, lines of the access log for controllers, and spans for a collector.
//!
//! ```text
//!  /metrics ──► Admin ──┬── Asker ──► agent (NodeSeen: reports, names)
//!                       └── lbfabric_proxy::observe (layer 7, counted by the workers)
//!  SpanQueue (of the workers) ──► Collector ──► a collector of traces
//!  LogQuery ──► Followers ── a task for each ──► the access log's latest lines ──► the stream to the controller
//! ```

mod admin;
mod admin_address;
mod asker;
mod collector;
mod followers;
mod metrics;
mod spans;

pub(crate) use admin::Admin;
pub(crate) use admin_address::AdminAddress;
pub(crate) use asker::{Asker, NodeSeen, Questions, asker};
pub(crate) use collector::{Collector, SpanCounts};
pub(crate) use followers::Followers;
pub(crate) use metrics::{node_metrics, span_metrics};
