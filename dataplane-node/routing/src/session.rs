use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbfabric_bgp::{
    Action, Attributes, Cease, Direction, Event, Family, Neighbor, PerFamily, Prefix, RouteChange,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::bfd::{BfdHandle, BfdKey, BfdRoute};
use crate::clock::{Clock, random};
use crate::config::NeighborSetup;
use crate::report::NeighborReport;
use crate::socket::{adopt, dial};

mod link;

use link::{Heard, Link};

/// What a session's task is told.
pub(crate) enum Command {
    /// What is announced changes.
    Routes(Arc<[RouteChange]>),
    /// The neighbor is to prefer other ways, or no longer.
    Drain(bool),
    /// The neighbor has made a connection.
    Accepted(TcpStream),
    /// BFD has lost it.
    BfdLost,
    /// There is a thread for BFD.
    UseBfd(BfdHandle),
    /// The session is over, and so is the task.
    Stop(Cease),
    /// How is it?
    Report(oneshot::Sender<NeighborReport>),
    /// What has been announced?
    Sent(oneshot::Sender<Vec<(Prefix, Arc<Attributes>)>>),
}

/// One neighbor's task.
pub(crate) struct Session {
    name: String,
    setup: NeighborSetup,
    neighbor: Neighbor,
    clock: Clock,
    inbox: mpsc::UnboundedReceiver<Command>,
    /// For what BFD finds.
    outbox: mpsc::UnboundedSender<Command>,
    dialling: Option<Dialling>,
    accepted: Option<TcpStream>,
    outgoing: Option<Link>,
    incoming: Option<Link>,
    /// Connections that are being closed.
    parting: JoinSet<()>,
    /// Ends once the session before is over, and the neighbor had its rest.
    before: Option<Before>,
    bfd: Bfd,
    /// More can be sent at once.
    has_more: bool,
    is_over: bool,
}

/// BFD beside the session.
struct Bfd {
    handle: Option<BfdHandle>,
    running: Option<(BfdRoute, BfdKey)>,
    fault: Option<String>,
}

/// Why a task goes on.
enum Wake {
    Command(Command),
    Dialled(io::Result<TcpStream>),
    Ready,
    Parted,
    /// The session before is over.
    Free,
}

type Before = Pin<Box<dyn Future<Output = ()> + Send>>;
type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// A router's BFD tells its BGP that we have ended it, in FRR by way of a third process. A session that is there before that would be
/// taken for the lost one.
const REST_AFTER_BFD: Duration = Duration::from_millis(300);
/// How much may wait to be sent before updates are asked for.
const BUDGET: usize = 64 << 10;
/// How much is read at once.
const READ_MAX: usize = 16 << 10;
/// RFC 9687 section 3.
const SEND_HOLD: Duration = Duration::from_mins(8);

// === impl Session ===

impl Session {
    /// A task to be run, and where to tell it things.
    pub(crate) fn new(
        name: String,
        setup: NeighborSetup,
        bfd: Option<BfdHandle>,
        before: Option<oneshot::Receiver<Duration>>,
    ) -> (Self, mpsc::UnboundedSender<Command>) {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let before = before.map(|before| -> Before {
            Box::pin(async move {
                // A task that panicked says nothing.
                let rest = before.await.unwrap_or_default();
                tokio::time::sleep(rest).await;
            })
        });
        let session = Self {
            neighbor: Neighbor::new(setup.config.clone(), random()),
            name,
            setup,
            clock: Clock::new(),
            inbox,
            outbox: outbox.clone(),
            dialling: None,
            accepted: None,
            outgoing: None,
            incoming: None,
            parting: JoinSet::new(),
            before,
            bfd: Bfd {
                handle: bfd,
                running: None,
                fault: None,
            },
            has_more: false,
            is_over: false,
        };
        (session, outbox)
    }

    /// Until it is told to stop. Gives how long the neighbor needs before its next session begins.
    pub(crate) async fn run(mut self) -> Duration {
        if self.before.is_none() {
            self.step(Event::Start);
        }
        while !self.is_over {
            self.send();
            let wake = self.wait().await;
            match wake {
                Wake::Command(command) => self.obey(command),
                Wake::Dialled(Ok(stream)) => {
                    self.dialling = None;
                    self.outgoing = Some(Link::new(stream));
                    self.step(Event::Dialled);
                }
                Wake::Dialled(Err(error)) => {
                    debug!(neighbor = self.name, %error, "cannot connect");
                    self.dialling = None;
                    self.step(Event::Failed(Direction::Outgoing));
                }
                Wake::Free => {
                    self.before = None;
                    self.step(Event::Start);
                }
                Wake::Ready | Wake::Parted => {}
            }
            self.hear(Direction::Outgoing);
            self.hear(Direction::Incoming);
            self.report_due();
        }
        while self.parting.join_next().await.is_some() {}
        // Last: a partner that hears of BFD's end first takes the neighbor for lost, and not for stopped.
        let had_bfd = self.bfd.stop();
        if let Some(before) = self.before {
            before.await;
        }
        if had_bfd {
            REST_AFTER_BFD
        } else {
            Duration::ZERO
        }
    }

    async fn wait(&mut self) -> Wake {
        let deadline = self.deadline();
        tokio::select! {
            biased;
            command = self.inbox.recv() => command.map_or(Wake::Ready, Wake::Command),
            outcome = dialled(self.dialling.as_mut()) => Wake::Dialled(outcome),
            () = ready(self.outgoing.as_ref()) => Wake::Ready,
            () = ready(self.incoming.as_ref()) => Wake::Ready,
            Some(_) = self.parting.join_next() => Wake::Parted,
            () = ended(self.before.as_mut()) => Wake::Free,
            () = until(deadline) => Wake::Ready,
            () = tokio::task::yield_now(), if self.has_more => Wake::Ready,
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Routes(changes) => {
                for change in changes.iter() {
                    let routes = self.neighbor.routes_mut();
                    routes.set(change.prefix, change.attributes.clone());
                }
            }
            Command::Drain(is_draining) => self.neighbor.routes_mut().set_draining(is_draining),
            Command::Accepted(stream) => match adopt(&stream, &self.setup) {
                Ok(()) => {
                    self.accepted = Some(stream);
                    self.step(Event::Accepted);
                }
                Err(error) => warn!(neighbor = self.name, %error, "cannot take a connection"),
            },
            Command::BfdLost => {
                info!(neighbor = self.name, "BFD has lost the neighbor");
                self.step(Event::BfdDown);
            }
            Command::UseBfd(handle) => {
                self.bfd.handle = Some(handle);
                if self.neighbor.negotiated().is_some() {
                    self.start_bfd();
                }
            }
            Command::Stop(cease) => {
                self.is_over = true;
                self.step(Event::Stop(cease));
            }
            // Whoever asked may have gone.
            Command::Report(answer) => drop(answer.send(self.report())),
            Command::Sent(answer) => {
                let sent = self.neighbor.routes().sent();
                let sent = sent.map(|(prefix, attributes)| (prefix, Arc::clone(attributes)));
                drop(answer.send(sent.collect()));
            }
        }
    }

    /// Reads what has come.
    fn hear(&mut self, direction: Direction) {
        let mut buffer = [0; READ_MAX];
        while let Some(link) = self.link(direction) {
            match link.read(&mut buffer) {
                Heard::Bytes(length) => self.step(Event::Received(direction, &buffer[..length])),
                Heard::Nothing => return,
                Heard::End => {
                    *self.link(direction) = None;
                    self.step(Event::Failed(direction));
                }
            }
        }
    }

    /// Sends what waits, and tells of routes while little does.
    fn send(&mut self) {
        self.has_more = false;
        if self.waiting() < BUDGET
            && let Some((direction, bytes)) = self.neighbor.updates(self.clock.now(), BUDGET)
        {
            self.has_more = true;
            if let Some(link) = self.link(direction) {
                link.send(bytes);
            }
        }
        for direction in [Direction::Outgoing, Direction::Incoming] {
            if let Some(link) = self.link(direction)
                && link.flush().is_err()
            {
                *self.link(direction) = None;
                self.step(Event::Failed(direction));
            }
        }
        // Room is waited for otherwise.
        self.has_more &= self.waiting() < BUDGET;
    }

    fn report_due(&mut self) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let since = self.link(direction).as_ref().and_then(Link::stalled_since);
            if since.is_some_and(|since| since.elapsed() >= SEND_HOLD) {
                self.step(Event::NotTaken(direction));
            }
        }
        let deadline = self.neighbor.deadline();
        if deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
            self.step(Event::Due);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let links = [self.outgoing.as_ref(), self.incoming.as_ref()];
        let stalled = links.into_iter().flatten().filter_map(Link::stalled_since);
        let due = self.neighbor.deadline();
        let due = due.and_then(|moment| self.clock.instant(moment));
        stalled.map(|since| since + SEND_HOLD).chain(due).min()
    }

    fn step(&mut self, event: Event<'_>) {
        let actions = self.neighbor.step(self.clock.now(), event);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial => {
                let setup = self.setup.clone();
                self.dialling = Some(Box::pin(async move { dial(&setup).await }));
            }
            Action::Take => self.incoming = self.accepted.take().map(Link::new),
            Action::Refuse => self.accepted = None,
            Action::Send(direction, bytes) => {
                if let Some(link) = self.link(direction) {
                    link.send(bytes);
                }
            }
            Action::Close(direction) => {
                if direction == Direction::Outgoing {
                    self.dialling = None;
                }
                if let Some(link) = self.link(direction).take() {
                    self.parting.spawn(link.part());
                }
            }
            Action::Up(negotiated) => {
                info!(neighbor = self.name, ?negotiated, "BGP session established");
                self.start_bfd();
            }
            Action::Down(end) => warn!(neighbor = self.name, ?end, "BGP session ended"),
            Action::Failed(end) => debug!(neighbor = self.name, ?end, "BGP connection ended"),
            Action::Default(change) => {
                info!(neighbor = self.name, ?change, "default route");
            }
        }
    }

    /// BFD follows the session's addresses. It goes on when the session ends, so that the partner does not take that for a loss.
    fn start_bfd(&mut self) {
        let (Some(timers), Some(handle)) = (self.setup.bfd, &self.bfd.handle) else {
            return;
        };
        let links = [self.outgoing.as_ref(), self.incoming.as_ref()];
        let addresses = links.into_iter().flatten().find_map(Link::addresses);
        let Some((local, remote)) = addresses else {
            return;
        };
        let opened = BfdRoute::between(local, remote, &self.setup).and_then(|route| {
            match self.bfd.running {
                Some((running, key)) if running == route => return Ok((route, key)),
                Some((_, key)) => handle.close(key),
                None => {}
            }
            let outbox = self.outbox.clone();
            // A task that is over need not know.
            let on_loss = Box::new(move || drop(outbox.send(Command::BfdLost)));
            Ok((route, handle.open(route, timers, on_loss)?))
        });
        match opened {
            Ok(running) => {
                self.bfd.running = Some(running);
                self.bfd.fault = None;
            }
            Err(error) => {
                warn!(neighbor = self.name, %error, "no BFD");
                self.bfd.running = None;
                self.bfd.fault = Some(error.to_string());
            }
        }
    }

    fn report(&self) -> NeighborReport {
        let neighbor = &self.neighbor;
        let links = [self.outgoing.as_ref(), self.incoming.as_ref()];
        let ended = neighbor.last_end().map(|(moment, end)| {
            let ago = self.clock.now().since(*moment);
            (ago.as_secs(), end.clone())
        });
        let is_bfd_missing = self.setup.bfd.is_some() && self.bfd.handle.is_none();
        let missing = is_bfd_missing.then(|| "no thread for BFD runs".to_owned());
        NeighborReport {
            name: self.name.clone(),
            state: neighbor.state(),
            negotiated: neighbor.negotiated().copied(),
            addresses: links.into_iter().flatten().find_map(Link::addresses),
            last_end: ended,
            sessions: neighbor.sessions(),
            desired: neighbor.routes().desired_count(),
            sent: neighbor.routes().sent_count(),
            is_settled: neighbor.routes().is_settled(),
            withheld: neighbor.routes().withheld().collect(),
            imports: neighbor.import_counts(),
            default_routes: PerFamily::from_each(|family: Family| neighbor.default_route(family)),
            bfd_fault: missing.or_else(|| self.bfd.fault.clone()),
        }
    }

    fn link(&mut self, direction: Direction) -> &mut Option<Link> {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }

    fn waiting(&self) -> usize {
        let links = [self.outgoing.as_ref(), self.incoming.as_ref()];
        links.into_iter().flatten().map(Link::waiting).sum()
    }
}

// === impl Bfd ===

impl Bfd {
    /// Whether there was anything to stop.
    fn stop(&mut self) -> bool {
        let running = self.running.take();
        if let (Some((_, key)), Some(handle)) = (running, &self.handle) {
            handle.close(key);
        }
        running.is_some()
    }
}

impl Drop for Bfd {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn dialled(dialling: Option<&mut Dialling>) -> io::Result<TcpStream> {
    match dialling {
        Some(dialling) => dialling.await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of another session; for ever if there is none.
async fn ended(session: Option<&mut Before>) {
    match session {
        Some(session) => session.await,
        None => std::future::pending().await,
    }
}

async fn ready(link: Option<&Link>) {
    match link {
        Some(link) => link.ready().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
