use std::rc::Rc;

use crate::{
    proxy_protocol::{Endpoints, Extras},
    site::{Current, Place},
    stream::Stream,
    tcp::relay::{relay, reset},
    upstream::{Origin, Permit, Upstream, Upstreams},
};

/// A client's connection that is relayed as it comes.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) endpoints: Endpoints,
    /// Where it came in, and with whose end it ends.
    #[expect(dead_code, reason = "it is there for as long as the connection is")]
    pub(crate) place: Place,
    pub(crate) current: Rc<Current>,
}

impl Connection {
    /// Serves the connection to its end.
    pub(crate) fn serve(self) -> impl Future<Output = ()> {
        // What is passed to an `async` function is held there twice.
        let mut connection = self;
        async move {
            if let Some(told) = connection.told(Extras::default()) {
                let upstreams = connection.current.upstreams.clone();
                connection.relay_to(upstreams, told).await;
            }
        }
    }

    /// What a server is told of the connection, if anything; `None` if the connection is gone.
    pub(super) fn told(&self, extras: Extras<'_>) -> Option<Box<[u8]>> {
        match self.current.config.proxy_protocol.send {
            Some(version) => self
                .endpoints
                .told(self.stream.socket.tcp(), version, extras),
            None => Some(Box::default()),
        }
    }

    /// Relays it to one of these servers, behind what that is told.
    pub(super) async fn relay_to(&mut self, upstreams: Rc<Upstreams>, told: Box<[u8]>) {
        let server = Box::pin(self.connect(&upstreams, told)).await;
        drop(upstreams);
        let Some((_permit, mut server)) = server else {
            reset(self.stream.socket.tcp());
            return;
        };
        let _relayed = relay(
            &mut self.stream,
            &mut server.stream,
            self.current.config.tcp.idle,
        )
        .await;
    }

    /// A connection to a server that takes it, and its place there.
    async fn connect(&self, upstreams: &Upstreams, told: Box<[u8]>) -> Option<(Permit, Upstream)> {
        let pool = upstreams.pool(0)?;
        let mut key = pool.key(std::iter::empty(), self.endpoints.client.ip());
        key.origin = (!told.is_empty()).then(|| Rc::new(Origin::new(told)));
        let config = &self.current.config;
        let reached = pool.reach(&key, config, config.timeouts.connect).await;
        let (permit, upstream): (Permit, Upstream) = reached.ok()?;
        // More of it is not looked at.
        permit.answered(200, false);
        Some((permit, upstream))
    }
}
