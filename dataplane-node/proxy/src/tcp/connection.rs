use std::rc::Rc;

use crate::{
    proxy_protocol::{Endpoints, Extras},
    site::{Current, Place},
    stream::Stream,
    tcp::relay::{relay, reset},
    upstream::{Upstream, Upstreams},
};

/// Servers that are tried for one connection.
const ATTEMPTS: usize = 3;

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
        let server = Box::pin(self.connect(&upstreams, &told)).await;
        drop((upstreams, told));
        let Some(mut server) = server else {
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

    /// A connection to the first of some servers that takes it.
    async fn connect(&self, upstreams: &Upstreams, told: &[u8]) -> Option<Upstream> {
        for _ in 0..ATTEMPTS {
            let server = upstreams.choose()?;
            let limit = self.current.config.timeouts.connect;
            if let Ok(upstream) = upstreams.connect_told(server, limit, told).await {
                return Some(upstream);
            }
        }
        None
    }
}
