use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lbfabric_bgp::{Attributes, Cease, Prefix, RouteChange};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, info};

use crate::bfd::BfdHandle;
use crate::config::{NeighborSetup, SpeakerConfig};
use crate::listener::Listener;
use crate::report::NeighborReport;
use crate::routes::{RouteTable, Routes};
use crate::session::{Command, Session};
use crate::socket::at;

/// Speaks BGP with all neighbors of a node. Dropping it drops the connections without a word, as a new agent that takes over
/// with graceful restart needs it; [`Speaker::shut_down`] says good-bye.
#[derive(Debug)]
pub struct Speaker {
    handle: SpeakerHandle,
    task: JoinHandle<()>,
}

/// Asks a [`Speaker`], which may be gone: then there are no neighbors.
#[derive(Clone, Debug)]
pub struct SpeakerHandle {
    requests: mpsc::UnboundedSender<Request>,
}

enum Request {
    Neighbors(oneshot::Sender<Vec<oneshot::Receiver<NeighborReport>>>),
    Routes(String, oneshot::Sender<Vec<(Prefix, Arc<Attributes>)>>),
    Reset(String, Cease),
    UseBfd(BfdHandle),
    ShutDown(Cease),
}

/// The task behind it.
struct Speaking {
    config: watch::Receiver<Arc<SpeakerConfig>>,
    wanted_routes: watch::Receiver<Arc<Routes>>,
    requests: mpsc::UnboundedReceiver<Request>,
    bfd: Option<BfdHandle>,
    listener: Listener,
    table: RouteTable,
    sessions: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
}

struct Running {
    setup: NeighborSetup,
    commands: mpsc::UnboundedSender<Command>,
    /// Comes when the task's connections are closed: how long the neighbor needs before its next session begins.
    ended: oneshot::Receiver<Duration>,
}

/// After how long a port that was in use is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

// === impl Speaker ===

impl Speaker {
    /// Starts on the current runtime, and follows both until they are dropped and beyond.
    pub fn start(
        config: watch::Receiver<Arc<SpeakerConfig>>,
        routes: watch::Receiver<Arc<Routes>>,
        bfd: Option<BfdHandle>,
    ) -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let speaking = Speaking {
            config,
            wanted_routes: routes,
            requests,
            bfd,
            listener: Listener::default(),
            table: RouteTable::default(),
            sessions: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        Self {
            handle: SpeakerHandle { requests: sender },
            task: tokio::spawn(speaking.run()),
        }
    }

    /// To ask it with.
    pub fn handle(&self) -> SpeakerHandle {
        self.handle.clone()
    }

    /// As [`SpeakerHandle::neighbors`].
    pub async fn neighbors(&self) -> Vec<NeighborReport> {
        self.handle.neighbors().await
    }

    /// As [`SpeakerHandle::routes`].
    pub async fn routes(&self, neighbor: &str) -> Option<Vec<(Prefix, Arc<Attributes>)>> {
        self.handle.routes(neighbor).await
    }

    /// As [`SpeakerHandle::reset`].
    pub fn reset(&self, neighbor: &str, why: &str) {
        self.handle.reset(neighbor, why);
    }

    /// Gives BFD to neighbors that want it.
    pub fn use_bfd(&self, bfd: BfdHandle) {
        self.handle.request(Request::UseBfd(bfd));
    }

    /// Ends all sessions, and tells why.
    pub async fn shut_down(mut self, why: &str) {
        let cease = Cease::AdministrativeShutdown(why.to_owned());
        self.handle.request(Request::ShutDown(cease));
        // A task that panicked has nothing left to say.
        let _outcome = (&mut self.task).await;
    }
}

// === impl SpeakerHandle ===

impl SpeakerHandle {
    /// The session table.
    pub async fn neighbors(&self) -> Vec<NeighborReport> {
        let (answer, asked) = oneshot::channel();
        self.request(Request::Neighbors(answer));
        let mut reports = vec![];
        for report in asked.await.unwrap_or_default() {
            // One that ended meanwhile is none any more.
            reports.extend(report.await);
        }
        reports
    }

    /// What the neighbor has been told; none if there is no such neighbor.
    pub async fn routes(&self, neighbor: &str) -> Option<Vec<(Prefix, Arc<Attributes>)>> {
        let (answer, asked) = oneshot::channel();
        self.request(Request::Routes(neighbor.to_owned(), answer));
        asked.await.ok()
    }

    /// Ends a neighbor's session and begins anew.
    pub fn reset(&self, neighbor: &str, why: &str) {
        let cease = Cease::AdministrativeReset(why.to_owned());
        self.request(Request::Reset(neighbor.to_owned(), cease));
    }

    fn request(&self, request: Request) {
        // A task that is gone answers by dropping what it would answer with.
        drop(self.requests.send(request));
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Speaking ===

impl Speaking {
    async fn run(mut self) {
        // What a first session's first words leave out, a router that kept it takes for withdrawn.
        self.announce();
        self.configure();
        loop {
            let listens_again = self.listener.is_incomplete();
            tokio::select! {
                Ok(()) = self.config.changed() => self.configure(),
                Ok(()) = self.wanted_routes.changed() => self.announce(),
                (stream, from) = self.listener.accept() => self.accepted(stream, from),
                Some(request) = self.requests.recv() => {
                    if let Request::ShutDown(cease) = request {
                        self.stop_all(&cease).await;
                        return;
                    }
                    self.answer(request);
                }
                Some(_) = self.tasks.join_next() => {}
                () = tokio::time::sleep(LISTEN_AGAIN), if listens_again => self.listener.listen(),
            }
        }
    }

    fn configure(&mut self) {
        let config = Arc::clone(&self.config.borrow_and_update());
        let neighbors = config.neighbors();
        let is_gone = |name: &String, _: &mut Running| !neighbors.contains_key(name);
        let mut ending = BTreeMap::new();
        for (name, running) in self.sessions.extract_if(.., is_gone) {
            info!(neighbor = name, "BGP neighbor removed");
            running.tell(Command::Stop(Cease::PeerDeconfigured));
            // It may come back by another name.
            ending.insert(running.setup.transport.peer, running.ended);
        }
        // Before sessions begin, so that a neighbor that is dialled can dial as well.
        self.listener.configure(&config);
        for (name, setup) in neighbors {
            match self.sessions.remove(name) {
                Some(running) if running.setup == *setup => {
                    self.sessions.insert(name.clone(), running);
                }
                Some(running) => {
                    running.tell(Command::Stop(Cease::OtherConfigurationChange));
                    self.begin(name.clone(), setup.clone(), Some(running.ended));
                }
                None => {
                    let before = ending.remove(&setup.transport.peer);
                    self.begin(name.clone(), setup.clone(), before);
                }
            }
        }
    }

    /// Begins a neighbor's session; after the one before, since the neighbor would take its connection for a second one of that.
    fn begin(
        &mut self,
        name: String,
        setup: NeighborSetup,
        before: Option<oneshot::Receiver<Duration>>,
    ) {
        let bfd = self.bfd.clone();
        let (session, commands) = Session::new(name.clone(), setup.clone(), bfd, before);
        let (ends, ended) = oneshot::channel();
        let running = Running {
            setup,
            commands,
            ended,
        };
        running.tell(Command::Drain(self.table.is_draining()));
        let all = self.table.exported(&name, self.table.all().into());
        running.tell(Command::Routes(all));
        self.tasks.spawn(async move {
            let rest = session.run().await;
            // Of most sessions there is no next one.
            ends.send(rest).ok();
        });
        self.sessions.insert(name, running);
    }

    fn announce(&mut self) {
        let next = Arc::clone(&self.wanted_routes.borrow_and_update());
        let was_draining = self.table.is_draining();
        let rules_of = |table: &RouteTable, name: &str| table.rules(name).cloned();
        let names = self.sessions.keys();
        let rules: Vec<_> = names.map(|name| rules_of(&self.table, name)).collect();
        let changes: Arc<[RouteChange]> = self.table.replace(next).into();
        let is_draining = self.table.is_draining();
        for ((name, running), rules) in self.sessions.iter().zip(rules) {
            if was_draining != is_draining {
                running.tell(Command::Drain(is_draining));
            }
            if !changes.is_empty() {
                running.tell(Command::Routes(
                    self.table.exported(name, Arc::clone(&changes)),
                ));
            }
            if rules_of(&self.table, name) != rules {
                // Routes of which nothing changes for the neighbor make no messages.
                let all = self.table.exported(name, self.table.all().into());
                running.tell(Command::Routes(all));
            }
        }
    }

    /// Gives a connection to the neighbor that made it. Nobody else's is kept.
    fn accepted(&self, stream: TcpStream, from: SocketAddr) {
        let local = stream.local_addr().map(|local| local.ip()).ok();
        let is_from = |running: &&Running| {
            let setup = &running.setup;
            let is_here = setup.transport.local.is_none() || setup.transport.local == local;
            is_here
                && at(setup.transport.peer, from.port(), setup).is_ok_and(|at| is_same(at, from))
        };
        if let Some(running) = self.sessions.values().find(is_from) {
            running.tell(Command::Accepted(stream));
        } else {
            debug!(%from, "a BGP connection of no neighbor");
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Neighbors(answer) => {
                let ask = |running: &Running| {
                    let (answer, asked) = oneshot::channel();
                    running.tell(Command::Report(answer));
                    asked
                };
                // Whoever asked may have gone.
                drop(answer.send(self.sessions.values().map(ask).collect()));
            }
            Request::Routes(name, answer) => {
                if let Some(running) = self.sessions.get(&name) {
                    running.tell(Command::Sent(answer));
                }
            }
            Request::Reset(name, cease) => {
                if let Some(running) = self.sessions.remove(&name) {
                    running.tell(Command::Stop(cease));
                    self.begin(name, running.setup, Some(running.ended));
                }
            }
            Request::UseBfd(bfd) => {
                for running in self.sessions.values() {
                    running.tell(Command::UseBfd(bfd.clone()));
                }
                self.bfd = Some(bfd);
            }
            Request::ShutDown(_) => {}
        }
    }

    async fn stop_all(&mut self, cease: &Cease) {
        for running in self.sessions.values() {
            running.tell(Command::Stop(cease.clone()));
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

// === impl Running ===

impl Running {
    fn tell(&self, command: Command) {
        // A task that panicked cannot be told anything.
        drop(self.commands.send(command));
    }
}

/// Whether both are the same address on the same link.
fn is_same(expected: SocketAddr, from: SocketAddr) -> bool {
    let scope = |address: SocketAddr| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    expected.ip() == from.ip() && scope(expected) == scope(from)
}
