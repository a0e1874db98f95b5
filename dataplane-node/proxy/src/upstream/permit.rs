use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{connection::Upstream, key::RequestKey, origin::Origin, pool::Pool, server::Server};
use crate::{balance::Balance, http2, observe::SeenServer};

/// What a failure counts as at least, in the latency of its server: one that refuses at once is not a fast one.
const FAILURE_LATENCY: Duration = Duration::from_secs(1);

/// A request's room at a server, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Rc<Pool>,
    server: Rc<Server>,
    index: usize,
    origin: Option<Rc<Origin>>,
    /// Whether the client's cookie names this server, made with the key of now.
    is_marked: bool,
    begun: Instant,
}

impl Permit {
    /// The server has counted the request already.
    pub(super) fn new(pool: &Rc<Pool>, index: usize, key: &RequestKey, begun: Instant) -> Self {
        let server = pool.servers()[index].clone();
        server.requests.set(server.requests.get() + 1);
        Self {
            pool: pool.clone(),
            server,
            index,
            origin: key.origin.clone(),
            is_marked: (key.marked).is_some_and(|it| it.is_current && it.server == index),
            begun,
        }
    }

    /// The server's place in the pool's configuration.
    #[cfg(test)]
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// The pool and key of the same request for another try, where its key was one of `pool`'s.
    pub(crate) fn another(&self, pool: &Pool, key: &RequestKey) -> (Rc<Pool>, RequestKey) {
        let key = self.elsewhere(&pool.key_in(&self.pool, key));
        (self.pool.clone(), key)
    }

    /// The key of the same request for another try, at another server if there is one.
    pub(super) fn elsewhere(&self, key: &RequestKey) -> RequestKey {
        RequestKey {
            avoids: Some(self.index),
            ..key.clone()
        }
    }

    pub(super) fn is_at_server_of(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.server, &other.server)
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &super::shared_server::SharedServer {
        &self.server.shared
    }

    /// A connection to the server that waits, if there is one.
    pub(super) fn idle_connection(&self) -> Option<Upstream> {
        match &self.origin {
            Some(origin) => origin.idle_connection(&self.server, self.begun),
            None => self.server.idle_connection(self.begun),
        }
    }

    /// A new connection to the server. The error is [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) if it has as many as it may have.
    pub(crate) async fn connect_anew(&self, limit: Duration) -> io::Result<Upstream> {
        let connected = self
            .server
            .connect_anew(self.origin.as_deref(), limit, true)
            .await;
        connected.inspect_err(|error| self.refused(error))
    }

    /// A connection of HTTP/1.1 to a server that speaks HTTP/2: one that waits, or a new one. That there is none is no fault of the server's.
    pub(crate) async fn connect_http1(&self, limit: Duration) -> io::Result<Upstream> {
        if let Some(idle) = self.idle_connection() {
            return Ok(idle);
        }
        let origin = self.origin.as_deref();
        self.server.connect_anew(origin, limit, false).await
    }

    /// Keeps a connection whose answer is read whole for the next request; `said` is how long the server says that it waits.
    pub(crate) fn keep(&self, upstream: Upstream, said: Option<Duration>) {
        let Some(connection) = self.server.resting(upstream, said) else {
            return;
        };
        match &self.origin {
            Some(origin) => origin.keep(&self.server, connection),
            None => self.server.keep(connection),
        }
    }

    /// The head of an answer has come. `is_timed`: what the server had to wait for it had at once, as a request without a body.
    pub(crate) fn answered(&self, status: u16, is_timed: bool) {
        let config = self.pool.config();
        let is_failure = match &config.outliers {
            Some(outliers) if outliers.counts_all_5xx => status >= 500,
            Some(_) | None => matches!(status, 502..=504),
        };
        if is_failure {
            return self.failed();
        }
        if config.outliers.is_some() {
            self.server.shared.succeeded();
        }
        if is_timed {
            self.observe(Duration::ZERO);
        }
    }

    /// No answer has come, or none that can be understood.
    pub(crate) fn failed(&self) {
        self.observe(FAILURE_LATENCY);
        if let Some(outliers) = &self.pool.config().outliers {
            let servers = self.pool.weighing();
            self.pool
                .shared()
                .failed(&self.server.shared, servers, outliers);
        }
    }

    /// The field that makes the client come back to this server, with its line's end, if it would not by itself.
    pub(crate) fn mark(&self) -> Option<&str> {
        let sticky = self.pool.sticky().filter(|_| !self.is_marked)?;
        Some(sticky.line(self.index))
    }

    /// The same field's value.
    pub(crate) fn mark_value(&self) -> Option<&str> {
        let line = self.mark()?;
        line.strip_prefix("Set-Cookie: ")?.strip_suffix("\r\n")
    }

    /// The server, as it is seen.
    pub(crate) fn seen(&self) -> &Rc<SeenServer> {
        &self.server.seen
    }

    /// The server's connections of HTTP/2.
    pub(crate) fn http2(&self) -> Rc<http2::Peers> {
        match &self.origin {
            Some(origin) => origin.http2(&self.server),
            None => self.server.http2.clone(),
        }
    }

    /// That there are too many connections is no fault of the server's.
    fn refused(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::QuotaExceeded {
            self.failed();
        }
    }

    fn observe(&self, least: Duration) {
        if let Balance::PeakEwma { decay } = self.pool.config().balance {
            let now = Instant::now();
            let took = now.saturating_duration_since(self.begun);
            let mut latency = self.server.latency.get();
            latency.observe(took.max(least), now, decay);
            self.server.latency.set(latency);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.server.requests.set(self.server.requests.get() - 1);
        self.pool.shared().release(&self.server.shared);
    }
}
