//! What is known of a request while it is seen, and what is made of that in the end.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    Cause, Ending, Observer, Packets, Peer, Phase, Protocol, Record, SeenServer, TEXT_BYTES_MAX,
    Timers, Traced, counters::ServerCounters, recording::Spans,
};
use crate::http1::{Field, Refusal};

/// What is known of a request so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// When its first byte came.
    pub(super) began: Cell<Option<Instant>>,
    /// When the last timer ended.
    pub(super) mark: Cell<Option<Instant>>,
    pub(super) request: Cell<Option<Duration>>,
    pub(super) queue: Cell<Option<Duration>>,
    pub(super) connect: Cell<Option<Duration>>,
    pub(super) response: Cell<Option<Duration>>,
    pub(super) protocol: Cell<Protocol>,
    pub(super) route: Cell<Option<usize>>,
    pub(super) server: RefCell<Option<Rc<SeenServer>>>,
    pub(super) status: Cell<u16>,
    pub(super) retries: Cell<u32>,
    pub(super) packets: Cell<Option<Packets>>,
    pub(super) trace: Cell<Option<Traced>>,
    /// Of one that is sampled for who exports them.
    pub(super) spans: RefCell<Option<Box<Spans>>>,
    pub(super) is_sampled: Cell<bool>,
    /// What it waits for, if it is not what the timers say.
    pub(super) phase: Cell<Option<Phase>>,
    /// This proxy has answered, for that.
    pub(super) local: Cell<Option<Cause>>,
    /// Why a route has refused it.
    pub(super) refusal: Cell<Option<&'static str>>,
    /// It was none.
    pub(super) is_forgotten: Cell<bool>,
    pub(super) texts: RefCell<Texts>,
}

/// What a client says, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Of [`METHOD`] and so on.
    ranges: [(usize, usize); 5],
}

const METHOD: usize = 0;
const PATH: usize = 1;
const HOST: usize = 2;
const USER_AGENT: usize = 3;
const REFERER: usize = 4;

pub(super) fn begun(observer: &Observer) -> Box<State> {
    let state = observer.take_state();
    let now = Some(Instant::now());
    state.began.set(now);
    state.mark.set(now);
    state.is_sampled.set(observer.samples());
    state
}

/// Logs it, and exports it, if it is one of those that are.
pub(super) fn tell(
    observer: &Observer,
    state: &State,
    ending: Ending,
    total: Duration,
    (received, sent): (u64, u64),
    peer: Peer<'_>,
) {
    let spans = state.spans.take();
    if !state.keeps_texts(observer) && spans.is_none() {
        return;
    }
    let (texts, server) = (state.texts.borrow(), state.server.borrow());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let record = Record {
        began: now.unwrap_or_default().saturating_sub(total),
        client: peer.address,
        service: observer.service_name(),
        route: state.route.get().and_then(|it| observer.route_name(it)),
        server: server.as_ref().map(|it| &**it.name()),
        protocol: state.protocol.get(),
        tls: peer.tls,
        method: texts.of(METHOD),
        path: texts.of(PATH),
        host: texts.of(HOST),
        user_agent: texts.of(USER_AGENT),
        referer: texts.of(REFERER),
        status: state.status.get(),
        received,
        sent,
        packets: state.packets.get(),
        timers: Timers {
            request: state.request.get(),
            queue: state.queue.get(),
            connect: state.connect.get(),
            response: state.response.get(),
            total,
        },
        retries: state.retries.get(),
        termination: ending.termination,
        refusal: ending.refusal.map(Refusal::name).or(state.refusal.get()),
        trace: state.trace.get().map(|it| it.parent),
    };
    if state.is_sampled.get() || observer.logs_errors() && record.is_error() {
        observer.put(&record);
    }
    if let Some(spans) = spans {
        observer.export(spans.ended(state, &record));
    }
}

pub(super) fn leave_server(observer: &Observer, state: &State) {
    if let Some(counters) = state.server_counters(observer) {
        counters.requests.subtract(1);
    }
    state.server.take();
}

pub(super) fn count(
    observer: &Observer,
    state: &State,
    ending: Ending,
    total: Duration,
    (received, sent): (u64, u64),
) {
    let Some(service) = observer.service() else {
        return;
    };
    service.ended(ending.termination);
    let status = state.status.get();
    let response = state.response.get();
    let server = state.server_counters(observer);
    let route = observer.route(state.route.get());
    if let Some(route) = route {
        route.received.add(received);
        route.sent.add(sent);
    }
    let answered = server.as_ref().filter(|_| response.is_some());
    let answers = [
        route.map(|it| &it.answers),
        // Of what the server has not answered, it has no status and no times.
        answered.map(|it| &it.answers),
    ];
    // What is relayed as it comes has neither.
    let is_http = state.protocol.get().is_http();
    for answers in answers.into_iter().flatten().filter(|_| is_http) {
        answers.count(status);
        answers.total.record(total);
        if let Some(response) = response {
            answers.head.record(response);
        }
    }
    match (server, ending.termination.server_failure()) {
        (Some(server), Some(failure)) => server.failures[failure as usize].add(1),
        (None, _) | (_, None) => {
            if let Some(refusal) = ending.refusal {
                service.refused(refusal);
            }
        }
    }
}

// === impl State ===

impl State {
    /// Ready for another request, with the room that it has for texts.
    pub(super) fn emptied(&mut self) {
        let Texts { mut bytes, .. } = self.texts.take();
        bytes.clear();
        *self = Self::default();
        self.texts.get_mut().bytes = bytes;
    }

    /// Whether what the client says is kept for its line, if it has one.
    pub(super) fn keeps_texts(&self, observer: &Observer) -> bool {
        self.is_sampled.get() || observer.logs_errors()
    }

    /// Keeps what the client says.
    pub(super) fn keep_texts<'b>(
        &self,
        method: &str,
        path: &str,
        fields: impl Iterator<Item = Field<'b>>,
    ) {
        let mut texts = self.texts.borrow_mut();
        texts.put(METHOD, method.as_bytes());
        texts.put(PATH, path.as_bytes());
        for field in fields {
            let text = match field.name.len() {
                4 if field.is("host") => HOST,
                7 if field.is("referer") => REFERER,
                10 if field.is("user-agent") => USER_AGENT,
                _ => continue,
            };
            texts.put(text, field.value);
        }
    }

    pub(super) fn server_counters(&self, observer: &Observer) -> Option<Arc<ServerCounters>> {
        let server = self.server.borrow();
        server.as_ref().and_then(|it| observer.server(it))
    }

    /// The time since the last timer ended.
    pub(super) fn lap(&self) -> Option<Duration> {
        let now = Instant::now();
        let before = self.mark.replace(Some(now));
        before.map(|it| now.saturating_duration_since(it))
    }
}

// === impl Texts ===

impl Texts {
    fn put(&mut self, text: usize, bytes: &[u8]) {
        let from = self.bytes.len();
        let bytes = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
        self.bytes.extend_from_slice(bytes);
        self.ranges[text] = (from, self.bytes.len());
    }

    fn of(&self, text: usize) -> &[u8] {
        let (from, to) = self.ranges[text];
        &self.bytes[from..to]
    }
}
