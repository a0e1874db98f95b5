//! The engine as its owner sees it: a thread for each core, all of which get the whole configuration each time.
//!
//! ```text
//! Engine::apply ── Arc<EngineConfig> ──► worker thread ── Site for each address ──► Client for each connection
//!        ◄────────── what failed ───────┘    (each has listeners, connections and servers of its own)
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

use crate::{
    config::ProxyConfig,
    counters::{Registry, Traffic},
    steering::{self, SteeredTable, SteeredVip},
    udp::{HandedRelay, TakenDatagrams, UdpService},
    upstream::SharedPools,
    worker::{Command, WorkerThread},
};

/// How long a worker may take to do what it is told, before it counts as stuck.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// Worker threads and what they serve. Dropping it ends them as [`Engine::stop`] does, without waiting.
#[derive(Debug)]
pub struct Engine {
    workers: Vec<WorkerThread>,
    shared: SharedPools,
    drain: Duration,
    /// By which steered connections come, one of all workers': of IPv4, and of IPv6.
    steering: [Option<TcpListener>; 2],
    /// Of an engine before this one.
    taken_steering: Vec<TcpListener>,
}

/// Names a service of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The service's id in the fabric.
    pub id: u32,
    /// Which of its parts, of which each has its own configuration.
    pub part: u32,
}

/// All that the engine is to serve.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// The services. One whose `Arc` is the same as before has not changed.
    pub services: BTreeMap<ServiceKey, EngineService>,
    /// Those that relay datagrams, with other keys.
    pub datagrams: BTreeMap<ServiceKey, UdpService>,
}

/// A service, and where clients reach it.
#[derive(Clone, Debug)]
pub struct EngineService {
    /// The addresses to listen at. They need not be the machine's own yet.
    pub listen: Vec<SocketAddr>,
    /// What has no listener: see [`Engine::steer`].
    pub steered: Vec<SteeredVip>,
    /// What it does.
    pub proxy: Arc<ProxyConfig>,
}

/// A service is not served as it is to be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An address cannot be listened at. The service is served at the others.
    #[error("listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another service of the same configuration has the address.
    #[error("{address} is another service's")]
    Taken {
        /// The address.
        address: SocketAddr,
    },
    /// A worker does not answer, or has ended.
    #[error("worker {worker} does not answer")]
    Worker {
        /// Its number.
        worker: usize,
    },
}

/// The engine does not give away what it listens with.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// A worker does not answer, or has ended.
    #[error("worker {worker} does not answer")]
    Worker {
        /// Its number.
        worker: usize,
    },
    /// There are no descriptors for the copies.
    #[error("copy a listener")]
    Copy(#[from] io::Error),
}

impl Engine {
    /// Starts worker threads, in the calling thread's network namespace. `drain` is for how long connections of a listener that is
    /// taken away may go on.
    pub fn start(workers: usize, drain: Duration) -> io::Result<Self> {
        Self::take_over(Vec::new(), workers, drain)
    }

    /// As [`Engine::start`], with the listeners of an engine before this one, from [`Engine::hand_over`]: the first configuration says
    /// which of them go on; the others are closed.
    pub fn take_over(
        listeners: Vec<TcpListener>,
        workers: usize,
        drain: Duration,
    ) -> io::Result<Self> {
        let mut parts: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
        let mut of_address: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let is_steering = |it: &mut TcpListener| steering::family(it).is_some();
        let mut listeners = listeners;
        let taken_steering = listeners.extract_if(.., is_steering).collect();
        for listener in listeners {
            // Each address had one for each worker then.
            let turn = of_address.entry(listener.local_addr()?).or_default();
            parts[*turn % workers].push(listener);
            *turn += 1;
        }
        let shared = SharedPools::default();
        let parts = parts.into_iter().enumerate();
        let workers =
            parts.map(|(number, part)| WorkerThread::start(number, drain, shared.clone(), part));
        Ok(Self {
            workers: workers.collect::<io::Result<_>>()?,
            shared,
            drain,
            steering: [None, None],
            taken_steering,
        })
    }

    /// Makes workers take connections to addresses that nobody listens at, of IPv4 and of IPv6, and gives the sockets that somebody has to give
    /// them to: of a family it is one of several that listen at the same address.
    pub fn steer(&mut self, families: [bool; 2]) -> io::Result<[Option<&TcpListener>; 2]> {
        for (family, is_wanted) in families.into_iter().enumerate() {
            let is_ipv4 = family == 0;
            let is_its = |it: &mut TcpListener| steering::family(it) == Some(is_ipv4);
            let mut all: Vec<_> = self.taken_steering.extract_if(.., is_its).collect();
            if !is_wanted || self.steering[family].is_some() {
                continue;
            }
            if all.is_empty() {
                all = steering::listeners(is_ipv4, self.workers.len())?;
            }
            self.steering[family] = Some(all[0].try_clone()?);
            for (turn, listener) in all.into_iter().enumerate() {
                // One that has ended is told of by the next configuration.
                let _told = self.workers[turn % self.workers.len()].send(Command::Steer(listener));
            }
        }
        let [v4, v6] = &self.steering;
        Ok([v4.as_ref(), v6.as_ref()])
    }

    /// A socket of each of these services of datagrams, for somebody to give them what is to addresses that it is not at: it is one of several
    /// at the same address. What a worker does not have, or not in time, is missing.
    pub async fn datagram_sockets(
        &self,
        services: BTreeSet<ServiceKey>,
    ) -> BTreeMap<ServiceKey, UdpSocket> {
        let services = Arc::new(services);
        let mut all = BTreeMap::new();
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            let services = Arc::clone(&services);
            if worker.send(Command::DatagramSockets { services, reply }) {
                let answer = timeout(WORKER_PATIENCE, answer).await;
                for (key, socket) in answer.ok().and_then(Result::ok).unwrap_or_default() {
                    all.entry(key).or_insert(socket);
                }
            }
        }
        all
    }

    /// Takes no more connections, and gives what it listens with to who takes them from now on. The connections that there are have so
    /// long: each ends behind its next answer. [`Engine::stop`] waits for that.
    pub async fn hand_over(&mut self, limit: Duration) -> Result<Vec<TcpListener>, HandOverError> {
        self.drain = limit;
        let mut all = Vec::new();
        for (number, worker) in self.workers.iter().enumerate() {
            let (reply, answer) = oneshot::channel();
            if !worker.send(Command::HandOver { limit, reply }) {
                return Err(HandOverError::Worker { worker: number });
            }
            let answer = timeout(WORKER_PATIENCE, answer).await;
            let answer = answer.ok().and_then(Result::ok);
            all.extend(answer.ok_or(HandOverError::Worker { worker: number })??);
        }
        Ok(all)
    }

    /// Stops relaying datagrams, and gives all that they were relayed with to who goes on with it; behind [`Engine::hand_over`]. A worker
    /// that does not answer keeps its own.
    pub async fn hand_over_datagrams(&self) -> Vec<HandedRelay> {
        let mut all = Vec::new();
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            if worker.send(Command::HandOverDatagrams { reply }) {
                let answer = timeout(WORKER_PATIENCE, answer).await;
                all.extend(answer.ok().and_then(Result::ok).unwrap_or_default());
            }
        }
        all
    }

    /// Goes on with what an engine before this one has relayed datagrams with, as far as the next configuration has it.
    pub fn take_datagrams(&self, relays: Vec<HandedRelay>) {
        let mut parts: Vec<_> = self.workers.iter().map(|_| Vec::new()).collect();
        let mut of_address: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for relay in relays {
            // One that cannot say where it listens is of no use.
            if let Ok(address) = relay.socket.local_addr() {
                let turn = of_address.entry(address).or_default();
                parts[*turn % self.workers.len()].push(relay);
                *turn += 1;
            }
        }
        for (worker, relays) in self.workers.iter().zip(parts) {
            let taken = TakenDatagrams {
                relays,
                addresses: of_address.keys().copied().collect(),
            };
            // One that has ended is told of by the next configuration.
            let _told = worker.send(Command::TakeDatagrams(taken));
        }
    }

    /// Makes the workers serve this and nothing else, and gives what cannot be served, or not everywhere. No request in progress is
    /// touched: those of a service that has changed end as they began, and what a service had of connections to servers stays.
    pub async fn apply(&self, config: EngineConfig) -> BTreeMap<ServiceKey, ApplyError> {
        let steered = Arc::new(SteeredTable::new(&config.services));
        let config = Arc::new(config);
        let replies: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (reply, answer) = oneshot::channel();
                let command = Command::Apply {
                    config: Arc::clone(&config),
                    steered: Arc::clone(&steered),
                    reply,
                };
                worker.send(command).then_some(answer)
            })
            .collect();
        let deadline = Instant::now() + WORKER_PATIENCE;
        let mut errors = BTreeMap::new();
        for (worker, answer) in replies.into_iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let failed = match answer {
                Some(answer) => timeout(left, answer).await.ok().and_then(Result::ok),
                None => None,
            };
            match failed {
                Some(failed) => {
                    for (key, error) in failed {
                        errors.entry(key).or_insert(error);
                    }
                }
                None => {
                    for key in config.services.keys().chain(config.datagrams.keys()) {
                        errors.entry(*key).or_insert(ApplyError::Worker { worker });
                    }
                }
            }
        }
        errors
    }

    /// What was counted for each service that is served now.
    pub fn traffic(&self) -> BTreeMap<ServiceKey, Traffic> {
        let mut sums: BTreeMap<ServiceKey, Traffic> = BTreeMap::new();
        for worker in &self.workers {
            Registry::add_to(&worker.registry, &mut sums);
        }
        sums
    }

    /// What workers share of their pools.
    pub(crate) const fn shared(&self) -> &SharedPools {
        &self.shared
    }

    /// Servers with connections from clients' addresses, of services that are gone too: their answers are still to be brought here.
    pub fn transparent_servers(&self) -> BTreeSet<SocketAddr> {
        self.shared.transparent()
    }

    /// Stops listening, and waits until every connection has ended, at most for the drain time.
    pub async fn stop(self) {
        let Self {
            workers,
            shared: _,
            drain,
            steering: _,
            taken_steering: _,
        } = self;
        // A worker begins to end when nobody can tell it anything any more.
        let ends: Vec<_> = workers.into_iter().map(WorkerThread::end).collect();
        for end in ends {
            // One that is stuck ends with the process.
            let _late = timeout(drain + WORKER_PATIENCE, end).await;
        }
    }
}
