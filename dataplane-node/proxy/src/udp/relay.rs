use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::UdpSocket,
    os::fd::AsRawFd as _,
    rc::Rc,
    sync::Arc,
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
    pub(super) config: UdpConfig,
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
    let relay = Rc::new(Relay {
        socket: tokio::net::UdpSocket::from_std(socket)?,
        config,
        counters,
        sessions: RefCell::default(),
        room: RefCell::new(Room::new()),
        turn: Cell::new(0),
    });
    loop {
        relay.socket.readable().await?;
        relay.receive()?;
        // A socket that always has something is not the only one.
        task::yield_now().await;
    }
}

impl Relay {
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
        if self.sessions.borrow().len() >= self.config.sessions_max {
            return Err(Event::NoRoom);
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let at = turn.checked_rem(self.config.servers.len());
        let server = at.map(|at| self.config.servers[at]);
        let socket = connected(server.ok_or(Event::NoServer)?).and_then(Session::socket);
        // No descriptor or port is left, or no way there.
        let session = Session::new(socket.map_err(|_error| Event::NoServer)?);
        self.sessions.borrow_mut().insert(way, session.clone());
        self.counters.add(Event::Session, 1);
        task::spawn_local(session.clone().answer(self.clone(), way));
        Ok(session)
    }
}
