use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
};

use tokio::sync::{Notify, futures::Notified};

use super::source::Source;

/// What holds for a server on the whole node. It has a cache line of its own, as every request writes to it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct SharedServer {
    requests: AtomicU32,
    /// 0 is none.
    requests_max: AtomicU32,
    /// Requests that have gone well since the last one that failed.
    succeeded: AtomicU32,
    connections: AtomicU32,
    /// Those of them that come from clients' addresses.
    transparent: AtomicU32,
    connections_max: AtomicU32,
    /// Who needs one more than there may be.
    connections_needed: AtomicU32,
    /// Nanoseconds from the pool's beginning on.
    ejected_until: AtomicU64,
    /// How many workers send it requests that are for any server.
    open_for: AtomicU32,
    id: u64,
    freed: Notify,
    needed: Arc<Notify>,
}

/// One of a server's connections, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    server: Arc<SharedServer>,
    /// The client's address that it comes from.
    source: Option<Source>,
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
            transparent: AtomicU32::new(0),
            connections_max: AtomicU32::new(0),
            connections_needed: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            open_for: AtomicU32::new(0),
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

    /// One worker more or less sends it requests that are for any server.
    pub(super) fn open_for_one_more(&self, is_more: bool) {
        if is_more {
            self.open_for.fetch_add(1, SeqCst);
        } else {
            self.open_for.fetch_sub(1, SeqCst);
        }
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

    /// Whether it takes requests that are for any server.
    pub(super) fn is_open(&self) -> bool {
        self.open_for.load(SeqCst) > 0
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

    /// Whether a connection comes from a client's address.
    pub(super) fn has_transparent(&self) -> bool {
        self.transparent.load(SeqCst) > 0
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
    /// One of a connection from there.
    pub(super) fn of(mut self, source: Option<Source>) -> Self {
        if source.is_some() {
            self.server.transparent.fetch_add(1, SeqCst);
        }
        self.source = source;
        self
    }

    pub(super) const fn source(&self) -> Option<Source> {
        self.source
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Self { server, source } = self;
        if source.is_some() {
            server.transparent.fetch_sub(1, SeqCst);
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
