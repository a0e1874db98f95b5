use std::rc::Rc;

use crate::{
    observe::{Ending, NO_SERVER, Peer, Protocol, Termination, Tls, Watch},
    proxy_protocol::{Endpoints, Extras},
    site::{Current, Place},
    socket::reset,
    stream::Stream,
    tcp::relay::relay,
    upstream::{Origin, Permit, Upstream},
};

/// A client's connection that is relayed as it comes.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) endpoints: Endpoints,
    /// Where it came in, and with whose end it ends.
    #[expect(dead_code, reason = "it is there for as long as the connection is")]
    pub(crate) place: Place,
    pub(crate) current: Rc<Current>,
    /// As it is logged.
    pub(crate) carries: Protocol,
    /// The name that a client of TLS asks for, where that goes through.
    pub(crate) name: Option<Box<str>>,
}

impl Connection {
    /// Serves the connection to its end.
    pub(crate) fn serve(self) -> impl Future<Output = ()> {
        // What is passed to an `async` function is held there twice.
        let mut connection = self;
        async move {
            let told = connection.told(connection.stream.socket.extras());
            connection.relay_to(0, told).await;
        }
    }

    /// What a server is told of the connection, if anything.
    pub(super) fn told(&self, extras: Extras<'_>) -> Box<[u8]> {
        match self.current.config.proxy_protocol.send {
            Some(version) => self
                .endpoints
                .told(self.stream.socket.tcp(), version, extras),
            None => Box::default(),
        }
    }

    /// Relays it to a server of the pool at this place, behind what that is told.
    pub(super) async fn relay_to(&mut self, pool: usize, told: Box<[u8]>) {
        let watch = Watch::of(self.current.observer.as_ref());
        watch.head(0);
        watch.carries(self.carries);
        let server = Box::pin(self.connect(pool, told, &watch)).await;
        let termination = match server {
            Ok((_permit, mut server)) => {
                let idle = self.current.config.timeouts.tunnel;
                let relayed = relay(&mut self.stream, &mut server.stream, idle).await;
                watch.relayed(relayed.to_server, relayed.to_client);
                relayed.termination()
            }
            Err(termination) => {
                reset(self.stream.socket.tcp());
                termination
            }
        };
        let ending = Ending {
            termination,
            ..Ending::default()
        };
        let peer = Peer {
            address: self.endpoints.client.ip(),
            tls: self.tls(),
        };
        watch.ends(ending, peer);
    }

    /// TLS with the client, or that goes through.
    fn tls(&self) -> Option<Tls<'_>> {
        let through = self.name.as_deref().map(|name| Tls {
            version: "",
            sni: Some(name),
        });
        self.stream.socket.tls().or(through)
    }

    /// A connection to a server that takes it, and its place there.
    async fn connect(
        &self,
        pool: usize,
        told: Box<[u8]>,
        watch: &Watch,
    ) -> Result<(Permit, Upstream), Termination> {
        let pool = self.current.upstreams.pool(pool).ok_or(NO_SERVER)?;
        let mut key = pool.key(std::iter::empty(), self.endpoints.client.ip());
        let config = &self.current.config;
        let transparent = config.transparent.as_ref();
        let source = transparent.and_then(|it| it.source(self.endpoints.client));
        key.origin = Origin::new(told, source);
        let limit = config.timeouts.connect;
        let reached = pool.reach(&key, config, limit, watch).await;
        let (permit, upstream): (Permit, Upstream) = reached.map_err(|why| why.termination())?;
        // More of it is not looked at.
        permit.answered(200, false);
        Ok((permit, upstream))
    }
}
