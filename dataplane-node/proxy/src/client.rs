//! A client's connection, one request after the other.
//!
//! ```text
//!  client                          worker                               server
//!    ── head ──►  parse, choose a server, connect, write ── head ──►
//!    ── body ──►  pump::body ───────────────────────────── body ──►         both at the
//!    ◄── head ──  write ◄───────────────────── parse ◄──── head ──          same time
//!    ◄── body ──  pump::body ◄──────────────────────────── body ──
//! ```

mod answer;

use std::{
    cell::Cell, io, net::IpAddr, pin::Pin, rc::Rc, sync::Arc, task::Context, time::Duration,
};

use self::answer::{Answered, Failed, answer, both};
use tokio::time::timeout;

use crate::{
    buffer::Buffer,
    config::ProxyConfig,
    http1::{
        Body, FieldEdits, FieldRoom, Forwarding, Identity, Refusal, Request, RequestHead, reason,
        write_request,
    },
    http2::{self, PREFACE_HEAD},
    route::{Failure, RouteRequest},
    routing::Routed,
    site::{Current, Place, Site},
    stream::{NoHead, Stream, write},
    tcp::relay,
    upstream::{NoUpstream, Permit, Pool, RequestKey, Upstream},
};

/// A client's connection.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) address: IpAddr,
    /// Where it came in.
    pub(crate) place: Place,
    /// What its service does, as of the request that is served.
    pub(crate) current: Rc<Current>,
    /// The client speaks TLS with a proxy before us.
    pub(crate) is_tls: bool,
}

/// What of a request is needed after its head has been sent on.
struct Asked {
    /// As far as an answer's framing goes by it.
    method: &'static str,
    minor: u8,
    body: Body,
    persists: bool,
    /// Sent twice it does the same as sent once, RFC 9110 section 9.2.2.
    is_idempotent: bool,
    /// Where the answer is the last one once it drains.
    site: Rc<Site>,
    routed: Routed,
    /// Where it goes; nowhere without a pool.
    to: Option<(Rc<Pool>, RequestKey)>,
    /// Something of an answer is on its way to the client.
    has_answer: Cell<bool>,
    /// Some of the request is still to come.
    is_sending: Cell<bool>,
}

/// What was written for a request's head.
enum Rewritten {
    /// The head as it goes on.
    Request(Asked),
    /// An answer.
    Answer { persists: bool },
}

/// A request and its answer, done with.
struct Exchanged {
    permit: Permit,
    upstream: Upstream,
    answered: Answered,
    /// The whole body is gone.
    is_sent: bool,
}

/// Why a client's connection ends.
enum End {
    /// Because of the client, or in the middle of an answer.
    Quietly,
    /// Between two requests, or as the client has asked for.
    InOrder,
    /// Behind an answer that was the last, which the client did not ask for.
    Answered,
    /// After this answer.
    Told(u16),
    /// After a 503 that says why.
    Unavailable(&'static str),
    /// It speaks HTTP/2 from its first byte on.
    Http2,
}

impl End {
    /// Because there is no connection to a server.
    fn of(why: NoUpstream) -> Self {
        match why {
            NoUpstream::NoServer(why) => Self::Unavailable(why.reason()),
            NoUpstream::Connect(error) => match error.kind() {
                io::ErrorKind::QuotaExceeded => Self::Unavailable("no connection was free in time"),
                io::ErrorKind::TimedOut => Self::Told(504),
                _ => Self::Told(502),
            },
        }
    }
}

impl Client {
    /// Serves the connection to its end.
    pub(crate) fn serve(self) -> impl Future<Output = ()> {
        // What is passed to an `async` function is held there twice.
        let mut client = self;
        async move {
            let mut is_first = true;
            let end = loop {
                let idle = client.current.config.timeouts.idle;
                let Client { stream, place, .. } = &mut client;
                let is_leaving = |context: &mut Context<'_>| place.is_leaving(context);
                match stream.incoming().some(idle, is_leaving).await {
                    Ok(()) => {}
                    Err(NoHead::Leaving) => break End::Answered,
                    Err(_) => break End::InOrder,
                }
                // What a request needs is there while there is one, and not part of every connection that waits.
                if let Err(end) = Box::pin(client.request(is_first)).await {
                    break end;
                }
                is_first = false;
            };
            match end {
                End::Quietly => return,
                End::InOrder => return client.stream.say_close().await,
                End::Http2 => return client.into_http2().await,
                End::Told(status) => {
                    if is_refusal(status) {
                        client.current.counters.refusals.increment();
                    }
                    client.tell(status, "").await;
                }
                End::Unavailable(why) => client.tell(503, why).await,
                End::Answered => {}
            }
            client.stream.linger().await;
        }
    }

    const fn scheme(&self) -> &'static str {
        if self.is_tls {
            "https"
        } else {
            self.stream.socket.scheme()
        }
    }

    /// Serves it as one of HTTP/2.
    fn into_http2(self) -> Pin<Box<impl Future<Output = ()>>> {
        let service = http2::Service {
            address: self.address,
            scheme: self.scheme(),
            identity: self.stream.socket.identity().into(),
            config: Arc::clone(&self.current.config),
            upstreams: Rc::clone(&self.current.upstreams),
            origin: self.current.origin.clone(),
            routes: Rc::clone(&self.current.routes),
        };
        // On the heap, as one of HTTP/1.1 does not need the room.
        Box::pin(http2::serve(self.stream, service, self.place))
    }

    /// One request with its answer, after which another may follow.
    async fn request(&mut self, is_first: bool) -> Result<(), End> {
        self.current = self.place.current();
        let config = &*self.current.config;
        let limit = config.timeouts.head;
        let head = self.stream.incoming().head(&config.limits, limit).await;
        let head_bytes = head.map_err(|error| match error {
            NoHead::Closed | NoHead::Leaving | NoHead::Silent | NoHead::Broken => End::Quietly,
            NoHead::Refused(refusal) => End::Told(refusal.status()),
            NoHead::Late => End::Told(408),
        })?;
        let mut head = Vec::with_capacity(head_bytes + 256);
        let rewritten = self.rewrite(head_bytes, &mut head);
        let rewritten = rewritten.map_err(|refusal| {
            let is_preface = is_first && self.stream.incoming().filled().starts_with(PREFACE_HEAD);
            if is_preface && self.current.config.http2.clients {
                End::Http2
            } else {
                End::Told(refusal.status())
            }
        })?;
        self.current.counters.requests.increment();
        self.stream.incoming().consume(head_bytes);
        let asked = match rewritten {
            Rewritten::Request(asked) => asked,
            Rewritten::Answer { persists } => {
                let sent = write(&self.stream.socket, &head, b"").await;
                sent.map_err(|_gone| End::Quietly)?;
                return if persists { Ok(()) } else { Err(End::Answered) };
            }
        };
        let exchanged = match asked.routed.total(&self.current.config) {
            None => self.attempts(&asked, &head).await?,
            Some(total) => self.attempts_within(total, &asked, &head).await?,
        };
        let Exchanged {
            permit,
            mut upstream,
            answered,
            is_sent,
        } = exchanged;
        if answered.switches {
            // Neither says how it ended: that is between the two.
            let idle = self.current.config.tcp.idle;
            let _relayed = Box::pin(relay(&mut self.stream, &mut upstream.stream, idle)).await;
            return Err(End::Answered);
        }
        if answered.server_persists && is_sent {
            permit.keep(upstream, answered.server_waits);
        }
        if answered.client_persists && is_sent {
            return Ok(());
        }
        // Of a client that has said that this is its last request, and has sent all of it, nothing more comes.
        let has_nothing_more = !asked.persists && is_sent && self.stream.buffer.is_none();
        Err(if has_nothing_more {
            End::InOrder
        } else {
            End::Answered
        })
    }

    /// Sends a request to a server, and to further ones as far as its route allows it, and gives the answer back.
    async fn attempts(&mut self, asked: &Asked, head: &[u8]) -> Result<Exchanged, End> {
        let (pool, key) = asked.to.as_ref().ok_or(End::Told(503))?;
        let (mut pool, mut key) = (pool.clone(), key.clone());
        'servers: loop {
            let limit = asked.routed.timeouts(&self.current.config).connect;
            let (permit, mut upstream) = match pool.reach(&key, limit).await {
                Ok(reached) => reached,
                Err(NoUpstream::Connect(_))
                    if asked.again(Failure::Connect, &self.current.config) =>
                {
                    continue 'servers;
                }
                Err(why) => return Err(End::of(why)),
            };
            loop {
                let server = &mut upstream.stream;
                let failed = match self.exchange(asked, head, server, &permit).await {
                    Ok((answered, is_sent)) => {
                        return Ok(Exchanged {
                            permit,
                            upstream,
                            answered,
                            is_sent,
                        });
                    }
                    Err(failed) => failed,
                };
                // The server has closed it before the request came, and nothing of the body is gone.
                let is_stale = upstream.is_reused && asked.may_repeat();
                if is_stale && matches!(failed, Failed::Unanswered) {
                    let limit = asked.routed.timeouts(&self.current.config).connect;
                    match Box::pin(permit.connect_anew(limit)).await {
                        Ok(anew) => upstream = anew,
                        Err(_) if asked.again(Failure::Connect, &self.current.config) => {
                            (pool, key) = permit.another(&pool, &key);
                            continue 'servers;
                        }
                        Err(error) => return Err(End::of(error.into())),
                    }
                    continue;
                }
                if let Failed::Unanswered | Failed::End(End::Told(502 | 504)) = failed {
                    permit.failed();
                }
                match failed {
                    Failed::Unanswered if !asked.again(Failure::Reset, &self.current.config) => {
                        return Err(End::Told(502));
                    }
                    Failed::End(end) => return Err(end),
                    Failed::Unanswered | Failed::Again => {}
                }
                (pool, key) = permit.another(&pool, &key);
                continue 'servers;
            }
        }
    }

    /// [`Client::attempts`] that may take so long altogether.
    fn attempts_within<'a>(
        &'a mut self,
        total: Duration,
        asked: &'a Asked,
        head: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<Exchanged, End>> + 'a>> {
        Box::pin(async move {
            let attempts = timeout(total, self.attempts(asked, head)).await;
            attempts.map_err(|_late| asked.end(504))?
        })
    }

    /// Reads the head in the buffer, and writes it as it goes on.
    fn rewrite(&self, head_bytes: usize, out: &mut Vec<u8>) -> Result<Rewritten, Refusal> {
        let filled = self.stream.buffer.as_ref().map_or(&b""[..], Buffer::filled);
        let bytes = &filled[..head_bytes];
        let mut room = FieldRoom::new();
        let head = RequestHead::parse(bytes, &mut room, &self.current.config.limits)?;
        let request = Request::of(&head)?;
        if head.method == "CONNECT" {
            // It would make this a proxy of another kind.
            return Err(Refusal::Method);
        }
        let asked = RouteRequest {
            method: head.method,
            host: request.host,
            target: request.path,
            scheme: self.scheme(),
            client: self.address,
            body: request.body,
            head_bytes,
            fields: &head,
        };
        let way = match self
            .current
            .routes
            .decide(&self.current.config.routes, &asked)
        {
            Ok(way) => way,
            Err(answer) => {
                // What comes of a body is not looked for behind its answer.
                let persists = request.persists && request.body == Body::Length(0);
                answer.write(out, head.method, head.minor, persists);
                return Ok(Rewritten::Answer { persists });
            }
        };
        let routed = self.current.routes.routed(&way, &self.current.config);
        let forwarding = Forwarding {
            client: self.address,
            scheme: self.scheme(),
            host: None,
            edits: FieldEdits::NONE,
            identity: Identity {
                names: self.current.config.identity_names(),
                lines: self.stream.socket.identity(),
            },
            x_forwarded: self.current.config.forwarded.x_forwarded,
            forwarded: self.current.config.forwarded.forwarded,
        };
        let forwarding = routed.forwarding(forwarding, &self.current.config);
        let request = Request {
            path: way.target.as_deref().unwrap_or(request.path),
            ..request
        };
        write_request(out, &head, &request, &forwarding);
        let is_idempotent = matches!(
            head.method,
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
        );
        Ok(Rewritten::Request(Asked {
            method: if head.method == "HEAD" { "HEAD" } else { "" },
            minor: head.minor,
            body: request.body,
            persists: request.persists,
            is_idempotent,
            site: Rc::clone(&self.place.site),
            to: self.current.upstreams.pool(routed.pool()).map(|pool| {
                let mut key = pool.key(head.fields(), self.address);
                key.origin.clone_from(&self.current.origin);
                (pool, key)
            }),
            routed,
            has_answer: Cell::new(false),
            is_sending: Cell::new(false),
        }))
    }

    /// Sends a request and gives its answer back; with it, whether all of the request is gone.
    async fn exchange(
        &mut self,
        asked: &Asked,
        head: &[u8],
        server: &mut Stream,
        permit: &Permit,
    ) -> Result<(Answered, bool), Failed> {
        let sent = write(&server.socket, head, b"").await;
        sent.map_err(|_closed| Failed::Unanswered)?;
        let client = &mut self.stream;
        if asked.body == Body::Length(0) {
            let (from, to) = (server.incoming(), &client.socket);
            let answered = answer(from, to, asked, &self.current.config, permit).await?;
            Ok((answered, true))
        } else {
            Box::pin(both(client, server, asked, &self.current.config, permit)).await
        }
    }

    /// Answers for the server, and closes.
    async fn tell(&mut self, status: u16, why: &str) {
        let reason = reason(status);
        let colon = if why.is_empty() { "" } else { ": " };
        let body = format!("{status} {reason}{colon}{why}\n");
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // A client that is gone does not hear it.
        let _heard = write(&self.stream.socket, head.as_bytes(), body.as_bytes()).await;
    }
}

impl Asked {
    /// Whether nothing is lost or done twice when it is sent again.
    fn may_repeat(&self) -> bool {
        self.is_idempotent && self.body == Body::Length(0)
    }

    /// Whether its route has it sent again.
    fn again(&self, failure: Failure, config: &ProxyConfig) -> bool {
        let has_body = self.body != Body::Length(0);
        self.routed
            .again(failure, self.is_idempotent, has_body, config)
    }

    /// What the client is told if it is not to have an answer: nothing, once it has a part of one.
    fn end(&self, status: u16) -> End {
        if self.has_answer.get() {
            End::Quietly
        } else {
            End::Told(status)
        }
    }
}

/// Whether a status that the engine gives says what is wrong with the request itself.
const fn is_refusal(status: u16) -> bool {
    !matches!(status, 408 | 502..=504)
}
