//! One address that a worker listens at, and the connections that came there.
//!
//! ```text
//! Serving ─ drain ─► draining: no new connections, answers say `Connection: close`, idle connections close ─ limit ─► all are ended
//!         ─ hand over ─► the same, but idle connections wait for their next request, so that none is lost
//! ```

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{self, AbortHandle},
    time::sleep,
};

use crate::{
    arrived::Arrived,
    config::ProxyConfig,
    counters::Counters,
    engine::ServiceKey,
    observe::{CountedConnection, Observer},
    route::Counted,
    routing::RouteWorker,
    upstream::{Origin, SharedPools, Upstreams},
};

/// How long a worker waits that has no room for one more connection.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// What a service does now. A request keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) config: Arc<ProxyConfig>,
    pub(crate) upstreams: Rc<Upstreams>,
    /// Where connections to servers are the client's own.
    pub(crate) origin: Option<Rc<Origin>>,
    pub(crate) routes: Rc<RouteWorker>,
    pub(crate) counters: Arc<Counters>,
    /// Whoever sees its requests.
    pub(crate) observer: Option<Rc<Observer>>,
}

/// An address that a worker listens at.
#[derive(Debug)]
pub(crate) struct Site {
    current: RefCell<Rc<Current>>,
    phase: Cell<Phase>,
    /// The tasks that take connections, one for each listener.
    acceptors: RefCell<Vec<Waker>>,
    /// The connections, by place.
    connections: RefCell<Vec<Connection>>,
    free: RefCell<Vec<u32>>,
}

/// Whether a site takes connections, and what becomes of those that wait for a request if it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Somebody else takes the connections that come from now on. An idle one cannot be closed without a request getting lost that
    /// its client sends just then: the next answer closes it.
    HandedOver,
    /// Idle ones are closed.
    Draining,
}

/// A connection, or a place for one.
#[derive(Debug, Default)]
struct Connection {
    /// Of the task, once it has waited for a request.
    waker: Option<Waker>,
    task: Option<AbortHandle>,
}

/// A connection's place among those of its site.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) site: Rc<Site>,
    at: u32,
    /// Its place among those that are counted.
    counted: Option<Box<Counted>>,
    /// Lives as long as the connection.
    seen: CountedConnection,
    /// Where servers are told whose connections theirs are, or see it.
    told: Option<Box<Told>>,
}

/// What servers are told of a client, and its own connections to them.
#[derive(Debug)]
struct Told {
    header: Box<[u8]>,
    client: SocketAddr,
    /// What the service does, and the same with the client's own connections.
    last: RefCell<Option<(Rc<Current>, Rc<Current>)>>,
}

// === impl Current ===

impl Current {
    /// By a configuration, with the connections that there were `before`.
    pub(crate) fn new(
        config: Arc<ProxyConfig>,
        before: Option<&Self>,
        counters: Arc<Counters>,
        (service, shared): (ServiceKey, &SharedPools),
    ) -> Self {
        let upstreams = if let Some(before) = before {
            before.upstreams.update(&config);
            Rc::clone(&before.upstreams)
        } else {
            Upstreams::new(&config, service, shared.clone())
        };
        Self {
            upstreams,
            origin: None,
            routes: before.map_or_else(Rc::default, |it| Rc::clone(&it.routes)),
            observer: Observer::of(&config.observe),
            config,
            counters,
        }
    }

    fn of_client(&self, header: &[u8], client: SocketAddr) -> Self {
        let transparent = self.config.transparent.as_ref();
        Self {
            config: Arc::clone(&self.config),
            upstreams: Rc::clone(&self.upstreams),
            origin: Origin::new(header.into(), transparent.and_then(|it| it.source(client))),
            routes: Rc::clone(&self.routes),
            counters: Arc::clone(&self.counters),
            observer: self.observer.clone(),
        }
    }
}

// === impl Site ===

impl Site {
    pub(crate) fn new(current: Rc<Current>) -> Rc<Self> {
        Rc::new(Self {
            current: RefCell::new(current),
            phase: Cell::new(Phase::Serving),
            acceptors: RefCell::default(),
            connections: RefCell::default(),
            free: RefCell::default(),
        })
    }

    /// What a request that begins now gets.
    pub(crate) fn current(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    /// Requests that begin from now on get this.
    pub(crate) fn swap(&self, current: &Rc<Current>) {
        self.current.replace(Rc::clone(current));
    }

    /// Whether a connection ends with the request that it has or gets.
    pub(crate) fn is_draining(&self) -> bool {
        self.phase.get() != Phase::Serving
    }

    pub(crate) fn has_connections(&self) -> bool {
        self.connections.borrow().len() > self.free.borrow().len()
    }

    /// Stops listening; connections have so long.
    pub(crate) fn drain(self: &Rc<Self>, limit: Duration) {
        self.leave(Phase::Draining, limit);
    }

    /// Takes no more connections, as somebody else does; those that there are have so long.
    pub(crate) fn hand_over(self: &Rc<Self>, limit: Duration) {
        self.leave(Phase::HandedOver, limit);
    }

    fn leave(self: &Rc<Self>, phase: Phase, limit: Duration) {
        self.phase.set(phase);
        for connection in &*self.connections.borrow() {
            connection.waker.iter().for_each(Waker::wake_by_ref);
        }
        self.acceptors.borrow().iter().for_each(Waker::wake_by_ref);
        let site = Rc::clone(self);
        task::spawn_local(async move {
            sleep(limit).await;
            for connection in &*site.connections.borrow() {
                connection.task.iter().for_each(AbortHandle::abort);
            }
        });
    }

    /// Takes connections until the site is drained; those that the kernel has already taken then are served, too. Of a listener that
    /// is handed over, who has it takes them.
    pub(crate) async fn accept(self: Rc<Self>, listener: Rc<TcpListener>) {
        loop {
            let accepted = poll_fn(|context| self.poll_accept(&listener, context)).await;
            match accepted {
                Some(Ok((socket, from))) => self.take(socket, from),
                Some(Err(error)) if is_of_one(&error) => {}
                // No descriptor or memory is left: the connection waits in the kernel.
                Some(Err(_)) => sleep(FULL_PAUSE).await,
                None => return,
            }
        }
    }

    fn poll_accept(
        &self,
        listener: &TcpListener,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<(TcpStream, SocketAddr)>>> {
        if self.phase.get() == Phase::HandedOver {
            return Poll::Ready(None);
        }
        match listener.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending if self.is_draining() => Poll::Ready(None),
            Poll::Pending => {
                let mut acceptors = self.acceptors.borrow_mut();
                if !acceptors.iter().any(|it| it.will_wake(context.waker())) {
                    acceptors.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// A connection has come.
    pub(crate) fn take(self: &Rc<Self>, socket: TcpStream, from: SocketAddr) {
        let current = self.current();
        let arrived = Arrived {
            socket,
            place: Place::new(self),
            current,
        };
        arrived.serve(from);
    }

    /// Begins the task of a connection by the number of its place, which ends with the site.
    pub(crate) fn spawn(&self, at: u32, task: impl Future<Output = ()> + 'static) {
        let task = task::spawn_local(task).abort_handle();
        // It has not run yet: its place is there.
        self.with(at, |connection| connection.task = Some(task));
    }

    fn with<T>(&self, at: u32, what: impl FnOnce(&mut Connection) -> T) -> T {
        what(&mut self.connections.borrow_mut()[at as usize])
    }
}

// === impl Told ===

impl Told {
    fn current(&self, current: Rc<Current>) -> Rc<Current> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((of, own)) if Rc::ptr_eq(of, &current) => Rc::clone(own),
            Some(_) | None => {
                let own = Rc::new(current.of_client(&self.header, self.client));
                *last = Some((current, Rc::clone(&own)));
                own
            }
        }
    }
}

// === impl Place ===

impl Place {
    fn new(site: &Rc<Site>) -> Self {
        let mut connections = site.connections.borrow_mut();
        let free = site.free.borrow_mut().pop();
        let at = free.unwrap_or_else(|| {
            connections.push(Connection::default());
            u32::try_from(connections.len() - 1).expect("a process has fewer descriptors")
        });
        Self {
            site: Rc::clone(site),
            at,
            counted: None,
            seen: CountedConnection::default(),
            told: None,
        }
    }

    /// What a request that begins now gets.
    pub(crate) fn current(&self) -> Rc<Current> {
        let current = self.site.current();
        match &self.told {
            None => current,
            Some(told) => told.current(current),
        }
    }

    /// The connection is one of those that are counted.
    pub(crate) fn count(&mut self, counted: Option<Counted>) {
        self.counted = counted.map(Box::new);
    }

    /// The connection is served, and seen.
    pub(crate) fn see(&mut self, observer: Option<&Rc<Observer>>) {
        self.seen = CountedConnection::of(observer);
    }

    /// From now on servers are told this of the client, and see its address if the service has it so.
    pub(crate) fn tell(&mut self, header: Box<[u8]>, client: SocketAddr) {
        self.told = Some(Box::new(Told {
            header,
            client,
            last: RefCell::default(),
        }));
    }

    /// For [`Site::spawn`], which the place itself is a part of.
    pub(crate) const fn number(&self) -> u32 {
        self.at
    }

    /// Whether the connection is to close instead of waiting for a request. If not, the task hears of it when it is.
    pub(crate) fn is_leaving(&self, context: &Context<'_>) -> bool {
        self.hears(context);
        self.site.phase.get() == Phase::Draining
    }

    /// Whether the client is to be told that no further request is taken, where a protocol can say so at any time. If not, the task
    /// hears of it when it is.
    pub(crate) fn is_last(&self, context: &Context<'_>) -> bool {
        self.hears(context);
        self.site.is_draining()
    }

    fn hears(&self, context: &Context<'_>) {
        self.site.with(self.at, |connection| {
            // It is the same for the task's life.
            let waker = &mut connection.waker;
            waker.get_or_insert_with(|| context.waker().clone());
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.site.with(self.at, std::mem::take);
        self.site.free.borrow_mut().push(self.at);
    }
}

/// Whether an error concerns the connection that was to be accepted, and not the listener.
pub(crate) fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
