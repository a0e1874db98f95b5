use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::{Protocol, ServerFailure, Termination, Timers};

/// A request that is said to be recorded, when all of it is over: a span of its trace is its own, and one is each attempt's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedRequest {
    /// Not 0.
    pub trace_id: u128,
    /// Of the request's span; not 0.
    pub span_id: u64,
    /// The span that the client has asked by; none: the trace begins here.
    pub asked_by: Option<NonZeroU64>,
    /// The client's `tracestate`; empty if there is none.
    pub trace_state: String,
    /// When its first byte came, since 1970-01-01 00:00 UTC.
    pub began: Duration,
    /// How long things took.
    pub timers: Timers,
    /// Who asked.
    pub client: IpAddr,
    /// By whose configuration.
    pub service: String,
    /// The route that took it, unless none did.
    pub route: Option<String>,
    /// Of the client's side.
    pub protocol: Protocol,
    /// Like `TLSv1.3`, if it came over TLS.
    pub tls_version: Option<String>,
    /// As the client says, as all texts: no more than [`TEXT_BYTES_MAX`](super::TEXT_BYTES_MAX) of each.
    pub method: String,
    /// With the query.
    pub path: String,
    /// With the port, if the client says one.
    pub host: String,
    /// Empty if there is none.
    pub user_agent: String,
    /// What the client was answered; 0 if nothing.
    pub status: u16,
    /// Bytes of the client's.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// How it ended.
    pub termination: Termination,
    /// Why it was refused, if it was: the name of the refusal's counter.
    pub refusal: Option<String>,
    /// At servers, one after the other.
    pub attempts: Vec<TracedAttempt>,
}

/// A request's way to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedAttempt {
    /// What the server was told, as the span that asks it; not 0.
    pub span_id: u64,
    /// The server's name.
    pub server: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
    /// When the server was chosen, from the request's first byte on.
    pub began: Duration,
    /// When it had failed, or the request was over; from the same moment on.
    pub ended: Duration,
    /// How long the connection took; 0 if one was there already, none if there was none.
    pub connect: Option<Duration>,
    /// What the server has answered, if it has.
    pub status: Option<u16>,
    /// What the server has failed at, if it has.
    pub failure: Option<ServerFailure>,
}

/// Traced requests on their way to who exports them. Workers never wait: what there is no room for is dropped and counted.
#[derive(Debug)]
pub struct SpanQueue {
    requests: mpsc::Sender<Box<TracedRequest>>,
    dropped: AtomicU64,
}

// === impl TracedRequest ===

impl TracedRequest {
    /// Spans that are made of it.
    pub fn spans(&self) -> u64 {
        1 + self.attempts.len() as u64
    }
}

// === impl SpanQueue ===

impl SpanQueue {
    /// With room for so many requests; also, where they come out.
    pub fn new(room: usize) -> (Self, mpsc::Receiver<Box<TracedRequest>>) {
        let (requests, receiver) = mpsc::channel(room);
        let queue = Self {
            requests,
            dropped: AtomicU64::new(0),
        };
        (queue, receiver)
    }

    /// Spans for which there was no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Puts one, unless there is no room for it.
    pub fn put(&self, request: TracedRequest) {
        let spans = request.spans();
        if self.requests.try_send(Box::new(request)).is_err() {
            self.dropped.fetch_add(spans, Ordering::Relaxed);
        }
    }
}
