//! A client's connection: one task has the codec, and each request is a task of its own.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use h2::{Reason, server};
use tokio::{task, time::timeout};

use super::{
    Service, exchange,
    meter::Meter,
    watch::{Open, Watch, Watched},
    wire::{Pipe, Wire},
};
use crate::{config::ProxyConfig, site::Place, stream::Stream};

/// What a client says first, RFC 9113 section 3.4: as a head of HTTP/1.1 it is a request that nobody makes.
pub(crate) const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// All of it.
const PREFACE_BYTES: usize = 24;

/// Serves a client that speaks HTTP/2 until its connection ends. Its preface is still to be read.
pub(crate) async fn serve(stream: Stream, service: Service, place: Place) {
    let now = Instant::now();
    let config = &service.config;
    let meter = Meter::new(&config.http2, PREFACE_BYTES, config.limits.head_bytes, now);
    let wire = Rc::new(Wire::new(stream, meter, now));
    let handshake = builder(config).handshake(Pipe(wire.clone()));
    if let Ok(Ok(mut connection)) = timeout(config.timeouts.head, handshake).await {
        let watch = Watch::new(wire.clone(), connection.ping_pong(), config, now);
        let mut driver = Driver {
            connection,
            watch,
            service: Rc::new(service),
            place,
            is_refused: false,
            is_leaving: false,
        };
        std::future::poll_fn(|cx| driver.poll(cx)).await;
    }
    if let Some(wire) = Rc::into_inner(wire) {
        let mut stream = wire.into_stream();
        stream.linger().await;
    }
}

fn builder(config: &ProxyConfig) -> server::Builder {
    let http2 = &config.http2;
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(http2.streams)
        .initial_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window_bytes)
        .max_send_buffer_size(http2.send_buffer_bytes)
        .max_header_list_size(u32::try_from(config.limits.head_bytes).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    builder
}

struct Driver {
    connection: server::Connection<Pipe, Bytes>,
    watch: Watch,
    /// What requests that begin now are served with.
    service: Rc<Service>,
    place: Place,
    /// It ends because of what the client does.
    is_refused: bool,
    /// The client has been told that it ends.
    is_leaving: bool,
}

impl Driver {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.follow();
                    let open = Open::new(&self.watch.streams);
                    let exchange = exchange::serve(request, respond, self.service.clone(), open);
                    task::spawn_local(exchange);
                    continue;
                }
                // The codec has said why, if there is a reason.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if self.watch.wire.flood.get().is_some() && !self.is_refused {
                self.is_refused = true;
                self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            if !self.is_leaving && self.place.is_last(cx) {
                self.is_leaving = true;
                self.connection.graceful_shutdown();
                continue;
            }
            match self.watch.poll(cx) {
                Poll::Ready(Watched::End) => self.connection.graceful_shutdown(),
                Poll::Ready(Watched::Over) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// A request begins: it is served as its service says now.
    fn follow(&mut self) {
        let current = self.place.current();
        current.counters.requests.increment();
        if !Arc::ptr_eq(&current.config, &self.service.config) {
            self.service = Rc::new(Service {
                config: Arc::clone(&current.config),
                upstreams: Rc::clone(&current.upstreams),
                origin: current.origin.clone(),
                observer: current.observer.clone(),
                ..Service::clone(&self.service)
            });
        }
    }
}
