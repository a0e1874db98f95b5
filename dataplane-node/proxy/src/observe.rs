//! What there is to see of the engine: records of requests as lines of an access log, counters and histograms that one thread writes and others
//! read, their text for Prometheus, and trace context. All of it without clocks and sockets; no request is watched with it yet.

mod civil;
mod combined;
mod counters;
mod escape;
mod exposition;
mod histogram;
mod json;
mod metrics;
mod record;
mod sampling;
mod termination;
mod traceparent;

pub use combined::write_combined;
pub use exposition::{Exposition, LogReading};
pub use histogram::{Histogram, HistogramReading};
pub use json::write_json;
pub use metrics::{
    AnswersReading, Metrics, NO_ROUTE, Reading, RouteReading, ServerReading, ServiceReading,
};
pub use record::{Protocol, Record, TEXT_BYTES_MAX, Timers, Tls};
pub use sampling::Sampling;
pub use termination::{Cause, Phase, ServerFailure, Termination};
pub use traceparent::{TraceParent, Traced};

#[cfg(test)]
mod proptests;
