use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use crate::{
    config::ProxyConfig,
    http2,
    socket::{Socket, write_all},
    stream::Stream,
    tls::ServerTlsConfig,
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
    tls: Option<Arc<ServerTlsConfig>>,
    is_http2: bool,
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
    /// Those of a configuration. What those before it have to the same servers stays, if they would be connected to in the same way.
    pub(crate) fn new(config: &ProxyConfig, before: Option<&Self>) -> Self {
        let tls = config.server_tls.clone();
        let before = before.filter(|before| match (&before.tls, &tls) {
            (None, None) => true,
            (Some(before), Some(tls)) => Arc::ptr_eq(before, tls),
            (None, Some(_)) | (Some(_), None) => false,
        });
        Self {
            tls,
            is_http2: config.http2.servers == http2::ServerProtocol::Http2,
            ..Self::of(&config.servers, config.idle_connections, before)
        }
    }

    /// To these servers over plain TCP, with so many connections to each that wait.
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
            tls: None,
            is_http2: false,
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
            tls: self.tls.clone(),
            is_http2: self.is_http2,
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
        let socket = timeout(limit, self.socket(self.servers[server].address, told)).await;
        let socket = socket.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Upstream {
            stream: Stream::new(socket),
            is_reused: false,
            server,
        })
    }

    async fn socket(&self, address: SocketAddr, told: &[u8]) -> io::Result<Socket> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        write_all(&tcp, told).await?;
        let Some(tls) = &self.tls else {
            return Ok(Socket::Plain(tcp));
        };
        let connected = tls.connect(tcp, address.ip(), self.is_http2).await;
        let connected = connected.map_err(io::Error::other)?;
        Ok(Socket::Tls(Box::new(connected)))
    }

    /// Keeps a connection whose answer is read whole for the next request.
    pub(crate) fn keep(&self, upstream: Upstream) {
        let mut idle = self.servers[upstream.server].idle.borrow_mut();
        if upstream.stream.buffer.is_none() && idle.len() < self.idle_max {
            idle.push(upstream.stream);
        }
    }
}
