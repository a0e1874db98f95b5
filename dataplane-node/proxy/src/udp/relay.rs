use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{io::Interest, task};

use super::{
    HandedRelay, HandedSession, SessionFacts, UdpConfig, UdpCounters,
    counters::Event,
    piece::{From, Piece, Room, Way},
    session::Session,
    socket::connected,
};
use crate::observe::{ObserveConfig, Observer, SeenServer};

/// Pieces that are received before others get their turn.
pub(super) const AT_A_TURN: usize = 64;

/// A worker's sessions, and what they share.
pub(super) struct Relay {
    /// Where clients send to, and their answers come from.
    pub(super) socket: tokio::net::UdpSocket,
    config: RefCell<Arc<UdpConfig>>,
    counters: Arc<UdpCounters>,
    /// Whoever sees its sessions, and what that is by.
    observer: RefCell<(Arc<ObserveConfig>, Option<Rc<Observer>>)>,
    servers: RefCell<HashMap<SocketAddr, Rc<SeenServer>>>,
    pub(super) sessions: RefCell<HashMap<Way, Rc<Session>>>,
    pub(super) room: RefCell<Room>,
    turn: Cell<usize>,
}

/// Relays a socket's datagrams on this thread, in a `tokio` runtime of one thread with a [`LocalSet`](task::LocalSet). Ends only if the
/// socket fails.
pub async fn serve_udp(
    socket: UdpSocket,
    config: UdpConfig,
    counters: Arc<UdpCounters>,
) -> io::Result<()> {
    let observe = Arc::default();
    Relay::new(socket, Arc::new(config), counters, observe)?
        .serve()
        .await
}

impl Relay {
    pub(super) fn new(
        socket: UdpSocket,
        config: Arc<UdpConfig>,
        counters: Arc<UdpCounters>,
        observe: Arc<ObserveConfig>,
    ) -> io::Result<Rc<Self>> {
        let observer = Observer::of(&observe);
        Ok(Rc::new(Self {
            socket: tokio::net::UdpSocket::from_std(socket)?,
            config: RefCell::new(config),
            counters,
            observer: RefCell::new((observe, observer)),
            servers: RefCell::default(),
            sessions: RefCell::default(),
            room: RefCell::new(Room::new()),
            turn: Cell::new(0),
        }))
    }

    /// Ends only if the socket fails.
    pub(super) async fn serve(self: Rc<Self>) -> io::Result<()> {
        loop {
            self.socket.readable().await?;
            self.receive()?;
            // A socket that always has something is not the only one.
            task::yield_now().await;
        }
    }

    /// Goes on by another configuration. Sessions stay if it has their server.
    pub(super) fn swap(&self, config: &Arc<UdpConfig>, observe: &Arc<ObserveConfig>) {
        self.config.replace(Arc::clone(config));
        if !Arc::ptr_eq(&self.observer.borrow().0, observe) {
            let observer = Observer::of(observe);
            self.observer.replace((Arc::clone(observe), observer));
        }
        let mut sessions = self.sessions.borrow_mut();
        let gone = sessions.extract_if(|_, session| !config.keeps(session.server));
        gone.for_each(|(way, session)| session.cut(&way));
        self.servers
            .borrow_mut()
            .retain(|server, _| config.keeps(*server));
    }

    /// Whoever sees its sessions.
    pub(super) fn observer(&self) -> Option<Rc<Observer>> {
        self.observer.borrow().1.clone()
    }

    /// So often has this happened.
    pub(super) fn count(&self, event: Event, count: u64) {
        self.counters.add(event, count);
        let observer = self.observer.borrow();
        let service = observer.1.as_ref().and_then(|it| it.service());
        if let (Some(service), Some(fate)) = (service, event.fate())
            && count > 0
        {
            service.datagrams(fate, count);
        }
    }

    /// A server as it is seen.
    fn seen(&self, server: SocketAddr) -> Rc<SeenServer> {
        let mut servers = self.servers.borrow_mut();
        let seen = servers.entry(server).or_insert_with(|| {
            let config = self.config.borrow();
            let name = config.names.get(&server);
            let name = name.map_or_else(|| server.to_string(), ToString::to_string);
            Rc::new(SeenServer::new(&name, server))
        });
        seen.clone()
    }

    /// Ends all sessions.
    pub(super) fn end(&self) {
        let mut sessions = self.sessions.borrow_mut();
        sessions
            .drain()
            .for_each(|(way, session)| session.cut(&way));
    }

    /// What goes on elsewhere: its socket and its sessions, of which it has none any more.
    pub(super) fn hand_over(&self) -> io::Result<HandedRelay> {
        let socket = self.socket.as_fd().try_clone_to_owned()?;
        let mut sessions = self.sessions.borrow_mut();
        let sessions = sessions.drain();
        Ok(HandedRelay {
            socket: socket.into(),
            sessions: sessions
                .filter_map(|(way, session)| session.hand_over(&way).ok())
                .collect(),
        })
    }

    /// Goes on with sessions that began elsewhere, if it has their servers.
    pub(super) fn resume(self: &Rc<Self>, sessions: Vec<HandedSession>) {
        let config = self.config.borrow();
        for HandedSession { socket, facts } in sessions {
            let SessionFacts {
                client,
                service,
                server,
                ..
            } = facts;
            let Some(socket) = Some(socket).filter(|_| config.keeps(server)) else {
                continue;
            };
            let Ok(socket) = Session::socket(socket) else {
                continue;
            };
            let seen = self.seen(server);
            let session = Session::resumed(&facts, socket, self.observer().as_ref(), &seen);
            let way = Way { client, service };
            self.sessions.borrow_mut().insert(way, session.clone());
            session.begin(self, way);
        }
    }

    /// How long a session may be silent.
    pub(super) fn idle(&self) -> Duration {
        self.config.borrow().idle
    }

    /// Sends on what clients have sent, as much as is a turn.
    fn receive(self: &Rc<Self>) -> io::Result<()> {
        let mut room = self.room.borrow_mut();
        for _ in 0..AT_A_TURN {
            let socket = &self.socket;
            let room = &mut *room;
            let fd = socket.as_raw_fd();
            match socket.try_io(Interest::READABLE, || room.receive(fd)) {
                Ok((piece, from)) => self.forward(&piece, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn forward(self: &Rc<Self>, piece: &Piece<'_>, from: From) {
        let (Some(client), Some(service)) = (from.client, from.service) else {
            // The kernel says both.
            return;
        };
        let way = Way { client, service };
        let session = self.sessions.borrow().get(&way).cloned();
        match session.map_or_else(|| self.begin(way), Ok) {
            Ok(session) => session.forward(self, piece),
            Err(why) => self.count(why, piece.datagrams()),
        }
    }

    fn begin(self: &Rc<Self>, way: Way) -> Result<Rc<Session>, Event> {
        let config = self.config.borrow();
        if self.sessions.borrow().len() >= config.sessions_max {
            return Err(Event::NoRoom);
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let at = turn.checked_rem(config.servers.len());
        let server = config.servers[at.ok_or(Event::NoServer)?];
        let socket = connected(server).and_then(Session::socket);
        // No descriptor or port is left, or no way there.
        let socket = socket.map_err(|_error| Event::NoServer)?;
        let session = Session::new(server, socket, self.observer().as_ref(), &self.seen(server));
        self.sessions.borrow_mut().insert(way, session.clone());
        self.count(Event::Session, 1);
        session.begin(self, way);
        Ok(session)
    }
}
