use std::{net::SocketAddr, rc::Rc};

use tokio::net::TcpStream;

use crate::{
    client::Client,
    config::Protocol,
    observe,
    proxy_protocol::{Endpoints, Expected, receive},
    secured::secured,
    site::{Current, Place},
    socket::reset,
    stream::Stream,
    tcp::{Connection, Passthrough},
};

/// A connection that somebody has yet to serve.
pub(crate) struct Arrived {
    pub(crate) socket: TcpStream,
    pub(crate) place: Place,
    pub(crate) current: Rc<Current>,
}

impl Arrived {
    /// Begins a task that serves it, if it is to be served.
    pub(crate) fn serve(self, from: SocketAddr) {
        let config = &self.current.config.proxy_protocol;
        match config.expected(from.ip().to_canonical()) {
            Expected::NoHeader => self.start(Endpoints::of(from)),
            Expected::Header => {
                let (site, at) = (Rc::clone(&self.place.site), self.place.number());
                site.spawn(at, self.behind_header(from));
            }
            Expected::Nothing => reset(&self.socket),
        }
    }

    /// Waits for the header of a proxy before this one.
    async fn behind_header(self, from: SocketAddr) {
        let limit = self.current.config.timeouts.head;
        match receive(&self.socket, from, limit).await {
            Ok(endpoints) => self.start(endpoints),
            Err(_no_header) => reset(&self.socket),
        }
    }

    fn start(self, endpoints: Endpoints) {
        let Self {
            socket,
            mut place,
            mut current,
        } = self;
        let counted = current.config.routes.connections();
        let counted = counted.map(|it| it.admit(endpoints.client.ip()));
        let Ok(counted) = counted.transpose() else {
            // There are as many as there may be.
            return;
        };
        place.count(counted);
        current.counters.connections.increment();
        place.see(current.observer.as_ref());
        let (site, at) = (Rc::clone(&place.site), place.number());
        let protocol = current.config.protocol;
        if protocol == Protocol::Http {
            let (address, tls) = (endpoints.client.ip(), current.config.tls.clone());
            let serve = move |stream: Stream| {
                let version = current.config.proxy_protocol.send;
                if version.is_some() || current.config.transparent.is_some() {
                    let socket = &stream.socket;
                    let told = version.map(|it| endpoints.told(socket.tcp(), it, socket.extras()));
                    place.tell(told.unwrap_or_default(), endpoints.client);
                    current = place.current();
                }
                let client = Client {
                    stream,
                    address,
                    place,
                    current,
                    is_tls: endpoints.is_tls,
                };
                client.serve()
            };
            return match tls {
                None => site.spawn(at, serve(Stream::plain(socket))),
                Some(tls) => site.spawn(at, secured(socket, address, tls, serve)),
            };
        }
        let (address, tls) = (endpoints.client.ip(), current.config.tls.clone());
        let connection = move |stream| Connection {
            stream,
            endpoints,
            place,
            current,
            carries: match protocol {
                Protocol::TlsPassthrough => observe::Protocol::Tls,
                Protocol::Http | Protocol::Tcp => observe::Protocol::Tcp,
            },
            name: None,
        };
        match (protocol, tls) {
            (Protocol::TlsPassthrough, _) => {
                let connection = connection(Stream::plain(socket));
                site.spawn(at, Passthrough { connection }.serve());
            }
            (Protocol::Http | Protocol::Tcp, None) => {
                site.spawn(at, connection(Stream::plain(socket)).serve());
            }
            (Protocol::Http | Protocol::Tcp, Some(tls)) => {
                let serve = move |stream| connection(stream).serve();
                site.spawn(at, secured(socket, address, tls, serve));
            }
        }
    }
}
