use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use lbfabric_bgp::bfd::{Diagnostic, Path, State};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::config::BfdTimers;
use crate::raw::schedule_in_real_time;

mod handed;
mod receiver;
mod route;
mod sender;
mod table;

pub use handed::{BfdFacts, HandedBfd, HandedBfdSession};
use receiver::{Receivers, wait};
pub(crate) use route::BfdRoute;
use sender::Sender;
use table::Table;

/// The thread that BFD runs on. It ends when this is dropped.
#[derive(Debug)]
pub struct BfdThread {
    handle: BfdHandle,
    priority: Priority,
    thread: Option<JoinHandle<()>>,
}

/// Asks the thread for sessions.
#[derive(Clone, Debug)]
pub struct BfdHandle {
    commands: mpsc::Sender<Command>,
    waker: Arc<UnixDatagram>,
    next_key: Arc<AtomicU64>,
}

/// How the thread competes with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priority {
    /// It runs before all ordinary ones (`SCHED_FIFO`).
    RealTime,
    /// It waits its turn, for this reason: losses may be found that are none while processors are busy.
    Ordinary(String),
}

/// A row of the table of BFD sessions.
#[derive(Clone, Debug)]
pub struct BfdReport {
    /// Between whom.
    pub path: Path,
    /// Its state.
    pub state: State,
    /// The partner's, as it last told.
    pub partner_state: State,
    /// Why it was last not up.
    pub diagnostic: Diagnostic,
    /// How long nothing may come.
    pub detection_micros: Option<u64>,
    /// How often it sends.
    pub transmit_micros: Option<u64>,
}

/// Why the thread does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartBfdError {
    /// Another daemon may have the port.
    #[error("cannot receive BFD packets at port {port}")]
    Receive {
        /// Of single hops or of several.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// There is no thread or no way to wake it.
    #[error("cannot start a thread for BFD")]
    Thread(#[source] io::Error),
}

/// A session, for whoever opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BfdKey(u64);

/// Called in the thread when a session that was up is no longer, unless the partner's operator wanted that (RFC 5882 section 4.2).
pub(crate) type OnLoss = Box<dyn FnMut() + Send>;

enum Command {
    Open {
        key: BfdKey,
        route: BfdRoute,
        timers: BfdTimers,
        sender: Sender,
        on_loss: OnLoss,
    },
    Close(BfdKey),
    Report(oneshot::Sender<Vec<BfdReport>>),
    HandOver(oneshot::Sender<io::Result<HandedBfd>>),
    End,
}

/// Above threads of no priority; the kernel's own are at 50.
const PRIORITY: i32 = 10;

// === impl BfdThread ===

impl BfdThread {
    /// Starts it, in the network namespace of the current thread.
    pub fn start() -> Result<Self, StartBfdError> {
        Self::run(Receivers::open()?, vec![])
    }

    /// Goes on with what another process has given away. Each session waits some time for a BGP session that has the same ends.
    pub fn resume(handed: HandedBfd) -> Result<Self, StartBfdError> {
        let HandedBfd {
            receivers,
            sessions,
        } = handed;
        let receivers = Receivers::resume(receivers).map_err(StartBfdError::Thread)?;
        Self::run(receivers, sessions)
    }

    fn run(receivers: Receivers, sessions: Vec<HandedBfdSession>) -> Result<Self, StartBfdError> {
        let mut table = Table::default();
        let mut next_key = 0;
        for session in sessions {
            table.resume(BfdKey(next_key), session);
            next_key += 1;
        }
        let (waker, woken) = UnixDatagram::pair().map_err(StartBfdError::Thread)?;
        for end in [&waker, &woken] {
            end.set_nonblocking(true).map_err(StartBfdError::Thread)?;
        }
        let (commands, inbox) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("bfd".to_owned())
            .spawn(move || {
                // Whoever started it waits for this.
                drop(tell.send(schedule_in_real_time(PRIORITY)));
                run(table, &receivers, &woken, &inbox);
            })
            .map_err(StartBfdError::Thread)?;
        let priority = match told.recv() {
            Ok(Ok(())) => Priority::RealTime,
            Ok(Err(error)) => Priority::Ordinary(error.to_string()),
            Err(error) => Priority::Ordinary(error.to_string()),
        };
        match &priority {
            Priority::RealTime => info!("BFD runs at real-time priority"),
            Priority::Ordinary(why) => warn!(why, "BFD runs without real-time priority"),
        }
        Ok(Self {
            handle: BfdHandle {
                commands,
                waker: Arc::new(waker),
                next_key: Arc::new(AtomicU64::new(next_key)),
            },
            priority,
            thread: Some(thread),
        })
    }

    /// To ask it with.
    pub fn handle(&self) -> BfdHandle {
        self.handle.clone()
    }

    /// Gives BFD to another process: sockets, and sessions that are up. From now on this one only repeats what sessions last said, until it is
    /// dropped; nobody's word ends a session, or begins one.
    pub async fn hand_over(&self) -> io::Result<HandedBfd> {
        let (answer, asked) = oneshot::channel();
        self.handle.tell(Command::HandOver(answer));
        asked.await.map_err(io::Error::other).flatten()
    }

    /// How it competes with other threads.
    pub fn priority(&self) -> &Priority {
        &self.priority
    }
}

impl Drop for BfdThread {
    fn drop(&mut self) {
        self.handle.tell(Command::End);
        if let Some(thread) = self.thread.take() {
            // It has said why it panicked.
            drop(thread.join());
        }
    }
}

// === impl BfdHandle ===

impl BfdHandle {
    /// The table of sessions.
    pub async fn report(&self) -> Vec<BfdReport> {
        let (answer, asked) = oneshot::channel();
        self.tell(Command::Report(answer));
        asked.await.unwrap_or_default()
    }

    /// Begins a session.
    pub(crate) fn open(
        &self,
        route: BfdRoute,
        timers: BfdTimers,
        on_loss: OnLoss,
    ) -> io::Result<BfdKey> {
        let sender = Sender::open(&route)?;
        let key = BfdKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        self.tell(Command::Open {
            key,
            route,
            timers,
            sender,
            on_loss,
        });
        Ok(key)
    }

    /// Ends it; the partner is told that it is meant.
    pub(crate) fn close(&self, key: BfdKey) {
        self.tell(Command::Close(key));
    }

    fn tell(&self, command: Command) {
        // A thread that has ended has no sessions. One that has not been woken for the word before will be.
        drop(self.commands.send(command));
        drop(self.waker.send(&[0]));
    }
}

fn run(
    mut table: Table,
    receivers: &Receivers,
    woken: &UnixDatagram,
    inbox: &mpsc::Receiver<Command>,
) {
    let mut is_given = false;
    loop {
        if !is_given {
            receivers.receive(|packet, path, ttl| table.receive(packet, path, ttl));
        }
        while woken.recv(&mut [0]).is_ok() {}
        while let Ok(command) = inbox.try_recv() {
            match command {
                // Of one that is given away, the other process decides.
                Command::Open { .. } | Command::Close(_) if is_given => {}
                Command::Open {
                    key,
                    route,
                    timers,
                    sender,
                    on_loss,
                } => table.open(key, &route, timers, sender, on_loss),
                Command::Close(key) => table.close(key),
                // Whoever asked may have gone.
                Command::Report(answer) => drop(answer.send(table.report())),
                Command::HandOver(answer) => {
                    let handed = hand_over(&mut table, receivers);
                    is_given |= handed.is_ok();
                    drop(answer.send(handed));
                }
                Command::End => return,
            }
        }
        table.due();
        let (woken, until) = (woken.as_fd(), table.until_deadline());
        if is_given {
            // What comes is the other process's.
            wait(&[woken], until);
        } else {
            receivers.wait(woken, until);
        }
    }
}

fn hand_over(table: &mut Table, receivers: &Receivers) -> io::Result<HandedBfd> {
    Ok(HandedBfd {
        receivers: receivers.copies()?,
        sessions: table.hand_over()?,
    })
}
