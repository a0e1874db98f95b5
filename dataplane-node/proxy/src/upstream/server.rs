use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    connection::{IdleConnection, Transport, Upstream},
    origin::Origin,
    shared_server::SharedServer,
};
use crate::{
    balance::{Idle, Latency, Limits, ServerConfig},
    http2,
    observe::SeenServer,
};

/// What a worker has of a server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(super) name: String,
    id: u32,
    pub(super) address: SocketAddr,
    transport: Transport,
    pub(super) shared: Arc<SharedServer>,
    pub(super) latency: Cell<Latency>,
    /// Requests of this worker that it works on.
    pub(super) requests: Cell<u32>,
    /// When it came to a pool that had others, or was given weight again.
    pub(super) joined: Cell<Option<Instant>>,
    /// Those used last are at the end.
    idle: RefCell<Vec<IdleConnection>>,
    idle_limits: Cell<Idle>,
    /// Those of HTTP/2.
    pub(super) http2: Rc<http2::Peers>,
    /// The time when it was last looked at: a second old at most, so that keeping a connection does not ask for it.
    seen_at: Cell<Instant>,
    has_left: Cell<bool>,
    /// The part of the service whose requests it gets.
    part: u32,
    is_open: Cell<bool>,
    pub(super) seen: Rc<SeenServer>,
}

impl Server {
    pub(super) fn new(
        config: &ServerConfig,
        transport: Transport,
        shared: Arc<SharedServer>,
        part: u32,
    ) -> Self {
        Self {
            name: config.name.clone(),
            id: config.id,
            address: config.address,
            transport,
            shared,
            latency: Cell::default(),
            requests: Cell::default(),
            joined: Cell::default(),
            idle: RefCell::default(),
            idle_limits: Cell::new(Idle::default()),
            http2: Rc::default(),
            seen_at: Cell::new(Instant::now()),
            has_left: Cell::new(false),
            part,
            is_open: Cell::new(false),
            seen: Rc::new(SeenServer::new(&config.name, config.address)),
        }
    }

    pub(super) fn is(&self, config: &ServerConfig) -> bool {
        self.name == config.name && self.id == config.id && self.address == config.address
    }

    pub(super) fn set_limits(&self, limits: &Limits, idle: Idle) {
        let requests = match (limits.requests, limits.connections) {
            // One carries many at a time.
            (limit, _) if self.transport.is_http2 => limit,
            // Each request has a connection, so there are no more of them.
            (0, limit) | (limit, 0) => limit,
            (requests, connections) => requests.min(connections),
        };
        self.shared.set_limits(requests, limits.connections);
        self.idle_limits.set(idle);
        self.has_left.set(false);
        self.trim(idle.connections);
    }

    /// No pool has it any more: what it works on it finishes.
    pub(super) fn leave(&self) {
        self.has_left.set(true);
        self.set_open(false);
        self.trim(0);
        self.http2.close();
    }

    /// Whether it gets requests that are for any server.
    pub(super) fn set_open(&self, is_open: bool) {
        if self.is_open.replace(is_open) != is_open {
            self.shared.open_for_one_more(self.part, is_open);
        }
    }

    /// A connection that waits, if there is one.
    pub(super) fn idle_connection(&self, now: Instant) -> Option<Upstream> {
        self.seen_at.set(self.seen_at.get().max(now));
        loop {
            // The one that was used last is the least likely to be closed.
            let idle = self.idle.borrow_mut().pop()?;
            if idle.is_alive(now) {
                return Some(idle.into_upstream());
            }
        }
    }

    /// A new connection; of HTTP/2 if that is what servers speak, unless it has to be another one.
    pub(super) async fn connect_anew(
        &self,
        origin: Option<&Origin>,
        limit: Duration,
        may_be_http2: bool,
    ) -> io::Result<Upstream> {
        let slot = self.shared.slot().or_else(|| {
            // One that waits for another client, or that would be used otherwise.
            drop(self.idle.borrow_mut().pop());
            self.shared.slot()
        });
        let slot = if let Some(slot) = slot {
            slot
        } else {
            let freed = timeout(limit, Box::pin(self.shared.free_slot())).await;
            freed.map_err(|_late| io::Error::from(io::ErrorKind::QuotaExceeded))?
        };
        let told = origin.map_or(&b""[..], Origin::told);
        let source = origin.and_then(|it| it.source(self));
        let slot = slot.of(source.map(|source| (source, self.address)));
        let is_http2 = self.transport.is_http2 && may_be_http2;
        Upstream::open(&self.transport, self.address, told, slot, limit, is_http2).await
    }

    /// A connection that waits for the next request, if it may; `said` is how long the server says that it waits.
    pub(super) fn resting(
        &self,
        upstream: Upstream,
        said: Option<Duration>,
    ) -> Option<IdleConnection> {
        let is_wanted = !self.has_left.get() && self.shared.needed() == 0;
        if !is_wanted || upstream.stream.buffer.is_some() {
            return None;
        }
        let timeout = self.idle_limits.get().timeout;
        // A request that comes while the server closes would have to be sent again.
        let said = said.map(|said| said.saturating_sub((said / 2).min(Duration::from_secs(1))));
        let wait = said.map_or(timeout, |said| said.min(timeout));
        Some(IdleConnection {
            stream: upstream.stream,
            slot: upstream.slot,
            until: self.seen_at.get() + wait,
        })
    }

    pub(super) fn keep(&self, connection: IdleConnection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_limits.get().connections {
            idle.push(connection);
        }
    }

    /// Closes idle connections that are of no use, or that others need the place of.
    pub(super) fn tidy(&self, now: Instant) {
        self.seen_at.set(now);
        let mut idle = self.idle.borrow_mut();
        idle.retain(|connection| connection.is_alive(now));
        let needed = usize::try_from(self.shared.needed()).unwrap_or(usize::MAX);
        // Those that were used longest ago. Every worker does this: some close more than is needed, and open it again.
        let count = needed.min(idle.len());
        idle.drain(..count);
    }

    fn trim(&self, count: usize) {
        let mut idle = self.idle.borrow_mut();
        let surplus = idle.len().saturating_sub(count);
        idle.drain(..surplus);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.http2.close();
        self.set_open(false);
    }
}
