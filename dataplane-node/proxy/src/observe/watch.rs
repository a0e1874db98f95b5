//! A request as it is seen on its way through the engine.

use std::{
    cell::{Cell, OnceCell},
    future::poll_fn,
    io,
    net::IpAddr,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    Cause, Observer, Packets, Phase, Protocol, Renewal, SeenServer, ServerFailure, Termination,
    Tls, Traced,
    counters::ServiceCounters,
    recording,
    state::{State, begun, count, leave_server, tell},
};
use crate::{
    http1::{Field, Refusal, RequestHead},
    route::Answer,
};

/// Watches the requests of a connection, or of a stream, one after the other. The clock is read once for each timer that a request
/// reaches, and never if nothing is to be seen. A connection without a request holds nothing but this.
#[derive(Debug)]
pub(crate) struct Watch {
    observer: Option<Rc<Observer>>,
    /// Of the request that has begun.
    state: OnceCell<Box<State>>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

/// TLS of a client's connection, apart from that.
#[derive(Clone, Debug)]
pub(crate) struct PeerTls {
    pub(crate) version: &'static str,
    pub(crate) sni: Option<Rc<str>>,
}

/// Who is on the other side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) address: IpAddr,
    pub(crate) tls: Option<Tls<'a>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ending {
    pub(crate) termination: Termination,
    /// What this proxy has answered, unless the server has.
    pub(crate) told: Option<u16>,
    pub(crate) refusal: Option<Refusal>,
}

/// A request in a queue.
struct Queueing<'a>(Option<&'a ServiceCounters>);

impl Watch {
    pub(crate) fn of(observer: Option<&Rc<Observer>>) -> Self {
        Self {
            observer: observer.cloned(),
            state: OnceCell::new(),
            received: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    /// The first part of a head has come, but not all of it.
    pub(crate) fn begins(&self) {
        if let Some(observer) = &self.observer {
            self.state.get_or_init(|| begun(observer));
        }
    }

    /// Nothing has begun after all.
    pub(crate) fn forget(&self) {
        if let Some(state) = self.state.get() {
            state.is_forgotten.set(true);
        }
    }

    /// A head has come whole: so many bytes.
    pub(crate) fn head(&self, bytes: usize) {
        let Some(observer) = &self.observer else {
            return;
        };
        if let Some(state) = self.state.get() {
            state.request.set(state.lap());
        } else {
            let state = self.state.get_or_init(|| begun(observer));
            state.request.set(Some(Duration::ZERO));
        }
        self.received.set(bytes as u64);
    }

    /// What its connection carries, if that is not HTTP.
    pub(crate) fn carries(&self, protocol: Protocol) {
        if let Some(state) = self.state.get() {
            state.protocol.set(protocol);
        }
    }

    /// What the head says.
    pub(crate) fn asked<'b>(
        &self,
        protocol: Protocol,
        method: &str,
        path: &str,
        fields: impl Iterator<Item = Field<'b>>,
    ) {
        let (Some(observer), Some(state)) = (&self.observer, self.state.get()) else {
            return;
        };
        state.protocol.set(protocol);
        if state.keeps_texts(observer) {
            state.keep_texts(method, path, fields);
        }
    }

    /// What the server is told of the trace, if anything.
    pub(crate) fn traced(&self, method: &str, head: &RequestHead<'_, '_>) -> Option<Traced> {
        let observer = self.observer.as_ref().filter(|it| it.traces())?;
        let fields = head.fields();
        let values = fields.filter(|it| it.is("traceparent")).map(|it| it.value);
        let mut traced = Traced::of(values, || observer.random(), || observer.samples_trace());
        let state = self.state.get()?;
        if traced.parent.is_sampled() && observer.exports() {
            traced = recording::begin(observer, state, traced, (method, head));
        }
        state.trace.set(Some(traced));
        Some(traced)
    }

    /// A route takes it, if there are any.
    pub(crate) fn route(&self, route: Option<usize>) {
        if let Some(state) = self.state.get() {
            state.route.set(route);
        }
    }

    /// Waits for a server. It waits in a queue unless one is found at once.
    pub(crate) async fn queued<T>(&self, server: impl Future<Output = T>) -> T {
        let mut server = pin!(server);
        let mut queueing = None;
        let found = poll_fn(|context| {
            let polled = server.as_mut().poll(context);
            if polled.is_pending() && queueing.is_none() {
                queueing = Some(Queueing::of(self.observer.as_deref()));
            }
            polled
        })
        .await;
        if let (Some(_), Some(state)) = (queueing, self.state.get()) {
            recording::waits(state);
            let before = state.queue.get().unwrap_or_default();
            state.queue.set(state.lap().map(|it| it + before));
        }
        found
    }

    /// It goes to this server.
    pub(crate) fn server(&self, server: &Rc<SeenServer>) {
        let (Some(observer), Some(state)) = (&self.observer, self.state.get()) else {
            return;
        };
        if state.queue.get().is_none() {
            state.queue.set(Some(Duration::ZERO));
        }
        if state.server.borrow().is_some() {
            leave_server(observer, state);
            state.connect.set(None);
            recording::attempts(state);
        }
        state.server.replace(Some(server.clone()));
        if let Some(counters) = observer.server(server) {
            counters.requests.add(1);
        }
    }

    /// There is a connection to the server.
    pub(crate) fn connected(&self, is_reused: bool) {
        let (Some(observer), Some(state)) = (&self.observer, self.state.get()) else {
            return;
        };
        if is_reused {
            state.connect.set(Some(Duration::ZERO));
            return;
        }
        state.connect.set(state.lap());
        if let Some(counters) = state.server_counters(observer) {
            counters.connections_total.add(1);
        }
    }

    /// It is sent again, as the server has failed so, or has answered what the client is not to have.
    pub(crate) fn retries(&self, failure: Option<ServerFailure>) {
        let (Some(observer), Some(state)) = (&self.observer, self.state.get()) else {
            return;
        };
        state.retries.set(state.retries.get() + 1);
        recording::fails(observer, state, failure);
        if let Some(counters) = state.server_counters(observer) {
            counters.retries.add(1);
            if let Some(failure) = failure {
                counters.failures[failure as usize].add(1);
            }
        }
    }

    /// It goes to the same server once more, over another connection.
    pub(crate) fn reconnects(&self) {
        if let Some(state) = self.state.get() {
            state.connect.set(None);
            recording::attempts(state);
        }
    }

    /// The head of an answer has come that the client is not to have.
    pub(crate) fn turns_down(&self, status: u16) {
        if let Some(state) = self.state.get() {
            recording::turns_down(state, status);
        }
    }

    /// What the next server is told of the trace in the place of what the last one was told; none if each is told the same.
    pub(crate) fn renewed(&self) -> Option<Renewal> {
        recording::renewed(self.observer.as_ref()?, self.state.get()?)
    }

    /// This proxy answers by itself, as it was told to, by a route if it is one's.
    pub(crate) fn answers(&self, route: Option<usize>, answer: &Answer<'_>) {
        let Some(state) = self.state.get() else {
            return;
        };
        state.route.set(route);
        state.status.set(answer.status);
        let refusal = answer.refusal();
        state.refusal.set(refusal);
        state.local.set(Some(match refusal {
            Some(_) => Cause::Proxy,
            None => Cause::Local,
        }));
        if let (Some(refusal), Some(observer)) = (refusal, &self.observer)
            && let Some(service) = observer.service()
        {
            service.refused_by_route(refusal);
        }
    }

    /// What it waits for now; none of what is not seen.
    pub(crate) fn phase(&self) -> Phase {
        let Some(state) = self.state.get() else {
            return Phase::Done;
        };
        if let Some(phase) = state.phase.get() {
            return phase;
        }
        if state.request.get().is_none() {
            Phase::Request
        } else if state.queue.get().is_none() {
            Phase::Queue
        } else if state.connect.get().is_none() {
            Phase::Connect
        } else if state.response.get().is_none() {
            Phase::Headers
        } else {
            Phase::Data
        }
    }

    /// What it waits for is that, and not what would come next.
    pub(crate) fn waits_for(&self, phase: Phase) {
        if let Some(state) = self.state.get() {
            state.phase.set(Some(phase));
        }
    }

    /// That it ends while it waits for that, because of this one.
    pub(crate) fn ended_by(&self, cause: Cause) -> Termination {
        Termination::new(cause, self.phase())
    }

    /// The head of its answer has come.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(state) = self.state.get() {
            state.status.set(status);
            state.response.set(state.lap());
        }
    }

    /// So many bytes of its body have come.
    pub(crate) fn receives(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
    }

    /// Where bytes of its body are counted.
    pub(crate) const fn received(&self) -> &Cell<u64> {
        &self.received
    }

    /// Where bytes of its answer are counted.
    pub(crate) const fn sent(&self) -> &Cell<u64> {
        &self.sent
    }

    /// So many bytes were relayed in both directions behind its heads.
    pub(crate) fn relayed(&self, received: u64, sent: u64) {
        self.received.set(self.received.get() + received);
        self.sent.set(self.sent.get() + sent);
    }

    /// It began so long ago, and was answered then: another process has seen it so far.
    pub(crate) fn resumes(&self, age: Duration, answered: Option<Duration>) {
        if let Some(state) = self.state.get() {
            state.began.set(Instant::now().checked_sub(age));
            state.response.set(answered);
        }
    }

    /// So many datagrams have gone on.
    pub(crate) fn packets(&self, packets: Packets) {
        if let Some(state) = self.state.get() {
            state.packets.set(Some(packets));
        }
    }

    /// So many bytes of its answer are sent.
    pub(crate) fn sends(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }

    /// It is over: it is counted, and logged and exported if it is to be.
    pub(crate) fn ends(&self, mut ending: Ending, peer: Peer<'_>) {
        let moved = (self.received.get(), self.sent.get());
        let (Some(observer), Some(state)) = (&self.observer, self.state.get()) else {
            return;
        };
        if state.is_forgotten.get() {
            return;
        }
        let total = state.began.get().map(|it| it.elapsed()).unwrap_or_default();
        if let Some(status) = ending.told {
            state.status.set(status);
        }
        if let Some(cause) = state.local.get()
            && ending.termination == Termination::NORMAL
        {
            ending.termination = Termination::new(cause, Phase::Request);
        }
        count(observer, state, ending, total, moved);
        tell(observer, state, ending, total, moved, peer);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Some(observer), Some(state)) = (&self.observer, self.state.take()) {
            leave_server(observer, &state);
            observer.put_back(state);
        }
    }
}

/// What a server has failed at with which no connection could be made, if it is its fault.
pub(crate) fn failure_of(error: &io::Error) -> Option<ServerFailure> {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => None,
        io::ErrorKind::TimedOut => Some(ServerFailure::ConnectTimeout),
        _ => Some(ServerFailure::Connect),
    }
}

// === impl Queueing ===

impl<'a> Queueing<'a> {
    fn of(observer: Option<&'a Observer>) -> Self {
        let counters = observer.and_then(|it| it.service());
        if let Some(counters) = counters {
            counters.queued.add(1);
            counters.queued_total.add(1);
        }
        Self(counters.map(|it| &**it))
    }
}

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.queued.subtract(1);
        }
    }
}
