use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

use tokio::sync::{Notify, futures::Notified};

use super::{shared::lock, source::Source};

/// What holds for a server on the whole node, wherever it listens. It has a cache line of its own, as every request writes to it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct SharedServer {
    requests: AtomicU32,
    /// 0 is none.
    requests_max: AtomicU32,
    /// Requests that have gone well since the last one that failed.
    succeeded: AtomicU32,
    connections: AtomicU32,
    connections_max: AtomicU32,
    /// Who needs one more than there may be.
    connections_needed: AtomicU32,
    /// Nanoseconds from the pool's beginning on.
    ejected_until: AtomicU64,
    /// Connections that come from clients' addresses, by where it listens for them.
    transparent: Mutex<BTreeMap<SocketAddr, u32>>,
    /// How many workers send it requests that are for any server, of each part of the service.
    open_for: Mutex<BTreeMap<u32, u32>>,
    id: u64,
    freed: Notify,
    needed: Arc<Notify>,
}

/// One of a server's connections, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    server: Arc<SharedServer>,
    /// The client's address that it comes from, and where it leads.
    source: Option<(Source, SocketAddr)>,
}

/// One who waits for a connection's place.
struct Need<'s>(&'s SharedServer);

// === impl SharedServer ===

impl SharedServer {
    pub(super) fn new(id: u64, needed: Arc<Notify>) -> Self {
        Self {
            requests: AtomicU32::new(0),
            requests_max: AtomicU32::new(0),
            succeeded: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            connections_max: AtomicU32::new(0),
            connections_needed: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            transparent: Mutex::default(),
            open_for: Mutex::default(),
            id,
            freed: Notify::new(),
            needed,
        }
    }
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Requests that it works on.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(SeqCst)
    }

    /// How many requests and connections it may have; 0 is no limit.
    pub(super) fn set_limits(&self, requests: u32, connections: u32) {
        self.requests_max.store(requests, SeqCst);
        self.connections_max.store(connections, SeqCst);
    }

    /// One worker more or less sends it requests of a part that are for any server.
    pub(super) fn open_for_one_more(&self, part: u32, is_more: bool) {
        count_at(&self.open_for, part, is_more);
    }

    pub(super) fn has_room(&self) -> bool {
        let limit = self.requests_max.load(SeqCst);
        limit == 0 || self.requests() < limit
    }

    /// Counts one more request, if there is room for it.
    pub(super) fn admit(&self) -> bool {
        count_one(&self.requests, &self.requests_max)
    }

    /// One that was counted is done, or has not come to be.
    pub(super) fn finish(&self) {
        self.requests.fetch_sub(1, SeqCst);
    }

    /// The parts of which it takes requests that are for any server.
    pub(super) fn open_for(&self) -> MutexGuard<'_, BTreeMap<u32, u32>> {
        lock(&self.open_for)
    }

    /// Nanoseconds from the pool's beginning on; 0 is never.
    pub(super) fn ejected_until(&self) -> u64 {
        self.ejected_until.load(SeqCst)
    }

    pub(super) fn eject_until(&self, nanos: u64) {
        self.ejected_until.store(nanos, SeqCst);
    }

    /// How many requests have gone well since this was asked last.
    pub(super) fn take_succeeded(&self) -> u32 {
        self.succeeded.swap(0, SeqCst)
    }

    /// A request has gone well.
    pub(super) fn succeeded(&self) {
        self.succeeded.fetch_add(1, SeqCst);
    }

    /// Counts one more connection, if there may be one.
    pub(super) fn slot(self: &Arc<Self>) -> Option<Slot> {
        count_one(&self.connections, &self.connections_max).then(|| Slot {
            server: self.clone(),
            source: None,
        })
    }

    /// Where it has connections from clients' addresses.
    pub(super) fn transparent(&self) -> Vec<SocketAddr> {
        lock(&self.transparent).keys().copied().collect()
    }

    /// Waits until there may be one more connection, and lets workers close some that are idle.
    pub(super) async fn free_slot(self: &Arc<Self>) -> Slot {
        let _need = Need::new(self);
        loop {
            let freed: Notified<'_> = self.freed.notified();
            tokio::pin!(freed);
            // From here on it is heard, so nothing is lost between the look and the wait.
            freed.as_mut().enable();
            if let Some(slot) = self.slot() {
                return slot;
            }
            self.needed.notify_waiters();
            freed.await;
        }
    }

    /// How many more connections are needed than there may be, or how many there are too many.
    pub(super) fn needed(&self) -> u32 {
        let (count, limit) = (&self.connections, self.connections_max.load(SeqCst));
        let above = if limit == 0 {
            0
        } else {
            count.load(SeqCst).saturating_sub(limit)
        };
        above + self.connections_needed.load(SeqCst)
    }
}

/// Counts one more or less; what there is none of has no entry.
fn count_at<K: Ord>(counts: &Mutex<BTreeMap<K, u32>>, at: K, is_more: bool) {
    let mut counts = lock(counts);
    match counts.entry(at) {
        Entry::Vacant(entry) if is_more => {
            entry.insert(1);
        }
        Entry::Vacant(_) => unreachable!("it was counted before"),
        Entry::Occupied(mut entry) if is_more => *entry.get_mut() += 1,
        Entry::Occupied(entry) if *entry.get() == 1 => {
            entry.remove();
        }
        Entry::Occupied(mut entry) => *entry.get_mut() -= 1,
    }
}

fn count_one(count: &AtomicU32, limit: &AtomicU32) -> bool {
    let limit = limit.load(SeqCst);
    if limit == 0 {
        count.fetch_add(1, SeqCst);
        return true;
    }
    let one_more = |count| (count < limit).then(|| count + 1);
    count.fetch_update(SeqCst, SeqCst, one_more).is_ok()
}

// === impl Slot, Need ===

impl Slot {
    /// One of a connection from there to there.
    pub(super) fn of(mut self, source: Option<(Source, SocketAddr)>) -> Self {
        if let Some((_, address)) = source {
            count_at(&self.server.transparent, address, true);
        }
        self.source = source;
        self
    }

    pub(super) fn source(&self) -> Option<Source> {
        self.source.map(|(source, _)| source)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Self { server, source } = self;
        if let Some((_, address)) = source {
            count_at(&server.transparent, *address, false);
        }
        server.connections.fetch_sub(1, SeqCst);
        if server.connections_needed.load(SeqCst) > 0 {
            server.freed.notify_one();
        }
    }
}

impl<'s> Need<'s> {
    fn new(server: &'s SharedServer) -> Self {
        server.connections_needed.fetch_add(1, SeqCst);
        Self(server)
    }
}

impl Drop for Need<'_> {
    fn drop(&mut self) {
        self.0.connections_needed.fetch_sub(1, SeqCst);
    }
}
