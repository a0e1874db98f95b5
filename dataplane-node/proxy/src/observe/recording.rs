//! What is kept of a request that is said to be recorded, for who exports it. Nothing here is called for others but to find that they
//! are others.

use std::{num::NonZeroU64, time::Duration};

use super::{
    Observer, Record, ServerFailure, TraceParent, Traced, TracedAttempt, TracedRequest,
    state::State,
};
use crate::http1::RequestHead;

/// Bytes of a `tracestate` that are exported; a longer one is left out, W3C Trace Context section 3.3.1.5.
const TRACE_STATE_BYTES_MAX: usize = 512;

/// A request's spans so far.
#[derive(Debug)]
pub(super) struct Spans {
    /// Of the request's.
    span_id: u64,
    asked_by: Option<NonZeroU64>,
    trace_state: String,
    /// Those that are over.
    attempts: Vec<TracedAttempt>,
    /// When the one began that is made; none: when the request had waited for its first server.
    began: Option<Duration>,
    /// One is made, as soon as there is a server.
    is_open: bool,
    /// What its server has answered, which the client is not to have.
    turned_down: Option<u16>,
}

/// What the next server is told of a trace, in the place of what the last one was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    before: [u8; 55],
    /// The value of `traceparent`.
    pub(crate) now: [u8; 55],
}

/// The request is recorded: what its first server is told of the trace.
#[cold]
pub(super) fn begin(
    observer: &Observer,
    state: &State,
    traced: Traced,
    (method, head): (&str, &RequestHead<'_, '_>),
) -> Traced {
    if !state.keeps_texts(observer) {
        state.keep_texts(method, head.target, head.fields());
    }
    state.spans.replace(Some(Box::new(Spans {
        span_id: traced.parent.span_id(),
        asked_by: traced.asked_by,
        trace_state: trace_state(traced, head),
        attempts: Vec::new(),
        began: None,
        is_open: true,
        turned_down: None,
    })));
    Traced {
        parent: traced.parent.child(observer.random()),
        ..traced
    }
}

/// That of the client, if its trace goes on; several fields are one list, W3C Trace Context section 3.3.1.1.
fn trace_state(traced: Traced, head: &RequestHead<'_, '_>) -> String {
    let mut state = String::new();
    let fields = head.fields().filter(|it| it.is("tracestate"));
    for field in fields.filter(|_| traced.is_continued()) {
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(&String::from_utf8_lossy(field.value));
    }
    if state.len() > TRACE_STATE_BYTES_MAX {
        state.clear();
    }
    state
}

/// It has waited in a queue, which counts for its timer from here on.
pub(super) fn waits(state: &State) {
    state.with_spans(|spans| {
        if state.server.borrow().is_some() && spans.began.is_none() {
            spans.began = Some(until_server(state));
        }
    });
}

/// It goes to a server again.
pub(super) fn attempts(state: &State) {
    state.with_spans(|spans| {
        if !spans.is_open {
            spans.is_open = true;
            spans.began = Some(since_began(state));
        }
    });
}

/// The head of an answer has come that the client is not to have.
pub(super) fn turns_down(state: &State, status: u16) {
    state.with_spans(|spans| spans.turned_down = Some(status));
}

/// Its attempt is over, and another one is made.
pub(super) fn fails(observer: &Observer, state: &State, failure: Option<ServerFailure>) {
    state.with_spans(|spans| {
        let told = state.trace.get().filter(|_| state.connect.get().is_some());
        // A server that was not reached was told nothing: the next one is told what it would have been.
        let span_id = told.map_or_else(|| observer.random() | 1, |it| it.parent.span_id());
        let status = spans.turned_down.take();
        spans.close(state, span_id, since_began(state), status, failure);
    });
}

/// What the next server is told, if it is to be told of a span of its own.
pub(super) fn renewed(observer: &Observer, state: &State) -> Option<Renewal> {
    state.with_spans(|_| {
        let before = state.trace.get()?;
        let parent = before.parent.child(observer.random());
        state.trace.set(Some(Traced { parent, ..before }));
        Some(Renewal {
            before: before.parent.text(),
            now: parent.text(),
        })
    })?
}

/// Since its first byte.
fn since_began(state: &State) -> Duration {
    state.began.get().map(|it| it.elapsed()).unwrap_or_default()
}

/// From its first byte until there was a server, as far as its timers say.
fn until_server(state: &State) -> Duration {
    let timers = [state.request.get(), state.queue.get()];
    timers.into_iter().flatten().sum()
}

// === impl State ===

impl State {
    fn with_spans<T>(&self, work: impl FnOnce(&mut Spans) -> T) -> Option<T> {
        let mut spans = self.spans.borrow_mut();
        spans.as_deref_mut().map(work)
    }
}

// === impl Spans ===

impl Spans {
    /// All of the request is over.
    pub(super) fn ended(mut self, state: &State, record: &Record<'_>) -> TracedRequest {
        let told = state.trace.get().map(|it| it.parent);
        let trace_id = told.map_or(0, TraceParent::trace_id);
        // Of what the server has not answered, it has no status.
        let answered = state.response.get().map(|_| record.status);
        let failure = record.termination.server_failure();
        if let Some(told) = told {
            let total = record.timers.total;
            self.close(state, told.span_id(), total, answered, failure);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        TracedRequest {
            trace_id,
            span_id: self.span_id,
            asked_by: self.asked_by,
            trace_state: self.trace_state,
            began: record.began,
            timers: record.timers,
            client: record.client,
            service: record.service.to_owned(),
            route: record.route.map(str::to_owned),
            protocol: record.protocol,
            tls_version: record.tls.map(|it| it.version.to_owned()),
            method: text(record.method),
            path: text(record.path),
            host: text(record.host),
            user_agent: text(record.user_agent),
            status: record.status,
            received: record.received,
            sent: record.sent,
            termination: record.termination,
            refusal: record.refusal.map(str::to_owned),
            attempts: self.attempts,
        }
    }

    /// An attempt is over, if one was made.
    fn close(
        &mut self,
        state: &State,
        span_id: u64,
        ended: Duration,
        status: Option<u16>,
        failure: Option<ServerFailure>,
    ) {
        let server = state.server.borrow();
        let Some(server) = server.as_ref().filter(|_| self.is_open) else {
            return;
        };
        self.is_open = false;
        let began = self.began.unwrap_or_else(|| until_server(state));
        self.attempts.push(TracedAttempt {
            span_id,
            server: server.name().clone(),
            address: server.address(),
            began,
            ended: ended.max(began),
            connect: state.connect.get(),
            status,
            failure,
        });
    }
}

// === impl Renewal ===

impl Renewal {
    /// Writes it into the head that the last server was sent.
    pub(crate) fn patch(&self, head: &mut [u8]) {
        // Nobody else can say what nobody could foretell.
        if let Some(at) = memchr::memmem::find(head, &self.before) {
            head[at..at + self.now.len()].copy_from_slice(&self.now);
        }
    }
}

#[cfg(test)]
mod tests;
