//! Seeing what the engine does: an access log, metrics and traces.
//!
//! ```text
//!  request ── Watch ──┬── counters and histograms of this worker ──► Metrics::read ──► exposition ──► /metrics
//!   (of its connection)       ├── Record ──► a line ──► this worker's lines ──► AccessLog's thread ──► stdout, file, syslog
//!                             └── Record, attempts ──► TracedRequest ──► SpanQueue ──► who exports spans
//! ```
//!
//! A worker never waits for who reads: it alone writes its counters, and a line for which there is no room is dropped and counted. What
//! is not asked for costs a comparison for each request: no clock is read and nothing is copied.

mod access_log;
mod civil;
mod combined;
mod counters;
mod datagrams;
mod escape;
mod exposition;
mod histogram;
mod json;
mod lines;
mod metrics;
mod observer;
mod recent;
mod record;
mod recording;
mod sampling;
mod sink;
mod spans;
mod state;
mod termination;
mod traceparent;
mod watch;

pub use access_log::{AccessLog, LogFormat};
pub use combined::write_combined;
pub use datagrams::DatagramFate;
pub use exposition::{Exposition, Family, LogReading, MetricsText};
pub use histogram::{Histogram, HistogramReading};
pub use json::write_json;
pub use metrics::{
    AnswersReading, Metrics, NO_ROUTE, Reading, RouteReading, ServerReading, ServiceReading,
};
pub use observer::{LogConfig, ObserveConfig, TraceConfig};
pub use recent::{Excerpt, Recent};
pub use record::{Packets, Protocol, Record, TEXT_BYTES_MAX, Timers, Tls};
pub use sampling::Sampling;
pub use sink::Sink;
pub use spans::{SpanQueue, TracedAttempt, TracedRequest};
pub use termination::{Cause, Phase, ServerFailure, Termination};
pub use traceparent::{TraceParent, Traced};

pub(crate) use observer::{CountedConnection, Observer, SeenServer};
pub(crate) use recording::Renewal;
pub(crate) use termination::NO_SERVER;
pub(crate) use watch::{Ending, Peer, PeerTls, Watch, failure_of};

#[cfg(test)]
mod proptests;
