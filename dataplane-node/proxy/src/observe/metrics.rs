use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use super::{
    DatagramFate, HistogramReading, ServerFailure, Termination,
    counters::{Answers, RouteCounters, ServerCounters, ServiceCounters},
};

/// What all workers count. Each has counters of its own for a service, made when the service gets its first connection there.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counters>);

/// By thread and by the service's name.
type Counters = HashMap<(ThreadId, Arc<str>), Arc<ServiceCounters>>;

/// What the counters of all workers say together, by service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// By name.
    pub services: BTreeMap<Arc<str>, ServiceReading>,
}

/// What is counted of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceReading {
    /// Connections of clients, now.
    pub connections: u64,
    /// All that there ever were.
    pub connections_total: u64,
    /// Requests that wait for a server with room, now.
    pub queued: u64,
    /// All that ever did.
    pub queued_total: u64,
    /// Requests that were not understood or not allowed, by the name of the reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Requests, by how they ended.
    pub terminations: BTreeMap<Termination, u64>,
    /// Datagrams, by what became of them.
    pub datagrams: BTreeMap<DatagramFate, u64>,
    /// By name; those that no route took are under [`NO_ROUTE`].
    pub routes: BTreeMap<Arc<str>, RouteReading>,
    /// By name.
    pub servers: BTreeMap<Arc<str>, ServerReading>,
}

/// What is counted of the requests of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteReading {
    /// What they were answered, and when.
    pub answers: AnswersReading,
    /// Bytes of clients, with heads and framing.
    pub received: u64,
    /// Bytes to clients, with heads and framing.
    pub sent: u64,
}

/// What is counted of the requests to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerReading {
    /// What they were answered, and when.
    pub answers: AnswersReading,
    /// Those that are not answered whole, now.
    pub requests: u64,
    /// Connections that were made to it.
    pub connections_total: u64,
    /// Requests that were sent again because it had not answered.
    pub retries: u64,
    /// By [`ServerFailure::ALL`].
    pub failures: [u64; ServerFailure::ALL.len()],
}

/// Requests by what they were answered, and how long that took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswersReading {
    /// By the status' first digit; in the first one those that were not answered.
    pub classes: [u64; 6],
    /// Until the answer's head.
    pub head: HistogramReading,
    /// Until the answer's end.
    pub total: HistogramReading,
}

/// Under which requests are counted that no route took.
pub const NO_ROUTE: &str = "";

// === impl Metrics ===

impl Metrics {
    /// This thread's counters of a service.
    pub(crate) fn of_this_thread(&self, service: &Arc<str>) -> Arc<ServiceCounters> {
        let key = (thread::current().id(), service.clone());
        self.lock().entry(key).or_default().clone()
    }

    /// What all counters say now.
    pub fn read(&self) -> Reading {
        self.read_those(|_| true)
    }

    /// What the counters of these services say now.
    pub fn read_those(&self, which: impl Fn(&str) -> bool) -> Reading {
        // Workers that make counters do not wait until all are read.
        let counters = self.lock().clone();
        let mut reading = Reading::default();
        for ((_, service), counters) in counters {
            if which(&service) {
                reading.services.entry(service).or_default().add(&counters);
            }
        }
        reading
    }

    /// Lets go of the services that are no more.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|(_, service), _| keep(service));
    }

    /// Lets go of the routes and servers that a service does not have any more.
    pub fn retain_of(
        &self,
        service: &str,
        keep_route: impl Fn(&str) -> bool,
        keep_server: impl Fn(&str) -> bool,
    ) {
        let counters = self.lock();
        let of_it = counters.iter().filter(|((_, it), _)| **it == *service);
        for (_, counters) in of_it {
            counters
                .routes()
                .retain(|it| it == NO_ROUTE || keep_route(it));
            counters.servers().retain(&keep_server);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        // Nothing in it can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ServiceReading ===

impl ServiceReading {
    fn add(&mut self, counters: &ServiceCounters) {
        // A thread that is gone leaves none behind.
        self.connections += counters.connections.read();
        self.connections_total += counters.connections_total.read();
        self.queued += counters.queued.read();
        self.queued_total += counters.queued_total.read();
        for (name, count) in counters.refusals().filter(|(_, count)| *count > 0) {
            *self.refusals.entry(name).or_default() += count;
        }
        for (termination, count) in counters.terminations().filter(|(_, count)| *count > 0) {
            *self.terminations.entry(termination).or_default() += count;
        }
        for (fate, count) in counters.all_datagrams().filter(|(_, count)| *count > 0) {
            *self.datagrams.entry(fate).or_default() += count;
        }
        counters.routes().each(|name, route| {
            self.routes.entry(name.clone()).or_default().add(route);
        });
        counters.servers().each(|name, server| {
            self.servers.entry(name.clone()).or_default().add(server);
        });
    }

    /// Of all routes together.
    pub fn all_routes(&self) -> RouteReading {
        let mut all = RouteReading::default();
        for RouteReading {
            answers,
            received,
            sent,
        } in self.routes.values()
        {
            all.answers.merge(answers);
            all.received += received;
            all.sent += sent;
        }
        all
    }
}

// === impl RouteReading ===

impl RouteReading {
    fn add(&mut self, counters: &RouteCounters) {
        let RouteCounters {
            answers,
            received,
            sent,
        } = counters;
        self.answers.add(answers);
        self.received += received.read();
        self.sent += sent.read();
    }
}

// === impl ServerReading ===

impl ServerReading {
    fn add(&mut self, counters: &ServerCounters) {
        let ServerCounters {
            answers,
            requests,
            connections_total,
            retries,
            failures,
        } = counters;
        self.answers.add(answers);
        self.requests += requests.read();
        self.connections_total += connections_total.read();
        self.retries += retries.read();
        for (sum, counter) in self.failures.iter_mut().zip(failures) {
            *sum += counter.read();
        }
    }
}

// === impl AnswersReading ===

impl AnswersReading {
    /// All of them.
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    fn add(&mut self, counters: &Answers) {
        for (sum, counter) in self.classes.iter_mut().zip(&counters.classes) {
            *sum += counter.read();
        }
        counters.head.add_to(&mut self.head);
        counters.total.add_to(&mut self.total);
    }

    fn merge(&mut self, other: &Self) {
        for (sum, more) in self.classes.iter_mut().zip(other.classes) {
            *sum += more;
        }
        self.head.merge(&other.head);
        self.total.merge(&other.total);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http1::Refusal;

    fn name(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    /// As one worker counts it.
    fn work(metrics: &Metrics) {
        let shop = metrics.of_this_thread(&name("shop"));
        shop.connections_total.add(3);
        shop.connections.add(3);
        shop.connections.subtract(2);
        shop.refused(Refusal::Host);
        shop.ended(Termination::NORMAL);
        let route = shop.routes().of(&name("cart"));
        route.answers.count(200);
        route.answers.count(404);
        route.answers.count(0);
        route.answers.count(999);
        route.answers.total.record(Duration::from_millis(3));
        route.sent.add(100);
        let server = shop.servers().of(&name("a"));
        server.failures[ServerFailure::NoAnswer as usize].add(1);
        server.retries.add(2);
    }

    #[test]
    fn workers_are_counted_together() {
        let metrics = Arc::new(Metrics::default());
        for _ in 0..3 {
            let metrics = metrics.clone();
            let worker = thread::spawn(move || {
                work(&metrics);
                // The same counters again.
                work(&metrics);
            });
            worker.join().unwrap();
        }
        let reading = metrics.read();
        let shop = &reading.services["shop"];
        assert_eq!((shop.connections, shop.connections_total), (6, 18));
        assert_eq!(shop.refusals, BTreeMap::from([("host", 6)]));
        assert_eq!(
            shop.terminations,
            BTreeMap::from([(Termination::NORMAL, 6)])
        );
        let cart = &shop.routes["cart"];
        assert_eq!(cart.answers.classes, [12, 0, 6, 0, 6, 0]);
        assert_eq!(cart.answers.requests(), 24);
        assert_eq!(cart.answers.total.count(), 6);
        assert_eq!(cart.sent, 600);
        assert_eq!(*cart, shop.all_routes());
        let server = &shop.servers["a"];
        assert_eq!(server.failures, [0, 0, 6, 0, 0, 0, 0]);
        assert_eq!(server.retries, 12);
        assert_eq!(metrics.read_those(|it| it == "other"), Reading::default());
    }

    #[test]
    fn what_is_no_more_is_let_go_of() {
        let metrics = Metrics::default();
        work(&metrics);
        metrics.retain_of("other", |_| false, |_| false);
        assert_eq!(metrics.read().services["shop"].servers.len(), 1);
        let shop = metrics.of_this_thread(&name("shop"));
        shop.routes().of(&name(NO_ROUTE));
        metrics.retain_of("shop", |_| false, |it| it == "a");
        let reading = metrics.read();
        let shop = &reading.services["shop"];
        assert!(shop.routes.keys().eq(&[name(NO_ROUTE)]));
        assert!(shop.servers.keys().eq(&[name("a")]));
        metrics.retain(|it| it != "shop");
        assert_eq!(metrics.read(), Reading::default());
    }
}
