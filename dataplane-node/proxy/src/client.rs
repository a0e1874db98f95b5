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
mod over_http1;
mod over_http2;
mod upgraded;

use std::{cell::Cell, mem, net::IpAddr, pin::Pin, rc::Rc, sync::Arc, task::Context};

use tokio::time::timeout;

use self::over_http2::OverHttp2;
use crate::{
    attempts::{Asked, Behind, NoAnswer, attempts},
    buffer::Buffer,
    config::ProxyConfig,
    http1::{
        Body, Field, FieldEdits, FieldRoom, Forwarding, Identity, Refusal, Request, RequestHead,
        reason, write_request,
    },
    http2::{self, PREFACE_HEAD, ServerProtocol},
    observe::{self, Cause, Ending, Peer, Phase, Watch},
    route::RouteRequest,
    site::{Current, Place, Site},
    stream::{NoHead, Stream, write},
    tcp::relay,
    upstream::{Permit, Upstream},
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

/// A request as it goes on.
struct Onward {
    head: Vec<u8>,
    asked: Asked,
    minor: u8,
    persists: bool,
    /// Where the answer is the last one once it drains.
    site: Rc<Site>,
    /// It asks for another protocol, RFC 9110 section 7.8.
    upgrades: bool,
    /// It knows what to do with trailers, RFC 9110 section 10.1.4; a server of HTTP/1.1 is not told.
    accepts_trailers: bool,
    /// Something of an answer is on its way to the client.
    has_answer: Cell<bool>,
}

/// What becomes of a request.
enum Rewritten {
    /// It goes on.
    Onward(Onward),
    /// It has this answer.
    Answer { answer: Vec<u8>, persists: bool },
}

/// A request that goes to one server after the other, until one answers.
struct Attempt<'a> {
    client: &'a mut Stream,
    head: Vec<u8>,
    onward: &'a Onward,
    config: &'a Arc<ProxyConfig>,
}

/// What an answer leaves behind.
struct Answered {
    /// The client's connection takes another request, as far as the answer goes.
    persists: bool,
    /// All of the request is gone.
    is_sent: bool,
    behind: Behind,
}

/// Why a client's connection ends.
enum End {
    /// Because of the client, or in the middle of an answer.
    Quietly(Ending),
    /// Between two requests, or as the client has asked for.
    InOrder,
    /// Behind an answer that was the last, which the client did not ask for.
    Answered,
    /// After an answer for the server, which may say why.
    Told(Ending, &'static str),
    /// It speaks HTTP/2 from its first byte on.
    Http2,
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
                End::Quietly(_) => return,
                End::InOrder => return client.stream.say_close().await,
                End::Http2 => return client.into_http2().await,
                End::Told(..) | End::Answered => {}
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
            observer: self.current.observer.clone(),
            tls: self.stream.socket.peer_tls(),
        };
        // On the heap, as one of HTTP/1.1 does not need the room.
        Box::pin(http2::serve(self.stream, service, self.place))
    }

    /// One request with its answer, after which another may follow.
    async fn request(&mut self, is_first: bool) -> Result<(), End> {
        self.current = self.place.current();
        let watch = Rc::new(Watch::of(self.current.observer.as_ref()));
        let answered = self.answered(is_first, &watch).await;
        let ending = match &answered {
            Err(End::Quietly(ending) | End::Told(ending, _)) => *ending,
            Ok(()) | Err(End::InOrder | End::Answered | End::Http2) => Ending::default(),
        };
        if let Err(End::Told(Ending { told, .. }, why)) = &answered {
            let status = told.unwrap_or(502);
            if is_refusal(status) {
                self.current.counters.refusals.increment();
            }
            self.tell(status, why, &watch).await;
        }
        let peer = Peer {
            address: self.address,
            tls: self.stream.socket.tls(),
        };
        watch.ends(ending, peer);
        answered
    }

    async fn answered(&mut self, is_first: bool, watch: &Rc<Watch>) -> Result<(), End> {
        let config = &*self.current.config;
        let limit = config.timeouts.head;
        let mut incoming = self.stream.incoming();
        let head = incoming.head(&config.limits, limit, || watch.begins());
        let head_bytes = head.await.map_err(|error| match error {
            NoHead::Closed | NoHead::Leaving | NoHead::Silent => {
                watch.forget();
                End::Quietly(Ending::default())
            }
            NoHead::Broken => End::of(NoAnswer::Gone(Cause::Client), watch),
            NoHead::Refused(refusal) => {
                watch.begins();
                End::of(NoAnswer::Refused(refusal), watch)
            }
            NoHead::Late => End::of(NoAnswer::Told(408, Cause::ClientTimeout), watch),
        })?;
        watch.head(head_bytes);
        let rewritten = self.rewrite(head_bytes, watch);
        let rewritten = rewritten.map_err(|refusal| {
            let is_preface = is_first && self.stream.incoming().filled().starts_with(PREFACE_HEAD);
            if is_preface && self.current.config.http2.clients {
                watch.forget();
                End::Http2
            } else {
                End::of(NoAnswer::Refused(refusal), watch)
            }
        })?;
        self.current.counters.requests.increment();
        self.stream.incoming().consume(head_bytes);
        let mut onward = match rewritten {
            Rewritten::Onward(onward) => onward,
            Rewritten::Answer { answer, persists } => {
                let silence = self.current.config.timeouts.silence;
                let sent = write(&self.stream.socket, &answer, b"", silence);
                sent.last(!persists).await.map_err(|error| {
                    watch.waits_for(Phase::Last);
                    End::of(NoAnswer::of_client(&error), watch)
                })?;
                watch.sends(answer.len());
                return if persists { Ok(()) } else { Err(End::Answered) };
            }
        };
        let mut attempt = Attempt {
            client: &mut self.stream,
            head: mem::take(&mut onward.head),
            onward: &onward,
            config: &self.current.config,
        };
        let answered = match onward.asked.routed.total(&self.current.config) {
            None => attempt.run().await,
            Some(total) => {
                let answered = Box::pin(timeout(total, attempt.run())).await;
                answered.unwrap_or(Err(NoAnswer::Told(504, Cause::ServerTimeout)))
            }
        };
        let (permit, answered) = answered.map_err(|why| onward.end(why))?;
        match answered.behind {
            Behind::Switched(mut upstream) => {
                let limit = onward.asked.routed.timeouts(&self.current.config).tunnel;
                let (client, server) = (&mut self.stream, &mut upstream.stream);
                // How it ended is between the two.
                let relayed = Box::pin(relay(client, server, limit)).await;
                watch.relayed(relayed.to_server, relayed.to_client);
                return Err(End::Answered);
            }
            Behind::Tunnel(mut server) => {
                let limit = onward.asked.routed.timeouts(&self.current.config).tunnel;
                let tunnel = http2::tunnel_of_socket(&mut self.stream, &mut server, limit, watch);
                Box::pin(tunnel).await.map_err(|why| onward.end(why))?;
                return Err(End::Answered);
            }
            Behind::Requests(upstream, keep_alive) => permit.keep(upstream, keep_alive),
            Behind::Nothing => {}
        }
        if answered.persists && answered.is_sent {
            return Ok(());
        }
        // Of a client that has said that this is its last request, and has sent all of it, nothing more comes.
        let has_nothing_more = !onward.persists && answered.is_sent && self.stream.buffer.is_none();
        Err(if has_nothing_more {
            End::InOrder
        } else {
            End::Answered
        })
    }

    /// Reads the head in the buffer, and writes it as it goes on.
    fn rewrite(&self, head_bytes: usize, watch: &Rc<Watch>) -> Result<Rewritten, Refusal> {
        let filled = self.stream.buffer.as_ref().map_or(&b""[..], Buffer::filled);
        let bytes = &filled[..head_bytes];
        let mut room = FieldRoom::new();
        let head = RequestHead::parse(bytes, &mut room, &self.current.config.limits)?;
        let version = match head.minor {
            0 => observe::Protocol::Http10,
            _ => observe::Protocol::Http11,
        };
        watch.asked(version, head.method, head.target, head.fields());
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
        let mut out = Vec::with_capacity(head_bytes + 256);
        let way = match self
            .current
            .routes
            .decide(&self.current.config.routes, &asked)
        {
            Ok(way) => way,
            Err((route, answer)) => {
                watch.answers(route, &answer);
                // Nobody else is told.
                let _traced = watch.traced(head.method, &head);
                // What comes of a body is not looked for behind its answer.
                let persists = request.persists && request.body == Body::Length(0);
                answer.write(&mut out, head.method, head.minor, persists);
                return Ok(Rewritten::Answer {
                    answer: out,
                    persists,
                });
            }
        };
        let routed = self.current.routes.routed(&way, &self.current.config);
        watch.route(way.route);
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
            traced: watch.traced(head.method, &head),
        };
        let forwarding = routed.forwarding(forwarding, &self.current.config);
        let request = Request {
            path: way.target.as_deref().unwrap_or(request.path),
            ..request
        };
        write_request(&mut out, &head, &request, &forwarding);
        let is_idempotent = matches!(
            head.method,
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
        );
        let to = self.current.upstreams.pool(routed.pool()).map(|pool| {
            let mut key = pool.key(head.fields(), self.address);
            key.origin.clone_from(&self.current.origin);
            (pool, key)
        });
        Ok(Rewritten::Onward(Onward {
            head: out,
            asked: Asked {
                method: if head.method == "HEAD" { "HEAD" } else { "" },
                body: request.body,
                is_idempotent,
                has_more: request.body != Body::Length(0),
                routed,
                to,
                is_sending: Cell::new(false),
                watch: Rc::clone(watch),
            },
            minor: head.minor,
            persists: request.persists,
            site: Rc::clone(&self.place.site),
            upgrades: request.upgrade.is_some(),
            accepts_trailers: self.current.config.http2.servers == ServerProtocol::Http2
                && head.fields().any(|it| accepts_trailers(&it)),
            has_answer: Cell::new(false),
        }))
    }

    /// Answers for the server, for the last time.
    async fn tell(&mut self, status: u16, why: &str, watch: &Watch) {
        let reason = reason(status);
        let colon = if why.is_empty() { "" } else { ": " };
        let body = format!("{status} {reason}{colon}{why}\n");
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let (head, body) = (head.as_bytes(), body.as_bytes());
        // A client that is gone does not hear it.
        let silence = self.current.config.timeouts.silence;
        let sent = write(&self.stream.socket, head, body, silence).await;
        if sent.is_ok() {
            watch.sends(head.len() + body.len());
        }
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    async fn run(&mut self) -> Result<(Permit, Answered), NoAnswer> {
        let (asked, config) = (&self.onward.asked, self.config);
        match config.http2.servers {
            ServerProtocol::Http1 => attempts::<Upstream, _>(self, asked, config).await,
            ServerProtocol::Http2 => Box::pin(self.over_http2()).await,
        }
    }

    async fn over_http2(&mut self) -> Result<(Permit, Answered), NoAnswer> {
        let (asked, config) = (&self.onward.asked, self.config);
        let mut over = OverHttp2::of(self)?;
        attempts::<http2::Place, _>(&mut over, asked, config).await
    }
}

// === impl Onward ===

impl Onward {
    /// How the client's connection ends if it is not to have an answer, or not all of it.
    fn end(&self, why: NoAnswer) -> End {
        let end = End::of(why, &self.asked.watch);
        match end {
            // Nothing else can be said behind a part of an answer.
            End::Told(ending, _) if self.has_answer.get() => End::Quietly(Ending {
                told: None,
                ..ending
            }),
            end => end,
        }
    }
}

// === impl End ===

impl End {
    fn of(why: NoAnswer, watch: &Watch) -> Self {
        let ending = why.ending(watch);
        match why {
            NoAnswer::Told(..) | NoAnswer::Refused(_) | NoAnswer::Malformed(_) => {
                Self::Told(ending, "")
            }
            NoAnswer::Unavailable(why, _) => Self::Told(ending, why),
            NoAnswer::Gone(_) | NoAnswer::Broken(..) => Self::Quietly(ending),
        }
    }
}

fn accepts_trailers(field: &Field<'_>) -> bool {
    field.is("te")
        && field
            .members()
            .any(|it| it.eq_ignore_ascii_case(b"trailers"))
}

/// Whether a status that the engine gives says what is wrong with the request itself.
const fn is_refusal(status: u16) -> bool {
    !matches!(status, 408 | 502..=504)
}
