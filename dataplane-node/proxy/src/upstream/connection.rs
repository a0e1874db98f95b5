use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{shared_server::Slot, source::Source};
use crate::{
    config::ProxyConfig,
    http2::ServerProtocol,
    socket::{Socket, write_all},
    stream::Stream,
    tls::ServerTlsConfig,
};

/// How long a connection waits that finds no descriptor or port.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// A connection that a request goes over.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: Stream,
    /// It has carried a request before: the server may have closed it meanwhile.
    pub(crate) is_reused: bool,
    pub(crate) slot: Slot,
}

/// A connection that waits for its next request.
#[derive(Debug)]
pub(super) struct IdleConnection {
    pub(super) stream: Stream,
    pub(super) slot: Slot,
    pub(super) until: Instant,
}

/// How servers are connected to.
#[derive(Clone, Debug, Default)]
pub(super) struct Transport {
    tls: Option<Arc<ServerTlsConfig>>,
    pub(super) is_http2: bool,
}

impl Transport {
    pub(super) fn of(config: &ProxyConfig) -> Self {
        Self {
            tls: config.server_tls.clone(),
            is_http2: config.http2.servers == ServerProtocol::Http2,
        }
    }

    /// A new connection, which begins with what the server is told of it.
    async fn connect(
        &self,
        address: SocketAddr,
        told: &[u8],
        source: Option<Source>,
        is_http2: bool,
    ) -> io::Result<Socket> {
        let tcp = loop {
            let connected = match source {
                None => TcpStream::connect(address).await,
                // On the heap, as others do not need the room.
                Some(source) => Box::pin(source.connect(address)).await,
            };
            match connected {
                // One is there as soon as another connection ends.
                Err(error) if is_full(&error) => sleep(FULL_PAUSE).await,
                connected => break connected?,
            }
        };
        tcp.set_nodelay(true)?;
        write_all(&tcp, told).await?;
        let Some(tls) = &self.tls else {
            return Ok(Socket::Plain(tcp));
        };
        let connected = tls.connect(tcp, address.ip(), is_http2).await;
        let connected = connected.map_err(io::Error::other)?;
        Ok(Socket::Tls(Box::new(connected)))
    }
}

/// Whether no descriptor is left, or no port towards the server.
fn is_full(error: &io::Error) -> bool {
    let full = [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL].map(|errno| errno as i32);
    error.raw_os_error().is_some_and(|it| full.contains(&it))
}

impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        let is_same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        is_same_tls && self.is_http2 == other.is_http2
    }
}

impl Upstream {
    /// A new one, which begins with what the server is told of it.
    pub(super) async fn open(
        transport: &Transport,
        address: SocketAddr,
        told: &[u8],
        slot: Slot,
        limit: Duration,
        is_http2: bool,
    ) -> io::Result<Self> {
        let connecting = transport.connect(address, told, slot.source(), is_http2);
        let socket = timeout(limit, connecting).await;
        let socket = socket.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Self {
            stream: Stream::new(socket),
            is_reused: false,
            slot,
        })
    }
}

impl IdleConnection {
    pub(super) fn into_upstream(self) -> Upstream {
        Upstream {
            stream: self.stream,
            is_reused: true,
            slot: self.slot,
        }
    }

    pub(super) fn is_alive(&self, now: Instant) -> bool {
        now < self.until && self.stream.is_quiet()
    }
}
