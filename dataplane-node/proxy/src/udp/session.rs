use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    os::fd::AsRawFd as _,
    rc::Rc,
};

use tokio::{
    io::Interest,
    net::UdpSocket,
    task::{self, AbortHandle},
    time::{Instant, sleep_until},
};

use super::{
    counters::Event,
    piece::{Piece, Way},
    relay::{AT_A_TURN, Relay},
};

/// What a client says to a server, and what that answers.
pub(super) struct Session {
    pub(super) server: SocketAddr,
    /// Connected to the server.
    socket: UdpSocket,
    /// When the last datagram came, of either side.
    last: Cell<Instant>,
    /// What sends on the answers.
    task: RefCell<Option<AbortHandle>>,
}

impl Session {
    pub(super) fn new(server: SocketAddr, socket: UdpSocket) -> Rc<Self> {
        Rc::new(Self {
            server,
            socket,
            last: Cell::new(Instant::now()),
            task: RefCell::default(),
        })
    }

    /// Sends on the answers from now on.
    pub(super) fn begin(self: &Rc<Self>, relay: &Rc<Relay>, way: Way) {
        let task = task::spawn_local(self.clone().answer(relay.clone(), way));
        self.task.replace(Some(task.abort_handle()));
    }

    /// Sends on nothing more; whoever calls this has taken it out of the sessions.
    pub(super) fn end(&self) {
        self.task.borrow().iter().for_each(AbortHandle::abort);
    }

    pub(super) fn socket(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::from_std(socket)
    }

    /// Sends on what the client has sent.
    pub(super) fn forward(&self, relay: &Relay, piece: &Piece<'_>) {
        self.last.set(Instant::now());
        // An error of an earlier datagram is told here: this one is not sent.
        let sent = piece.send(self.socket.as_raw_fd(), None).unwrap_or(0);
        relay.counters.add(Event::ToServer, sent);
        relay
            .counters
            .add(Event::ServerFull, piece.datagrams() - sent);
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
        loop {
            tokio::select! {
                biased;
                // That nobody is there is told as an error, with nothing to read.
                ready = self.socket.ready(Interest::READABLE | Interest::ERROR) => {
                    let is_there = ready.is_ok_and(|it| !it.is_error());
                    if !is_there || self.receive(&relay, &way).is_err() {
                        relay.counters.add(Event::ServerGone, 1);
                        break;
                    }
                    task::yield_now().await;
                }
                () = &mut idle => break,
            }
        }
        relay.sessions.borrow_mut().remove(&way);
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
            relay.counters.add(Event::ToClient, sent);
            relay
                .counters
                .add(Event::ClientFull, piece.datagrams() - sent);
        }
        Ok(())
    }
}
