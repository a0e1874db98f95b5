//! What a worker counts of a service, its routes and its servers: written by that worker alone.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Histogram, Termination, datagrams::DatagramFate};
use crate::http1::Refusal;

/// A number that one thread changes and any may read: without the locked instruction that several writers would need.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// Of a service.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounters {
    /// Connections of clients, now.
    pub(crate) connections: Counter,
    /// All that there ever were.
    pub(crate) connections_total: Counter,
    /// Requests that wait for a server with room, now.
    pub(crate) queued: Counter,
    /// All that ever did.
    pub(crate) queued_total: Counter,
    /// By [`Refusal`]. Made with the first one, as the next ones are.
    refusals: OnceLock<Box<[Counter; Refusal::ALL.len()]>>,
    /// By the name of a route's reason.
    route_refusals: Mutex<BTreeMap<&'static str, u64>>,
    /// By [`Termination::index`].
    terminations: OnceLock<Box<[Counter; Termination::COUNT]>>,
    /// By [`DatagramFate`].
    datagrams: OnceLock<Box<[Counter; DatagramFate::ALL.len()]>>,
    routes: Named<RouteCounters>,
    servers: Named<ServerCounters>,
}

/// Of requests that took one route.
#[derive(Debug, Default)]
pub(crate) struct RouteCounters {
    pub(crate) answers: Answers,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

/// Of requests that went to one server.
#[derive(Debug, Default)]
pub(crate) struct ServerCounters {
    pub(crate) answers: Answers,
    /// Requests that it has not answered whole, now.
    pub(crate) requests: Counter,
    /// Connections that were made.
    pub(crate) connections_total: Counter,
    pub(crate) retries: Counter,
    /// By [`ServerFailure`](super::ServerFailure).
    pub(crate) failures: [Counter; super::ServerFailure::ALL.len()],
}

/// Requests by what they were answered, and how long that took.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By the status' first digit; in the first one those that were not answered.
    pub(crate) classes: [Counter; 6],
    /// Until the answer's head.
    pub(crate) head: Histogram,
    /// Until the answer's end.
    pub(crate) total: Histogram,
}

/// What is made when it is first used, by name.
#[derive(Debug)]
pub(crate) struct Named<T>(Mutex<BTreeMap<Arc<str>, Arc<T>>>);

// === impl Counter ===

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// By one thread only.
    pub(crate) fn add(&self, more: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// By the same thread only.
    pub(crate) fn subtract(&self, less: u64) {
        let rest = self.0.load(Ordering::Relaxed).wrapping_sub(less);
        self.0.store(rest, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl ServiceCounters ===

impl ServiceCounters {
    pub(crate) fn refused(&self, refusal: Refusal) {
        let counters = self
            .refusals
            .get_or_init(|| Box::new([const { Counter::new() }; Refusal::ALL.len()]));
        counters[refusal as usize].add(1);
    }

    pub(crate) fn ended(&self, termination: Termination) {
        let counters = self
            .terminations
            .get_or_init(|| Box::new([const { Counter::new() }; Termination::COUNT]));
        counters[termination.index()].add(1);
    }

    /// So many more datagrams have met with this.
    pub(crate) fn datagrams(&self, fate: DatagramFate, count: u64) {
        let counters = self
            .datagrams
            .get_or_init(|| Box::new([const { Counter::new() }; DatagramFate::ALL.len()]));
        counters[fate as usize].add(count);
    }

    pub(crate) fn all_datagrams(&self) -> impl Iterator<Item = (DatagramFate, u64)> {
        let counters = self.datagrams.get().into_iter().flat_map(|it| it.iter());
        let named = DatagramFate::ALL.into_iter().zip(counters);
        named.map(|(fate, counter)| (fate, counter.read()))
    }

    pub(crate) fn refused_by_route(&self, reason: &'static str) {
        *self.route_refusals().entry(reason).or_default() += 1;
    }

    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = self.refusals.get().into_iter().flat_map(|it| it.iter());
        let named = Refusal::ALL.into_iter().zip(counters);
        let by_routes = self.route_refusals().clone();
        named
            .map(|(refusal, counter)| (refusal.name(), counter.read()))
            .chain(by_routes)
    }

    fn route_refusals(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        // Nothing in it can be half done.
        let refusals = self.route_refusals.lock();
        refusals.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn terminations(&self) -> impl Iterator<Item = (Termination, u64)> {
        let counters = self.terminations.get().into_iter().flat_map(|it| it.iter());
        let named = Termination::all().zip(counters);
        named.map(|(termination, counter)| (termination, counter.read()))
    }

    pub(crate) const fn routes(&self) -> &Named<RouteCounters> {
        &self.routes
    }

    pub(crate) const fn servers(&self) -> &Named<ServerCounters> {
        &self.servers
    }
}

// === impl Answers ===

impl Answers {
    /// Counts a request that was answered with this status, 0 if it was not.
    pub(crate) fn count(&self, status: u16) {
        let class = usize::from(status / 100);
        self.classes[if class < 6 { class } else { 0 }].add(1);
    }
}

// === impl Named ===

impl<T: Default> Named<T> {
    /// The one with this name, which is made if it is not there. Not for every request: it is locked.
    pub(crate) fn of(&self, name: &Arc<str>) -> Arc<T> {
        let mut named = self.lock();
        named.entry(name.clone()).or_default().clone()
    }

    /// Lets go of all but those.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| keep(name));
    }

    pub(crate) fn each(&self, mut of: impl FnMut(&Arc<str>, &T)) {
        for (name, it) in &*self.lock() {
            of(name, it);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<T>>> {
        // Nothing in it can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
