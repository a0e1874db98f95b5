//! Connections to servers of HTTP/2, each for many requests at a time.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::{sync::Notify, task, time::timeout};

use super::{
    meter::Meter,
    watch::{Open, Streams, Watch, Watched},
    wire::{Pipe, Wire},
};
use crate::{
    config::ProxyConfig,
    upstream::{Carrier, Permit, Upstream},
};

/// A worker's connections to a server of HTTP/2.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    there: RefCell<Vec<Rc<Peer>>>,
    /// Connections that are being made.
    coming: Cell<usize>,
    /// One of them is there, or is not to be had.
    came: Notify,
}

/// A connection to a server.
#[derive(Debug)]
struct Peer {
    /// None once the connection ends.
    send: RefCell<Option<SendRequest<Bytes>>>,
    streams: Rc<Streams>,
    /// The server has said what it is able to do.
    is_settled: Cell<bool>,
    /// It has said so, or never will.
    settled: Notify,
}

/// A place for a request on a connection.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) send: SendRequest<Bytes>,
    /// The connection was there.
    pub(super) is_reused: bool,
    peer: Rc<Peer>,
    _open: Open,
}

impl Carrier for Place {
    /// Whether a connection takes one more is for the server to say.
    fn waiting(_permit: &Permit) -> Option<Self> {
        None
    }

    fn is_reused(&self) -> bool {
        self.is_reused
    }

    async fn connect(
        permit: &Permit,
        config: &Arc<ProxyConfig>,
        limit: Duration,
    ) -> io::Result<Self> {
        permit.http2().place(permit, config, limit).await
    }
}

impl Place {
    /// Whether the server takes extended CONNECT, RFC 8441 section 3, which may have to be waited for; none if it does not say so in time.
    pub(crate) async fn takes_tunnels(&self, limit: Duration) -> Option<bool> {
        let peer = &self.peer;
        let settled = async {
            while !peer.is_settled.get() && peer.send.borrow().is_some() {
                peer.settled.notified().await;
            }
        };
        timeout(limit, settled).await.ok()?;
        let is_settled = peer.is_settled.get();
        is_settled.then(|| self.send.is_extended_connect_protocol_enabled())
    }
}

impl Peers {
    /// A place for a request, on a connection that is there or a new one to the permit's server, which this is of.
    async fn place(
        &self,
        permit: &Permit,
        config: &Arc<ProxyConfig>,
        limit: Duration,
    ) -> io::Result<Place> {
        let place = async {
            loop {
                let place = match self.choose(config) {
                    Choice::Peer(peer) => peer.place(true).await,
                    Choice::Connect => {
                        let _coming = Coming::new(self);
                        let upstream = permit.connect_anew(limit).await?;
                        let peer = connect(upstream, config).await?;
                        self.there.borrow_mut().push(peer.clone());
                        peer.place(false).await
                    }
                    Choice::Wait => {
                        self.came.notified().await;
                        None
                    }
                };
                if let Some(place) = place {
                    return Ok(place);
                }
            }
        };
        let place = timeout(limit, place).await;
        place.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Takes no more requests; what is under way finishes.
    pub(crate) fn close(&self) {
        for peer in self.there.borrow_mut().drain(..) {
            peer.end();
        }
    }

    /// The connection with the fewest requests; another one if all have as many as they may.
    fn choose(&self, config: &ProxyConfig) -> Choice {
        let mut peers = self.there.borrow_mut();
        peers.retain(|peer| peer.send.borrow().is_some());
        let fewest = peers.iter().min_by_key(|peer| peer.streams.open());
        let may_connect = peers.len() + self.coming.get() < config.http2.server_connections.max(1);
        match fewest {
            Some(peer) if !may_connect || peer.has_room(config) => Choice::Peer(peer.clone()),
            _ if may_connect => Choice::Connect,
            _ => Choice::Wait,
        }
    }
}

enum Choice {
    Peer(Rc<Peer>),
    Connect,
    Wait,
}

impl Peer {
    fn has_room(&self, config: &ProxyConfig) -> bool {
        let send = self.send.borrow();
        let theirs = send
            .as_ref()
            .map_or(0, SendRequest::current_max_send_streams);
        let open = self.streams.open();
        open < config.http2.streams && usize::try_from(open).is_ok_and(|open| open < theirs)
    }

    /// None if the connection takes no more requests.
    async fn place(self: Rc<Self>, is_reused: bool) -> Option<Place> {
        let open = Open::new(&self.streams);
        let send = self.send.borrow().clone()?;
        if let Ok(send) = send.ready().await {
            return Some(Place {
                send,
                is_reused,
                peer: self,
                _open: open,
            });
        }
        self.end();
        None
    }

    /// Takes no more requests.
    fn end(&self) {
        *self.send.borrow_mut() = None;
        self.settled.notify_waiters();
    }
}

/// A connection that is being made, for as long as this is.
struct Coming<'a>(&'a Peers);

impl<'a> Coming<'a> {
    fn new(server: &'a Peers) -> Self {
        server.coming.set(server.coming.get() + 1);
        Self(server)
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.coming.set(self.0.coming.get() - 1);
        self.0.came.notify_waiters();
    }
}

/// Makes a connection one of HTTP/2, with prior knowledge.
async fn connect(upstream: Upstream, config: &Arc<ProxyConfig>) -> io::Result<Rc<Peer>> {
    let Upstream { stream, slot, .. } = upstream;
    let now = Instant::now();
    let meter = Meter::new(&config.http2, 0, config.limits.head_bytes, now);
    let wire = Rc::new(Wire::new(stream, meter, now));
    let http2 = &config.http2;
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window_bytes)
        .max_send_buffer_size(http2.send_buffer_bytes)
        .max_header_list_size(u32::try_from(config.limits.head_bytes).unwrap_or(u32::MAX));
    let connected = builder.handshake(Pipe(wire.clone())).await;
    let (send, mut connection) = connected.map_err(io::Error::other)?;
    let mut watch = Watch::new(wire, connection.ping_pong(), config, now);
    let peer = Rc::new(Peer {
        send: RefCell::new(Some(send)),
        streams: watch.streams.clone(),
        is_settled: Cell::new(false),
        settled: Notify::new(),
    });
    let of_task = peer.clone();
    task::spawn_local(async move {
        poll_fn(|cx| poll(&mut connection, &mut watch, &of_task, cx)).await;
        of_task.end();
        // It has been one of the server's connections until here.
        drop(slot);
    });
    Ok(peer)
}

fn poll(
    connection: &mut client::Connection<Pipe, Bytes>,
    watch: &mut Watch,
    peer: &Peer,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        // A server that does too much of something is one that fails.
        if Pin::new(&mut *connection).poll(cx).is_ready() || watch.wire.flood.get().is_some() {
            return Poll::Ready(());
        }
        if !peer.is_settled.get() && watch.wire.is_settled() {
            peer.is_settled.set(true);
            peer.settled.notify_waiters();
        }
        match watch.poll(cx) {
            // Without anybody who could send a request, the codec says that it ends.
            Poll::Ready(Watched::End) => peer.end(),
            Poll::Ready(Watched::Over) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
}
