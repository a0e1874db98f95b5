use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::engine::ServiceKey;

/// What was counted for a service since it is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections of clients that were taken.
    pub connections: u64,
    /// Requests that were understood.
    pub requests: u64,
    /// Requests that were refused for what they are.
    pub refusals: u64,
}

/// A worker's counters of a service: only the worker writes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    pub(crate) requests: Counter,
    pub(crate) refusals: Counter,
}

/// Written by one thread, read by any.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// A worker's counters by service. Locked when the configuration changes and when somebody reads.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<BTreeMap<ServiceKey, Arc<Counters>>>);

impl Counter {
    pub(crate) fn increment(&self) {
        // The only writer: no locked instruction is needed.
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }
}

impl Registry {
    /// The counters of a service, new ones if it has none.
    pub(crate) fn of(&self, key: ServiceKey) -> Arc<Counters> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counters.entry(key).or_default())
    }

    /// Forgets all other services.
    pub(crate) fn keep<T>(&self, services: &BTreeMap<ServiceKey, T>) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.retain(|key, _| services.contains_key(key));
    }

    pub(crate) fn add_to(&self, sums: &mut BTreeMap<ServiceKey, Traffic>) {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, counters) in counters.iter() {
            let Counters {
                connections,
                requests,
                refusals,
            } = &**counters;
            let sum = sums.entry(*key).or_default();
            sum.connections += connections.0.load(Relaxed);
            sum.requests += requests.0.load(Relaxed);
            sum.refusals += refusals.0.load(Relaxed);
        }
    }
}
