use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::UdpSocket,
    os::fd::AsRawFd as _,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{io::Interest, task};

use super::{
    UdpConfig, UdpCounters,
    counters::Event,
    piece::{From, Piece, Room, Way},
    session::Session,
    socket::connected,
};

/// Pieces that are received before others get their turn.
pub(super) const AT_A_TURN: usize = 64;

/// A worker's sessions, and what they share.
pub(super) struct Relay {
    /// Where clients send to, and their answers come from.
    pub(super) socket: tokio::net::UdpSocket,
    config: RefCell<Arc<UdpConfig>>,
    pub(super) counters: Arc<UdpCounters>,
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
    Relay::new(socket, Arc::new(config), counters)?
        .serve()
        .await
}

impl Relay {
    pub(super) fn new(
        socket: UdpSocket,
        config: Arc<UdpConfig>,
        counters: Arc<UdpCounters>,
    ) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            socket: tokio::net::UdpSocket::from_std(socket)?,
            config: RefCell::new(config),
            counters,
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
    pub(super) fn swap(&self, config: &Arc<UdpConfig>) {
        self.config.replace(Arc::clone(config));
        let mut sessions = self.sessions.borrow_mut();
        let gone = sessions.extract_if(|_, session| !config.keeps(session.server));
        gone.for_each(|(_, session)| session.end());
    }

    /// Ends all sessions.
    pub(super) fn end(&self) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.drain().for_each(|(_, session)| session.end());
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
            Err(why) => self.counters.add(why, piece.datagrams()),
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
        let session = Session::new(server, socket.map_err(|_error| Event::NoServer)?);
        self.sessions.borrow_mut().insert(way, session.clone());
        self.counters.add(Event::Session, 1);
        session.begin(self, way);
        Ok(session)
    }
}
