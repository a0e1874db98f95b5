use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::Interest,
    net::UdpSocket,
    task::{self, AbortHandle},
    time::{Instant, sleep_until},
};

use super::{
    HandedSession, SessionFacts,
    counters::Event,
    piece::{Piece, Way},
    relay::{AT_A_TURN, Relay},
};
use crate::observe::{
    Cause, CountedConnection, Ending, Observer, Packets, Peer, Phase, Protocol, SeenServer,
    Termination, Watch,
};

/// What a client says to a server, and what that answers.
pub(super) struct Session {
    pub(super) server: SocketAddr,
    /// Connected to the server.
    socket: UdpSocket,
    began: Instant,
    /// When the last datagram came, of either side.
    last: Cell<Instant>,
    /// How old it was when the first answer came.
    answered: Cell<Option<Duration>>,
    /// What sends on the answers.
    task: RefCell<Option<AbortHandle>>,
    watch: Watch,
    packets: Cell<Packets>,
    _counted: CountedConnection,
}

impl Session {
    pub(super) fn new(
        server: SocketAddr,
        socket: UdpSocket,
        observer: Option<&Rc<Observer>>,
        seen: &Rc<SeenServer>,
    ) -> Rc<Self> {
        let watch = watched(observer, seen);
        watch.connected(false);
        Rc::new(Self {
            server,
            socket,
            began: Instant::now(),
            last: Cell::new(Instant::now()),
            answered: Cell::default(),
            task: RefCell::default(),
            watch,
            packets: Cell::default(),
            _counted: CountedConnection::of(observer),
        })
    }

    /// One that began elsewhere.
    pub(super) fn resumed(
        facts: &SessionFacts,
        socket: UdpSocket,
        observer: Option<&Rc<Observer>>,
        seen: &Rc<SeenServer>,
    ) -> Rc<Self> {
        let SessionFacts {
            client: _,
            service: _,
            server,
            age,
            silent,
            answered,
            received,
            sent,
            packets,
        } = *facts;
        let watch = watched(observer, seen);
        watch.connected(true);
        watch.resumes(age, answered);
        watch.relayed(received, sent);
        let now = Instant::now();
        Rc::new(Self {
            server,
            socket,
            began: now.checked_sub(age).unwrap_or(now),
            last: Cell::new(now.checked_sub(silent).unwrap_or(now)),
            answered: Cell::new(answered),
            task: RefCell::default(),
            watch,
            packets: Cell::new(packets),
            _counted: CountedConnection::of(observer),
        })
    }

    /// What goes on elsewhere; whoever calls this has taken it out of the sessions.
    pub(super) fn hand_over(&self, way: &Way) -> io::Result<HandedSession> {
        self.task.borrow().iter().for_each(AbortHandle::abort);
        self.watch.forget();
        let now = Instant::now();
        let facts = SessionFacts {
            client: way.client,
            service: way.service,
            server: self.server,
            age: now.saturating_duration_since(self.began),
            silent: now.saturating_duration_since(self.last.get()),
            answered: self.answered.get(),
            received: self.watch.received().get(),
            sent: self.watch.sent().get(),
            packets: self.packets.get(),
        };
        let socket = self.socket.as_fd().try_clone_to_owned()?;
        Ok(HandedSession {
            socket: socket.into(),
            facts,
        })
    }

    /// Sends on the answers from now on.
    pub(super) fn begin(self: &Rc<Self>, relay: &Rc<Relay>, way: Way) {
        let task = task::spawn_local(self.clone().answer(relay.clone(), way));
        self.task.replace(Some(task.abort_handle()));
    }

    /// Sends on nothing more, though there might be more; whoever calls this has taken it out of the sessions.
    pub(super) fn cut(&self, way: &Way) {
        self.task.borrow().iter().for_each(AbortHandle::abort);
        self.ended(Termination::new(Cause::Proxy, Phase::Data), way);
    }

    /// It is over, for that reason.
    fn ended(&self, termination: Termination, way: &Way) {
        self.watch.packets(self.packets.get());
        let ending = Ending {
            termination,
            ..Ending::default()
        };
        let peer = Peer {
            address: way.client.ip(),
            tls: None,
        };
        self.watch.ends(ending, peer);
    }

    pub(super) fn socket(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::from_std(socket)
    }

    /// Sends on what the client has sent.
    pub(super) fn forward(&self, relay: &Relay, piece: &Piece<'_>) {
        self.last.set(Instant::now());
        // An error of an earlier datagram is told here: this one is not sent.
        let sent = piece.send(self.socket.as_raw_fd(), None).unwrap_or(0);
        relay.count(Event::ToServer, sent);
        relay.count(Event::ServerFull, piece.datagrams() - sent);
        let packets = self.packets.get();
        self.packets.set(Packets {
            received: packets.received + sent,
            ..packets
        });
        self.watch.receives(piece.bytes_of(sent));
    }

    /// Sends on what the server answers, until there is nothing for too long.
    async fn answer(self: Rc<Self>, relay: Rc<Relay>, way: Way) {
        let idle = async {
            loop {
                let due = self.last.get() + relay.idle();
                if due <= Instant::now() {
                    return;
                }
                sleep_until(due).await;
            }
        };
        tokio::pin!(idle);
        let termination = loop {
            tokio::select! {
                biased;
                // That nobody is there is told as an error, with nothing to read.
                ready = self.socket.ready(Interest::READABLE | Interest::ERROR) => {
                    let is_there = ready.is_ok_and(|it| !it.is_error());
                    if !is_there || self.receive(&relay, &way).is_err() {
                        relay.count(Event::ServerGone, 1);
                        // Before it has answered anything, it is one that takes nothing.
                        let has_answered = self.packets.get().sent > 0;
                        let phase = if has_answered { Phase::Data } else { Phase::Connect };
                        break Termination::new(Cause::Server, phase);
                    }
                    task::yield_now().await;
                }
                // There is no other way to know that both have done.
                () = &mut idle => break Termination::NORMAL,
            }
        };
        relay.sessions.borrow_mut().remove(&way);
        self.ended(termination, &way);
    }

    /// Sends on what there is, as much as is a turn; an error if the server is not there.
    fn receive(&self, relay: &Relay, way: &Way) -> io::Result<()> {
        let mut room = relay.room.borrow_mut();
        for _ in 0..AT_A_TURN {
            let room = &mut *room;
            let fd = self.socket.as_raw_fd();
            let received = self.socket.try_io(Interest::READABLE, || room.receive(fd));
            let piece = match received {
                Ok((piece, _from)) => piece,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.last.set(Instant::now());
            let sent = piece.send(relay.socket.as_raw_fd(), Some(way)).unwrap_or(0);
            relay.count(Event::ToClient, sent);
            relay.count(Event::ClientFull, piece.datagrams() - sent);
            let packets = self.packets.get();
            if self.answered.get().is_none() {
                self.answered.set(Some(self.began.elapsed()));
                self.watch.answered(0);
            }
            self.packets.set(Packets {
                sent: packets.sent + sent,
                ..packets
            });
            self.watch.relayed(0, piece.bytes_of(sent));
        }
        Ok(())
    }
}

fn watched(observer: Option<&Rc<Observer>>, seen: &Rc<SeenServer>) -> Watch {
    let watch = Watch::of(observer);
    watch.head(0);
    watch.carries(Protocol::Udp);
    watch.server(seen);
    watch
}
