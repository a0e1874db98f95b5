use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified, oneshot};

use super::{shared_server::SharedServer, view::ServerView};
use crate::balance::{OutlierConfig, Outliers, PoolConfig, ServerConfig, Ticket, WaitQueue};

/// What the workers of a node share of their pools. Pools of one service and name are one pool here, whichever of its ports and VIPs clients
/// come to.
#[derive(Clone, Debug, Default)]
pub struct SharedPools(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    /// By the service's id and the pool's name.
    pools: Mutex<HashMap<(u32, String), Weak<SharedPool>>>,
    /// Somebody needs the place of an idle connection.
    needed: Arc<Notify>,
}

/// What holds for a pool on the whole node.
#[derive(Debug)]
pub(crate) struct SharedPool {
    begun: Instant,
    /// How often somebody was ejected.
    ejections: AtomicU64,
    /// As many as `queue` has, for those who have nothing to give.
    waiting: AtomicU32,
    queue: Mutex<WaitQueue<u64, Waiter>>,
    outliers: Mutex<Outliers<u64>>,
    /// By name and id.
    servers: Mutex<HashMap<(String, u32), Weak<SharedServer>>>,
    /// Somebody was ejected: those who wait look at when it is back.
    ejected: Notify,
    needed: Arc<Notify>,
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    /// The part of the service that it came to, which need not reach every server.
    part: u32,
    grant: oneshot::Sender<Grant>,
}

/// Room at a server that somebody waits for has been given to. Dropped, it goes to the next one.
#[derive(Debug)]
pub(super) struct Grant {
    pool: Arc<SharedPool>,
    server: Option<Arc<SharedServer>>,
}

/// A place in a pool's queue, which is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pool: Arc<SharedPool>,
    ticket: Ticket,
}

// === impl SharedPools ===

impl SharedPools {
    pub(super) fn pool(&self, service: u32, name: &str) -> Arc<SharedPool> {
        let key = (service, name.to_owned());
        let mut pools = lock(&self.0.pools);
        if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
            return pool;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        let pool = Arc::new(SharedPool {
            begun: Instant::now(),
            ejections: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            queue: Mutex::new(WaitQueue::new()),
            outliers: Mutex::new(Outliers::new()),
            servers: Mutex::default(),
            ejected: Notify::new(),
            needed: self.0.needed.clone(),
        });
        pools.insert(key, Arc::downgrade(&pool));
        pool
    }

    /// What is known of a pool's servers, and until when they are ejected; nothing of those that no worker has.
    pub(super) fn seen(
        &self,
        service: u32,
        config: &PoolConfig,
        now: Instant,
    ) -> Vec<(ServerView, Option<Instant>)> {
        let key = (service, config.name.clone());
        let pool = lock(&self.0.pools).get(&key).and_then(Weak::upgrade);
        let seen = |config: &ServerConfig| {
            let pool = pool.as_ref()?;
            let key = (config.name.clone(), config.id);
            let server = lock(&pool.servers).get(&key).and_then(Weak::upgrade)?;
            let until = pool.ejected_until(&server).filter(|until| now < *until);
            let view = ServerView {
                is_candidate: false,
                requests: server.requests(),
                has_room: server.has_room(),
                ejected_for: until.map(|until| until - now),
            };
            Some((view, until))
        };
        let nothing = ServerView {
            has_room: true,
            ..ServerView::default()
        };
        let servers = config.servers.iter();
        servers
            .map(|it| seen(it).unwrap_or((nothing, None)))
            .collect()
    }

    pub(super) fn needed(&self) -> &Notify {
        &self.0.needed
    }

    /// Servers with connections from clients' addresses.
    pub(crate) fn transparent(&self) -> BTreeSet<SocketAddr> {
        let pools = lock(&self.0.pools);
        let mut found = BTreeSet::new();
        for pool in pools.values().filter_map(Weak::upgrade) {
            let servers = lock(&pool.servers);
            let servers = servers.values().filter_map(Weak::upgrade);
            found.extend(servers.flat_map(|server| server.transparent()));
        }
        found
    }
}

// === impl SharedPool ===

impl SharedPool {
    pub(super) fn server(&self, name: &str, id: u32) -> Arc<SharedServer> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut servers = lock(&self.servers);
        let key = (name.to_owned(), id);
        if let Some(server) = servers.get(&key).and_then(Weak::upgrade) {
            return server;
        }
        let id = NEXT.fetch_add(1, SeqCst);
        let server = Arc::new(SharedServer::new(id, self.needed.clone()));
        servers.insert(key, Arc::downgrade(&server));
        server
    }

    /// Forgets the servers that no worker has any more.
    pub(super) fn retain(&self) {
        let mut servers = lock(&self.servers);
        servers.retain(|_, server| server.strong_count() > 0);
        let ids: Vec<_> = servers
            .values()
            .filter_map(Weak::upgrade)
            .map(|it| it.id())
            .collect();
        drop(servers);
        lock(&self.outliers).retain(|id| ids.contains(id));
    }

    /// How often somebody was ejected: workers look again when this changes.
    pub(super) fn ejections(&self) -> u64 {
        self.ejections.load(SeqCst)
    }

    pub(super) fn ejected_until(&self, server: &SharedServer) -> Option<Instant> {
        let nanos = server.ejected_until();
        (nanos > 0).then(|| self.begun + Duration::from_nanos(nanos))
    }

    /// A request to one of `servers` servers has failed.
    pub(super) fn failed(&self, server: &SharedServer, servers: usize, config: &OutlierConfig) {
        let now = Instant::now();
        let successes = server.take_succeeded();
        let mut outliers = lock(&self.outliers);
        if let Some(until) = outliers.failed(&server.id(), successes, servers, now, config) {
            let nanos = until.saturating_duration_since(self.begun).as_nanos();
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            server.eject_until(nanos);
            self.ejections.fetch_add(1, SeqCst);
            self.ejected.notify_waiters();
        }
    }

    /// Ends when somebody is ejected.
    pub(super) fn has_ejected(&self) -> Notified<'_> {
        self.ejected.notified()
    }

    /// A place in the queue, if there is one. Whoever has it has to look once more whether there is room: what became free before it had
    /// the place was not offered to it.
    pub(super) fn join(
        self: &Arc<Self>,
        wants: Option<u64>,
        part: u32,
        limit: u32,
    ) -> Option<(Place, oneshot::Receiver<Grant>)> {
        let (grant, receiver) = oneshot::channel();
        let mut queue = lock(&self.queue);
        let ticket = queue.join(wants, Waiter { part, grant }, limit)?;
        self.count(&queue);
        let place = Place {
            pool: self.clone(),
            ticket,
        };
        Some((place, receiver))
    }

    /// A request is done.
    pub(super) fn release(self: &Arc<Self>, server: &Arc<SharedServer>) {
        server.finish();
        self.offer(server);
    }

    /// Gives a server's room to those who wait.
    pub(super) fn offer(self: &Arc<Self>, server: &Arc<SharedServer>) {
        while self.waiting.load(SeqCst) > 0 {
            let Some(next) = self.next_for(server) else {
                return;
            };
            // If it has gone meanwhile, the grant comes back and goes to the next one.
            let _gone = next.grant.send(Grant {
                pool: self.clone(),
                server: Some(server.clone()),
            });
        }
    }

    /// Who is next, with the server's room taken.
    fn next_for(&self, server: &SharedServer) -> Option<Waiter> {
        let mut queue = lock(&self.queue);
        if !server.admit() {
            return None;
        }
        // Not every worker has seen yet that it is ejected.
        let until = self.ejected_until(server);
        let is_ejected = until.is_some_and(|until| Instant::now() < until);
        let open = server.open_for();
        let is_open = |waiter: &Waiter| !is_ejected && open.contains_key(&waiter.part);
        let next = queue.next_for(&server.id(), is_open);
        drop(open);
        if next.is_none() {
            // Whoever joins later looks for itself, and finds it free again.
            server.finish();
        }
        self.count(&queue);
        next
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.queue).len()
    }

    fn count(&self, queue: &WaitQueue<u64, Waiter>) {
        let count = u32::try_from(queue.len()).expect("its limit is one of these");
        self.waiting.store(count, SeqCst);
    }
}

// === impl Grant, Place ===

impl Grant {
    /// The server, and whoever takes it releases it.
    pub(super) fn take(mut self) -> Option<Arc<SharedServer>> {
        self.server.take()
    }

    pub(super) fn id(&self) -> Option<u64> {
        self.server.as_ref().map(|server| server.id())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.pool.release(&server);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = lock(&self.pool.queue);
        queue.leave(self.ticket);
        self.pool.count(&queue);
    }
}

/// Nothing behind these locks is ever half done, so a thread that has panicked leaves nothing that is wrong.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
