use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};

use super::{
    carrier::Carrier, choice::Choice, connection::Transport, key::RequestKey, permit::Permit,
    server::Server, shared::SharedPool,
};
use crate::{
    balance::{Marked, PoolConfig, RetryBudget, Sticky},
    config::ProxyConfig,
    http1::Field,
    observe::{Cause, Phase, Termination, Watch, failure_of},
};

/// How often a server is chosen that another worker fills in the same moment, before the request waits.
const ATTEMPTS: usize = 3;
/// Servers that a connection is tried to, one after the other.
const TRIES: usize = 3;

/// A pool as one configuration has it, of one worker.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    transport: Transport,
    shared: Arc<SharedPool>,
    /// The part of the service.
    part: u32,
    servers: Vec<Rc<Server>>,
    sticky: Option<Sticky>,
    choice: RefCell<Choice>,
    budget: RefCell<RetryBudget>,
    is_retired: Cell<bool>,
    successor: RefCell<Option<Rc<Self>>>,
    has_retired: Notify,
}

/// Why a request gets no server: 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub(crate) enum NoServer {
    /// There is none, or none takes requests.
    NoneThere,
    /// All have as many requests as they may have, and as many wait as may wait.
    QueueFull,
    /// No server had room in time.
    WaitedTooLong,
}

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoUpstream {
    /// No server was chosen.
    #[error(transparent)]
    NoServer(#[from] NoServer),
    /// None could be connected to. [`QuotaExceeded`](std::io::ErrorKind::QuotaExceeded): it has as many connections as it may have.
    #[error("connecting to a server")]
    Connect(#[from] std::io::Error),
}

/// Nobody has room; the one server that the request is for, or any.
pub(super) struct Full(pub(super) Option<usize>);

impl NoServer {
    /// As clients are told.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::NoneThere => "no server",
            Self::QueueFull => "no server has room, nor has the queue",
            Self::WaitedTooLong => "no server had room in time",
        }
    }
}

// === impl NoUpstream ===

impl NoUpstream {
    /// How a request ends that gets none.
    pub(crate) fn termination(&self) -> Termination {
        let (cause, phase) = match self {
            Self::NoServer(NoServer::NoneThere) => (Cause::Server, Phase::Connect),
            Self::NoServer(NoServer::QueueFull) => (Cause::Proxy, Phase::Queue),
            Self::NoServer(NoServer::WaitedTooLong) => (Cause::ServerTimeout, Phase::Queue),
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::QuotaExceeded => (Cause::ServerTimeout, Phase::Queue),
                io::ErrorKind::TimedOut => (Cause::ServerTimeout, Phase::Connect),
                _ => (Cause::Server, Phase::Connect),
            },
        };
        Termination::new(cause, phase)
    }
}

// === impl Pool ===

impl Pool {
    /// `before` is what the pool was until now: servers that are in both stay as they are.
    pub(super) fn new(
        config: PoolConfig,
        transport: Transport,
        (shared, part): (Arc<SharedPool>, u32),
        before: Option<&Self>,
        now: Instant,
    ) -> Rc<Self> {
        // Those that are connected to in another way are others.
        let alike = before.filter(|it| it.transport == transport);
        let known = |config| alike.and_then(|it| it.servers.iter().position(|it| it.is(config)));
        let mut servers = Vec::with_capacity(config.servers.len());
        for server_config in &config.servers {
            let at = known(server_config);
            let server = before.zip(at).map_or_else(
                || {
                    let shared = shared.server(&server_config.name, server_config.id);
                    Rc::new(Server::new(server_config, transport.clone(), shared, part))
                },
                |(before, at)| before.servers[at].clone(),
            );
            let had_weight = before
                .zip(at)
                .is_some_and(|(it, at)| it.config.servers[at].weight > 0);
            // Where all are new, nobody is spared.
            if before.is_some_and(|it| !it.servers.is_empty()) && !had_weight {
                server.joined.set(Some(now));
            }
            server.set_limits(&config.limits, config.idle);
            servers.push(server);
        }
        let names = config.servers.iter().map(|server| server.name.as_str());
        let sticky = config.sticky.as_ref();
        let retries = before.filter(|it| it.config.retries == config.retries);
        let budget = retries.map_or_else(
            || RetryBudget::new(config.retries, now),
            |it| it.budget.borrow().clone(),
        );
        let pool = Rc::new(Self {
            sticky: sticky.and_then(|sticky| Sticky::new(sticky, &config.name, names)),
            choice: RefCell::new(Choice::new(&config, &servers)),
            budget: RefCell::new(budget),
            is_retired: Cell::new(false),
            successor: RefCell::default(),
            has_retired: Notify::new(),
            config,
            transport,
            shared,
            part,
            servers,
        });
        if let Some(before) = before {
            before.retire(Some(pool.clone()));
        }
        pool
    }

    /// Another configuration holds, which need not have this pool. Requests that have a server finish by this one, the others go on to
    /// the next.
    pub(super) fn retire(&self, successor: Option<Rc<Self>>) {
        *self.successor.borrow_mut() = successor;
        self.is_retired.set(true);
        self.has_retired.notify_waiters();
    }

    pub(super) const fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    /// Whether it is what this configuration would make.
    pub(super) fn is(&self, config: &PoolConfig, transport: &Transport) -> bool {
        self.config == *config && self.transport == *transport
    }

    pub(crate) const fn config(&self) -> &PoolConfig {
        &self.config
    }

    pub(super) fn servers(&self) -> &[Rc<Server>] {
        &self.servers
    }

    pub(super) const fn shared(&self) -> &Arc<SharedPool> {
        &self.shared
    }

    pub(super) const fn part(&self) -> u32 {
        self.part
    }

    pub(super) const fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_ref()
    }

    /// Servers that have weight: those of whom a part may be ejected.
    pub(super) fn weighing(&self) -> usize {
        let servers = self.config.servers.iter();
        servers
            .filter(|server| server.weight > 0 && !server.is_backup)
            .count()
    }

    /// What the choice of a request's server goes by. Fields are looked at only if it goes by one.
    pub(crate) fn key<'b>(
        &self,
        fields: impl Iterator<Item = Field<'b>>,
        client: IpAddr,
    ) -> RequestKey {
        RequestKey::of(&self.config, self.sticky.as_ref(), fields, client)
    }

    /// Whether a request may be tried again: one of the pool's retries is taken.
    pub(crate) fn may_retry(&self) -> bool {
        self.budget.borrow_mut().take(Instant::now())
    }

    /// A server for a request, and a connection to it. Where none can be made, nothing of the request is gone: other servers are tried, as
    /// far as the pool's retries go.
    pub(crate) async fn reach<C: Carrier>(
        self: &Rc<Self>,
        key: &RequestKey,
        config: &Arc<ProxyConfig>,
        limit: Duration,
        watch: &Watch,
    ) -> Result<(Permit, C), NoUpstream> {
        // Once, as asking for the time is a good part of what this costs.
        let now = Instant::now();
        if key.avoids.is_none() {
            self.budget.borrow_mut().request(now);
        }
        let permit = if self.is_retired() {
            None
        } else {
            self.try_choose(key, now)?.ok()
        };
        let waiting = permit.as_ref().and_then(C::waiting);
        match (permit, waiting) {
            (Some(permit), Some(carrier)) => {
                watch.server(permit.seen());
                watch.connected(carrier.is_reused());
                Ok((permit, carrier))
            }
            // Most requests find a connection that waits: they do not carry the room for this.
            (permit, _) => Box::pin(self.reach_anew(key, permit, (config, limit), watch)).await,
        }
    }

    async fn reach_anew<C: Carrier>(
        self: &Rc<Self>,
        key: &RequestKey,
        permit: Option<Permit>,
        (config, limit): (&Arc<ProxyConfig>, Duration),
        watch: &Watch,
    ) -> Result<(Permit, C), NoUpstream> {
        let (mut pool, mut key) = (self.clone(), key.clone());
        let mut permit = match permit {
            Some(permit) => permit,
            None => watch.queued(pool.choose(&key)).await?,
        };
        let mut tries = 1;
        loop {
            watch.server(permit.seen());
            let connected = match C::waiting(&permit) {
                Some(carrier) => Ok(carrier),
                None => C::connect(&permit, config, limit).await,
            };
            let error = match connected {
                Ok(carrier) => {
                    watch.connected(carrier.is_reused());
                    return Ok((permit, carrier));
                }
                Err(error) => error,
            };
            if tries == TRIES || !pool.may_retry() {
                return Err(error.into());
            }
            (pool, key) = permit.another(&pool, &key);
            let another = watch.queued(pool.choose(&key)).await?;
            if another.is_at_server_of(&permit) {
                // There is no other.
                return Err(error.into());
            }
            watch.retries(failure_of(&error));
            (permit, tries) = (another, tries + 1);
        }
    }

    /// The pool that has taken this one's place, and what a request's key is there.
    pub(super) fn successor(&self, key: &RequestKey) -> Option<(Rc<Self>, RequestKey)> {
        if !self.is_retired() {
            return None;
        }
        let successor = self.successor.borrow().clone()?;
        let key = self.key_in(&successor, key);
        Some((successor, key))
    }

    /// Servers are told by their places, which are others in another configuration.
    pub(super) fn key_in(&self, other: &Self, key: &RequestKey) -> RequestKey {
        let place = |at: usize| {
            let mut servers = other.servers.iter();
            servers.position(|server| Rc::ptr_eq(server, &self.servers[at]))
        };
        let marked = key.marked.and_then(|marked| {
            let server = place(marked.server)?;
            Some(Marked { server, ..marked })
        });
        RequestKey {
            marked,
            avoids: key.avoids.and_then(place),
            ..key.clone()
        }
    }

    /// A server for a request, with room for it: at once if one has any, else after its time in the queue.
    pub(crate) async fn choose(self: &Rc<Self>, key: &RequestKey) -> Result<Permit, NoServer> {
        if let Some((pool, key)) = self.successor(key) {
            return Box::pin(pool.choose(&key)).await;
        }
        match self.try_choose(key, Instant::now())? {
            Ok(permit) => Ok(permit),
            Err(full) => Box::pin(self.wait(key, full)).await,
        }
    }

    /// When servers' standing changes by itself.
    pub(super) fn next_change(&self) -> Option<Instant> {
        self.choice.borrow().standing.next_change()
    }

    /// Ends when another configuration holds.
    pub(super) fn has_retired(&self) -> Notified<'_> {
        self.has_retired.notified()
    }

    /// Gives what room there is to those who wait.
    pub(super) fn offer(&self) {
        let mut choice = self.choice.borrow_mut();
        choice.look(self, Instant::now());
        for server in choice.standing.candidates() {
            self.shared.offer(&self.servers[*server].shared);
        }
    }

    /// Without waiting.
    pub(super) fn try_choose(
        self: &Rc<Self>,
        key: &RequestKey,
        now: Instant,
    ) -> Result<Result<Permit, Full>, NoServer> {
        let mut choice = self.choice.borrow_mut();
        choice.look(self, now);
        let admitted = |server: usize| {
            let admits = self.servers[server].shared.admit();
            admits.then(|| Permit::new(self, server, key, now))
        };
        // Without weight too: it is only drained.
        let marked = key.marked.map(|marked| marked.server);
        let is_good = |it: &usize| !choice.standing.is_ejected(*it, now) && key.avoids != Some(*it);
        if let Some(server) = marked.filter(is_good) {
            return Ok(admitted(server).ok_or(Full(Some(server))));
        }
        for _ in 0..ATTEMPTS {
            let elsewhere = choice.choose(self, key.hash, key.avoids, now);
            let chosen = match key.avoids {
                Some(_) if elsewhere.is_none() => choice.choose(self, key.hash, None, now),
                Some(_) | None => elsewhere,
            };
            let Some(server) = chosen else { break };
            if let Some(permit) = admitted(server) {
                return Ok(Ok(permit));
            }
        }
        if choice.standing.candidates().is_empty() {
            return Err(NoServer::NoneThere);
        }
        Ok(Err(Full(None)))
    }
}

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;
