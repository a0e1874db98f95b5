use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use crate::{
    config::ProxyConfig,
    http2,
    stream::{Stream, write},
};

/// Connections to servers that wait for their next request: a worker's, or those of one client.
#[derive(Debug)]
pub(crate) struct Upstreams {
    servers: Vec<Rc<Server>>,
    /// Of all those of a service and worker.
    turn: Rc<Cell<usize>>,
    idle_max: usize,
    /// What each begins with.
    told: Box<[u8]>,
    /// Those to servers of HTTP/2.
    pub(crate) http2: http2::Pool,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    idle: RefCell<Vec<Stream>>,
}

/// A connection that a request goes over.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: Stream,
    /// It has carried a request before: the server may have closed it meanwhile.
    pub(crate) is_reused: bool,
    server: usize,
}

impl Upstreams {
    /// Those of a configuration. What those before it have to the same servers stays.
    pub(crate) fn new(config: &ProxyConfig, before: Option<&Self>) -> Self {
        Self::of(&config.servers, config.idle_connections, before)
    }

    /// As [`Self::new`], with so many connections to each server that wait.
    pub(crate) fn of(servers: &[SocketAddr], idle_max: usize, before: Option<&Self>) -> Self {
        let known = |address: &SocketAddr| {
            let mut servers = before?.servers.iter();
            servers.find(|server| server.address == *address).cloned()
        };
        let server = |address: &SocketAddr| {
            known(address).unwrap_or_else(|| {
                Rc::new(Server {
                    address: *address,
                    idle: RefCell::default(),
                })
            })
        };
        Self {
            servers: servers.iter().map(server).collect(),
            turn: before.map_or_else(Rc::default, |it| it.turn.clone()),
            idle_max,
            told: Box::default(),
            http2: http2::Pool::default(),
        }
    }

    /// One client's own, to the same servers in the same turn: a server that was told at the beginning whose connection it is believes
    /// that until its end. They go with the client.
    pub(crate) fn of_client(&self, told: Box<[u8]>) -> Self {
        let server = |server: &Rc<Server>| {
            Rc::new(Server {
                address: server.address,
                idle: RefCell::default(),
            })
        };
        Self {
            servers: self.servers.iter().map(server).collect(),
            turn: self.turn.clone(),
            idle_max: 1,
            told,
            http2: http2::Pool::default(),
        }
    }

    /// The server whose turn it is; none if there are none.
    pub(crate) fn choose(&self) -> Option<usize> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn.checked_rem(self.servers.len())
    }

    /// A connection to a server: one that waits, or a new one.
    pub(crate) async fn connect(&self, server: usize, limit: Duration) -> io::Result<Upstream> {
        let idle = &self.servers[server].idle;
        loop {
            // The one that was used last is the least likely to be closed.
            let Some(stream) = idle.borrow_mut().pop() else {
                break;
            };
            if stream.is_quiet() {
                return Ok(Upstream {
                    stream,
                    is_reused: true,
                    server,
                });
            }
        }
        // Most requests have one that waits: they do not carry the room for this.
        Box::pin(self.connect_anew(server, limit)).await
    }

    pub(crate) async fn connect_anew(
        &self,
        server: usize,
        limit: Duration,
    ) -> io::Result<Upstream> {
        self.connect_told(server, limit, &self.told).await
    }

    /// A new connection, which begins with what the server is told of it.
    pub(crate) async fn connect_told(
        &self,
        server: usize,
        limit: Duration,
        told: &[u8],
    ) -> io::Result<Upstream> {
        let socket = timeout(limit, TcpStream::connect(self.servers[server].address)).await;
        let socket = socket.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
        socket.set_nodelay(true)?;
        if !told.is_empty() {
            write(&socket, told, b"").await?;
        }
        Ok(Upstream {
            stream: Stream::new(socket),
            is_reused: false,
            server,
        })
    }

    /// Keeps a connection whose answer is read whole for the next request.
    pub(crate) fn keep(&self, upstream: Upstream) {
        let mut idle = self.servers[upstream.server].idle.borrow_mut();
        if upstream.stream.buffer.is_none() && idle.len() < self.idle_max {
            idle.push(upstream.stream);
        }
    }
}
