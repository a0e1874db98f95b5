use std::{
    cell::{Cell, OnceCell, RefCell},
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use super::{
    AccessLog, LogFormat, Metrics, NO_ROUTE, Record, Sampling, SpanQueue, TracedRequest,
    access_log::LogOfThread,
    counters::{RouteCounters, ServerCounters, ServiceCounters},
    sampling::Sampler,
    state::State,
};

/// States of requests that a worker keeps for a service's next ones.
const STATES_KEPT: usize = 64;

/// What of a service's requests is seen. By default nothing.
#[derive(Clone, Debug, Default)]
pub struct ObserveConfig {
    /// The service's name.
    pub service: Arc<str>,
    /// The names of its routes, by their index.
    pub routes: Vec<Arc<str>>,
    /// Where it is counted.
    pub metrics: Option<Arc<Metrics>>,
    /// Where it is logged.
    pub log: Option<LogConfig>,
    /// Whether servers are told of traces. Otherwise what clients say of them goes on as it is.
    pub traces: Option<TraceConfig>,
    /// Where those of traced requests go that are said to be recorded.
    pub spans: Option<Arc<SpanQueue>>,
}

/// How a service is logged.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Where.
    pub log: Arc<AccessLog>,
    /// How its lines are written.
    pub format: LogFormat,
    /// Which of its requests.
    pub sampling: Sampling,
}

/// What servers are told of traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceConfig {
    /// One in so many traces that begin here is said to be recorded, none if it is 0. Those of clients stay what they are.
    pub sample_one_in: u32,
}

/// A worker's eyes on a service.
#[derive(Debug)]
pub(crate) struct Observer {
    service: Arc<str>,
    routes: Vec<Arc<str>>,
    counted: Option<Counted>,
    log: Option<(LogOfThread, LogFormat, Sampling)>,
    log_sampler: Cell<Sampler>,
    traces: Option<TraceConfig>,
    trace_sampler: Cell<Sampler>,
    spans: Option<Arc<SpanQueue>>,
    random: RandomState,
    randoms: Cell<u64>,
    #[expect(clippy::vec_box, reason = "they are moved to watches as they are")]
    states: RefCell<Vec<Box<State>>>,
}

/// A worker's counters of a service, each looked up when it is first used.
#[derive(Debug)]
struct Counted {
    metrics: Arc<Metrics>,
    service: OnceCell<Arc<ServiceCounters>>,
    /// By index; the last is of requests that no route took.
    routes: Vec<OnceCell<Arc<RouteCounters>>>,
}

/// A server as a worker sees it, whichever configuration has it.
#[derive(Debug)]
pub(crate) struct SeenServer {
    name: Arc<str>,
    address: SocketAddr,
    /// Those of the service that has used it last.
    counters: RefCell<Option<(Arc<ServiceCounters>, Arc<ServerCounters>)>>,
}

/// A connection whose requests may be seen, counted as long as it lives.
#[derive(Debug, Default)]
pub(crate) struct CountedConnection(Option<Rc<Observer>>);

// === impl Observer ===

impl Observer {
    /// None if nothing is to be seen. On the worker's thread.
    pub(crate) fn of(config: &ObserveConfig) -> Option<Rc<Self>> {
        let ObserveConfig {
            service,
            routes,
            metrics,
            log,
            traces,
            spans,
        } = config;
        let log = log.as_ref().filter(|it| it.sampling != Sampling::default());
        if metrics.is_none() && log.is_none() && traces.is_none() {
            return None;
        }
        let counted = metrics.as_ref().map(|metrics| Counted {
            metrics: metrics.clone(),
            service: OnceCell::new(),
            routes: (0..=routes.len()).map(|_| OnceCell::new()).collect(),
        });
        Some(Rc::new(Self {
            service: service.clone(),
            routes: routes.clone(),
            counted,
            log: log.map(|it| (it.log.of_this_thread(), it.format, it.sampling)),
            log_sampler: Cell::default(),
            traces: *traces,
            trace_sampler: Cell::default(),
            spans: spans.clone(),
            random: RandomState::new(),
            randoms: Cell::default(),
            states: RefCell::default(),
        }))
    }

    pub(crate) fn service_name(&self) -> &str {
        &self.service
    }

    pub(crate) fn route_name(&self, route: usize) -> Option<&str> {
        self.routes.get(route).map(|it| &**it)
    }

    /// This worker's counters, if anything is counted.
    pub(crate) fn service(&self) -> Option<&Arc<ServiceCounters>> {
        let counted = self.counted.as_ref()?;
        let of_it = || counted.metrics.of_this_thread(&self.service);
        Some(counted.service.get_or_init(of_it))
    }

    /// Those of a route, or of requests that none took.
    pub(crate) fn route(&self, route: Option<usize>) -> Option<&RouteCounters> {
        let cells = &self.counted.as_ref()?.routes;
        let route = route.filter(|it| *it < self.routes.len());
        let name = || route.map_or_else(|| Arc::from(NO_ROUTE), |it| self.routes[it].clone());
        let cell = cells.get(route.unwrap_or(self.routes.len()))?;
        let service = self.service()?;
        Some(cell.get_or_init(|| service.routes().of(&name())))
    }

    /// Those of a server.
    pub(crate) fn server(&self, server: &SeenServer) -> Option<Arc<ServerCounters>> {
        let service = self.service()?;
        let mut counters = server.counters.borrow_mut();
        if let Some((of, counters)) = &*counters
            && Arc::ptr_eq(of, service)
        {
            return Some(counters.clone());
        }
        let of_it = service.servers().of(&server.name);
        *counters = Some((service.clone(), of_it.clone()));
        Some(of_it)
    }

    /// Whether the next request is logged whatever becomes of it.
    pub(crate) fn samples(&self) -> bool {
        let one_in = self.log.as_ref().map_or(0, |(_, _, it)| it.one_in);
        takes(&self.log_sampler, one_in)
    }

    /// Whether one is logged with which something goes wrong.
    pub(crate) fn logs_errors(&self) -> bool {
        self.log.as_ref().is_some_and(|(_, _, it)| it.errors)
    }

    pub(crate) fn put(&self, record: &Record<'_>) {
        if let Some((log, format, _)) = &self.log {
            log.put(*format, record);
        }
    }

    pub(crate) const fn traces(&self) -> bool {
        self.traces.is_some()
    }

    pub(crate) fn samples_trace(&self) -> bool {
        let one_in = self.traces.map_or(0, |it| it.sample_one_in);
        takes(&self.trace_sampler, one_in)
    }

    /// Whether what becomes of sampled requests is of interest to somebody.
    pub(crate) const fn exports(&self) -> bool {
        self.spans.is_some()
    }

    pub(crate) fn export(&self, request: TracedRequest) {
        if let Some(spans) = &self.spans {
            spans.put(request);
        }
    }

    /// A number that nobody can foretell.
    pub(crate) fn random(&self) -> u64 {
        self.randoms.set(self.randoms.get().wrapping_add(1));
        self.random.hash_one(self.randoms.get())
    }

    /// One that was put back, or a new one.
    pub(crate) fn take_state(&self) -> Box<State> {
        self.states.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn put_back(&self, mut state: Box<State>) {
        state.emptied();
        let mut states = self.states.borrow_mut();
        if states.len() < STATES_KEPT {
            states.push(state);
        }
    }
}

fn takes(sampler: &Cell<Sampler>, one_in: u32) -> bool {
    let mut current = sampler.take();
    let takes = current.takes(one_in);
    sampler.set(current);
    takes
}

// === impl SeenServer ===

impl SeenServer {
    pub(crate) fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.into(),
            address,
            counters: RefCell::default(),
        }
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

// === impl CountedConnection ===

impl CountedConnection {
    pub(crate) fn of(observer: Option<&Rc<Observer>>) -> Self {
        let counters = observer.and_then(|it| it.service());
        if let Some(counters) = counters {
            counters.connections.add(1);
            counters.connections_total.add(1);
        }
        Self(observer.cloned())
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        if let Some(counters) = self.0.as_ref().and_then(|it| it.service()) {
            counters.connections.subtract(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(service: &str, metrics: &Arc<Metrics>) -> ObserveConfig {
        ObserveConfig {
            service: service.into(),
            routes: vec!["a".into(), "b".into()],
            metrics: Some(metrics.clone()),
            ..ObserveConfig::default()
        }
    }

    #[test]
    fn what_asks_for_nothing_has_no_observer() {
        assert!(Observer::of(&ObserveConfig::default()).is_none());
    }

    #[test]
    fn of_ten_thousand_services_those_that_are_used_have_counters() {
        let metrics = Arc::new(Metrics::default());
        let server = SeenServer::new("10.0.0.1:2", ([10, 0, 0, 1], 2).into());
        let observer_of = |number: usize| {
            let config = config(&format!("service {number}"), &metrics);
            Observer::of(&config).unwrap()
        };
        let observers: Vec<_> = (0..10_000).map(observer_of).collect();
        assert!(metrics.read().services.is_empty());
        let connection = CountedConnection::of(Some(&observers[7]));
        observers[7].server(&server).unwrap().requests.add(1);
        observers[7].route(None).unwrap().sent.add(5);
        let reading = metrics.read();
        assert!(reading.services.keys().eq(&[Arc::from("service 7")]));
        let service = &reading.services["service 7"];
        assert_eq!(service.connections, 1);
        assert!(service.servers.keys().eq(&[Arc::from("10.0.0.1:2")]));
        assert!(service.routes.keys().eq(&[Arc::from(NO_ROUTE)]));
        // A new configuration goes on where the old one was.
        let again = observer_of(7);
        again.server(&server).unwrap().requests.add(1);
        drop(connection);
        let service = &metrics.read().services["service 7"];
        assert_eq!(
            (service.connections, service.servers["10.0.0.1:2"].requests),
            (0, 2)
        );
        // Of another service it is another one.
        let other = observers[8].server(&server).unwrap();
        assert_eq!(other.requests.read(), 0);
        // What a configuration does not have is counted as nothing's.
        again.route(Some(2)).unwrap().sent.add(1);
        assert_eq!(
            metrics.read().services["service 7"].routes[NO_ROUTE].sent,
            6
        );
    }

    #[test]
    fn random_numbers_do_not_repeat() {
        let metrics = Arc::new(Metrics::default());
        let observer = Observer::of(&config("a", &metrics)).unwrap();
        let numbers: std::collections::BTreeSet<_> = (0..1000).map(|_| observer.random()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
