use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    net::SocketAddr,
    os::fd::AsFd as _,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{mpsc, oneshot},
    task,
    time::{Instant, sleep},
};
use tracing::error;

use crate::{
    config::ProxyConfig,
    counters::{Counters, Registry},
    engine::{ApplyError, EngineConfig, ServiceKey},
    site::{Current, Site},
    steering::{SteeredTable, Steering},
    udp::{HandedRelay, TakenDatagrams, UdpSites},
    upstream::SharedPools,
};

/// Connections that the kernel keeps until a worker takes them.
const BACKLOG: i32 = 1024;
/// A worker that ends looks this often whether its last connection has.
const END_POLL: Duration = Duration::from_millis(20);

/// What a worker is told.
pub(crate) enum Command {
    /// To serve this and nothing else.
    Apply {
        config: Arc<EngineConfig>,
        /// Whose connections are that nobody listens for.
        steered: Arc<SteeredTable>,
        reply: oneshot::Sender<Vec<(ServiceKey, ApplyError)>>,
    },
    /// To give a socket of each of these services of datagrams.
    DatagramSockets {
        services: Arc<BTreeSet<ServiceKey>>,
        reply: oneshot::Sender<Vec<(ServiceKey, std::net::UdpSocket)>>,
    },
    /// To take what comes by this listener, wherever it was to.
    Steer(std::net::TcpListener),
    /// To take no more connections, and to give away what it listens with.
    HandOver {
        limit: Duration,
        reply: oneshot::Sender<io::Result<Vec<std::net::TcpListener>>>,
    },
    /// To give away what it relays datagrams with.
    HandOverDatagrams {
        reply: oneshot::Sender<Vec<HandedRelay>>,
    },
    /// To go on with these, as far as its next configuration has them.
    TakeDatagrams(TakenDatagrams),
}

/// A worker's thread, from outside.
#[derive(Debug)]
pub(crate) struct WorkerThread {
    commands: mpsc::UnboundedSender<Command>,
    ended: oneshot::Receiver<()>,
    pub(crate) registry: Arc<Registry>,
}

/// A worker, on its thread.
struct Worker {
    services: BTreeMap<ServiceKey, Rc<Current>>,
    datagrams: UdpSites,
    is_handed_over: bool,
    sites: BTreeMap<SocketAddr, Listening>,
    steering: Rc<Steering>,
    /// Listeners of an engine before this one, until the first configuration has said which of them are wanted.
    taken_over: Vec<std::net::TcpListener>,
    taken_datagrams: TakenDatagrams,
    /// Sites that are drained and may still have connections.
    leaving: Vec<Rc<Site>>,
    registry: Arc<Registry>,
    shared: SharedPools,
    drain: Duration,
}

/// A site, and what it listens with.
struct Listening {
    site: Rc<Site>,
    listeners: Vec<Rc<TcpListener>>,
}

// === impl WorkerThread ===

impl WorkerThread {
    /// `taken_over` are listeners of an engine before this one.
    pub(crate) fn start(
        number: usize,
        drain: Duration,
        shared: SharedPools,
        taken_over: Vec<std::net::TcpListener>,
    ) -> io::Result<Self> {
        let (commands, told) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let (start, started) = std::sync::mpsc::channel();
        let registry = Arc::new(Registry::default());
        let worker_registry = Arc::clone(&registry);
        let work = move || {
            // It cannot move to another thread.
            let (runtime, outcome) = match runtime() {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let is_heard = start.send(outcome).is_ok();
            if let Some(runtime) = runtime.filter(|_| is_heard) {
                let worker = Worker {
                    services: BTreeMap::new(),
                    sites: BTreeMap::new(),
                    steering: Rc::default(),
                    datagrams: UdpSites::default(),
                    is_handed_over: false,
                    taken_over,
                    taken_datagrams: TakenDatagrams::default(),
                    leaving: Vec::new(),
                    registry: worker_registry,
                    shared,
                    drain,
                };
                runtime.block_on(worker.run(told));
            }
            // Nobody may wait for it.
            let _heard = end.send(());
        };
        thread::Builder::new()
            .name(format!("lbfabric-l7-{number}"))
            .spawn(work)?;
        started
            .recv()
            .unwrap_or_else(|gone| Err(io::Error::other(gone)))?;
        Ok(Self {
            commands,
            ended,
            registry,
        })
    }

    /// False if it has ended.
    pub(crate) fn send(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }

    /// Tells it to end, and resolves when it has.
    pub(crate) fn end(self) -> oneshot::Receiver<()> {
        self.ended
    }
}

// === impl Worker ===

impl Worker {
    async fn run(mut self, mut told: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = told.recv().await {
            // Who asked may have lost patience.
            match command {
                Command::Apply {
                    config,
                    steered,
                    reply,
                } => {
                    let failed = self.apply(&config);
                    self.steering.follow(steered);
                    let _heard = reply.send(failed);
                }
                Command::DatagramSockets { services, reply } => {
                    let _heard = reply.send(self.datagrams.sockets(&services));
                }
                Command::Steer(listener) => {
                    if let Err(error) = self.steering.listen(listener) {
                        error!(%error, "connections that are steered wait");
                    }
                }
                Command::HandOver { limit, reply } => {
                    (self.drain, self.is_handed_over) = (limit, true);
                    let _heard = reply.send(self.hand_over());
                }
                Command::HandOverDatagrams { reply } => {
                    let _heard = reply.send(self.datagrams.hand_over());
                }
                Command::TakeDatagrams(taken) => self.taken_datagrams = taken,
            }
        }
        let deadline = Instant::now() + self.drain;
        if !self.is_handed_over {
            self.datagrams.end();
        }
        self.drain_except(&EngineConfig::default());
        self.steering.end();
        // Datagrams that nobody has taken over go on for as long as connections may.
        let is_busy = |worker: &Self| {
            !worker.datagrams.is_empty() || worker.leaving.iter().any(|it| it.has_connections())
        };
        while is_busy(&self) && Instant::now() < deadline {
            sleep(END_POLL).await;
        }
        self.datagrams.end();
    }

    fn apply(&mut self, config: &EngineConfig) -> Vec<(ServiceKey, ApplyError)> {
        self.leaving.retain(|site| site.has_connections());
        self.drain_except(config);
        let mut failed = Vec::new();
        let before = std::mem::take(&mut self.services);
        let mut served: BTreeMap<SocketAddr, ServiceKey> = BTreeMap::new();
        for (key, service) in &config.services {
            let current = match before.get(key) {
                Some(had) if Arc::ptr_eq(&had.config, &service.proxy) => Rc::clone(had),
                had => self.renew(*key, &service.proxy, had),
            };
            if !service.steered.is_empty() {
                self.steering.serve(*key, &current);
            }
            for address in &service.listen {
                let result = match served.entry(*address) {
                    Entry::Vacant(entry) => {
                        entry.insert(*key);
                        self.serve(*address, &current)
                    }
                    Entry::Occupied(other) if other.get() == key => Ok(()),
                    Entry::Occupied(_) => Err(ApplyError::Taken { address: *address }),
                };
                failed.extend(result.err().map(|error| (*key, error)));
            }
            self.services.insert(*key, current);
        }
        // What nobody wants of them is closed.
        self.taken_over.clear();
        self.registry.keep(&self.services);
        let taken = std::mem::take(&mut self.taken_datagrams);
        failed.extend(self.datagrams.apply(&config.datagrams, taken));
        failed
    }

    /// Stops listening without closing what it listens with: connections that come meanwhile wait in the kernel.
    fn hand_over(&mut self) -> io::Result<Vec<std::net::TcpListener>> {
        let listeners = self.sites.values().flat_map(|it| &it.listeners);
        let copies = listeners.map(|listener| {
            let copy = listener.as_fd().try_clone_to_owned()?;
            Ok(std::net::TcpListener::from(copy))
        });
        let mut copies = copies.collect::<io::Result<Vec<_>>>()?;
        let (steering, steered) = self.steering.hand_over()?;
        copies.extend(steering);
        for site in steered {
            site.hand_over(self.drain);
            self.leaving.push(site);
        }
        for (_, Listening { site, .. }) in std::mem::take(&mut self.sites) {
            site.hand_over(self.drain);
            self.leaving.push(site);
        }
        Ok(copies)
    }

    /// Drains the sites that the configuration does not have.
    fn drain_except(&mut self, config: &EngineConfig) {
        let services = config.services.values();
        let wanted: std::collections::BTreeSet<&SocketAddr> =
            services.flat_map(|service| &service.listen).collect();
        for (_, Listening { site, .. }) in self
            .sites
            .extract_if(.., |address, _| !wanted.contains(address))
        {
            site.drain(self.drain);
            self.leaving.push(site);
        }
        for site in self.steering.leave_except(&config.services) {
            site.drain(self.drain);
            self.leaving.push(site);
        }
    }

    /// A service with another configuration, which goes on with the connections that it has.
    fn renew(
        &self,
        key: ServiceKey,
        config: &Arc<ProxyConfig>,
        before: Option<&Rc<Current>>,
    ) -> Rc<Current> {
        Rc::new(Current::new(
            Arc::clone(config),
            before.map(|it| &**it),
            self.registry.of(key),
            (key, &self.shared),
        ))
    }

    /// Serves an address by a configuration, with the listener that is there.
    fn serve(&mut self, address: SocketAddr, current: &Rc<Current>) -> Result<(), ApplyError> {
        if let Some(Listening { site, .. }) = self.sites.get(&address) {
            site.swap(current);
            return Ok(());
        }
        let listeners = self.listeners(address);
        let listeners = listeners.map_err(|source| ApplyError::Listen { address, source })?;
        let site = Site::new(Rc::clone(current));
        for listener in &listeners {
            task::spawn_local(Rc::clone(&site).accept(Rc::clone(listener)));
        }
        self.sites.insert(address, Listening { site, listeners });
        Ok(())
    }

    /// What was taken over for an address, or a new listener.
    fn listeners(&mut self, address: SocketAddr) -> io::Result<Vec<Rc<TcpListener>>> {
        let is_its = |listener: &mut std::net::TcpListener| {
            listener.local_addr().is_ok_and(|it| it == address)
        };
        let mut listeners: Vec<_> = self.taken_over.extract_if(.., is_its).collect();
        if listeners.is_empty() {
            listeners.push(listener(address)?);
        }
        let listeners = listeners.into_iter();
        listeners
            .map(|it| TcpListener::from_std(it).map(Rc::new))
            .collect()
    }
}

/// One that a worker's tasks stay on, which needs no lock for waking one.
fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}

/// A listener that each worker makes for itself: the kernel spreads connections over them. The address need not be the machine's yet.
pub fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Of its connections too, from the beginning.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Is a worker: serves a listener's connections on this thread for ever. `shared` is the same for all workers of a node.
pub fn work(
    listener: std::net::TcpListener,
    config: ProxyConfig,
    shared: SharedPools,
) -> io::Result<()> {
    let runtime = runtime()?;
    // A task as all others are: what a runtime is blocked on is woken by a system call.
    let served = runtime.spawn_local(serve(listener, config, shared));
    runtime.block_on(served)?
}

/// Serves a listener's connections for ever, each as a task that stays on this thread: in a [`LocalRuntime`], or a
/// [`LocalSet`](task::LocalSet).
pub async fn serve(
    listener: std::net::TcpListener,
    config: ProxyConfig,
    shared: SharedPools,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let config = Arc::new(config);
    let counters = Arc::new(Counters::default());
    let current = Current::new(config, None, counters, (ServiceKey::default(), &shared));
    Site::new(Rc::new(current)).accept(Rc::new(listener)).await;
    Ok(())
}
