//! One request that came over HTTP/2, with its answer from a server.

mod over_http1;
mod over_http2;
mod tunnelled;

use std::{cell::Cell, mem, pin::Pin, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Method, Request, header, request::Parts};
use tokio::time::timeout;

use self::over_http2::OverHttp2;
use super::{
    Service,
    answer::{Answer, Gone},
    body::NotRead,
    config::ServerProtocol,
    pool::Place,
    relay,
    request::{self, NotWritten, Writing},
    tunnel::{self, ServerEnd},
    watch::Open,
    websocket,
};
use crate::{
    attempts::{Asked, Behind, Failed, NoAnswer, attempts},
    http1::{Field, FieldEdits, Forwarding, Identity, Refusal},
    observe::{Cause, Ending, Peer, Tls, Watch},
    upstream::{Permit, Upstream},
};

/// How long, and for how many bytes, a body is read on that nobody wants.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// Why there is no answer of a server's, or not all of it.
enum End {
    NoAnswer(NoAnswer),
    /// The client has got another one, whole.
    Given,
}

/// A request as it goes on.
struct Onward {
    head: Vec<u8>,
    asked: Asked,
    /// It asks for a WebSocket, with this key.
    tunnel: Option<websocket::Key>,
    /// What the client says with `te`, which does not go on in HTTP/1.1.
    accepts_trailers: bool,
}

/// A request that goes to one server after the other, until one answers.
struct Attempt<'a> {
    head: Vec<u8>,
    onward: &'a Onward,
    body: &'a mut RecvStream,
    answer: &'a mut Answer,
    service: &'a Service,
}

/// Serves a stream to its end.
///
/// What a task carries is copied into it, so the request's own form is not.
pub(super) fn serve(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    service: Rc<Service>,
    open: Open,
) -> impl Future<Output = ()> + use<> {
    let (parts, mut body) = request.into_parts();
    let mut answer = Answer::new(respond, service.config.timeouts.silence);
    let watch = Rc::new(Watch::of(service.observer.as_ref()));
    watch.head(0);
    let onward = Onward::of(&parts, body.is_end_stream(), &service, &watch);
    async move {
        let _open = open;
        let ended = run(onward, &mut body, &mut answer, &service).await;
        let (ending, lingers) = match ended {
            Ok(()) => (Ending::default(), false),
            Err(End::Given) => (Ending::default(), true),
            Err(End::NoAnswer(why)) => tell(why, &mut answer, &watch),
        };
        watch.relayed(0, answer.sent());
        see(&watch, ending, &service);
        if lingers {
            linger(&mut body).await;
        }
    }
}

/// Tells the client that there is no answer of a server's; also, whether what it still sends is read on.
fn tell(why: NoAnswer, answer: &mut Answer, watch: &Watch) -> (Ending, bool) {
    let ending = why.ending(watch);
    let reset = match why {
        NoAnswer::Told(..) | NoAnswer::Unavailable(..) | NoAnswer::Malformed(_) => None,
        NoAnswer::Refused(refusal) => reset_of(refusal),
        // Whoever is still there hears that it is over.
        NoAnswer::Gone(_) => Some(Reason::CANCEL),
        NoAnswer::Broken(reason, _) => Some(reason),
    };
    let told = match reset {
        Some(reason) => {
            answer.reset(reason);
            None
        }
        // One that has begun is broken off.
        None if answer.has_begun() => {
            answer.reset(Reason::INTERNAL_ERROR);
            None
        }
        None => {
            answer.tell(ending.told.unwrap_or(502));
            ending.told
        }
    };
    (Ending { told, ..ending }, reset.is_none())
}

fn see(watch: &Watch, ending: Ending, service: &Service) {
    let tls = service.tls.as_ref().map(|it| Tls {
        version: it.version,
        sni: it.sni.as_deref(),
    });
    let peer = Peer {
        address: service.address,
        tls,
    };
    watch.ends(ending, peer);
}

/// Reads on what is sent of a body that nobody wants, for a while: not every client hears an answer behind which its stream is reset.
async fn linger(body: &mut RecvStream) {
    let gone = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(data)) = body.data().await {
            left = left.saturating_sub(data.len());
            let is_closed = body.flow_control().release_capacity(data.len()).is_err();
            if left == 0 || is_closed {
                break;
            }
        }
    };
    // Who goes on sending for longer has not read it.
    let _late = timeout(LINGER, gone).await;
}

async fn run(
    onward: Result<Onward, NotWritten>,
    body: &mut RecvStream,
    answer: &mut Answer,
    service: &Service,
) -> Result<(), End> {
    let mut onward = match onward {
        Ok(onward) => onward,
        Err(NotWritten::Refused(refusal)) => return Err(NoAnswer::Refused(refusal).into()),
        Err(NotWritten::Answered(head, body)) => {
            Box::pin(answer.give(*head, body)).await?;
            return Err(End::Given);
        }
    };
    answer.edit(onward.asked.routed.edits(&service.config));
    let mut attempt = Attempt {
        head: mem::take(&mut onward.head),
        onward: &onward,
        body: &mut *body,
        answer: &mut *answer,
        service,
    };
    let (permit, behind) = match onward.asked.routed.total(&service.config) {
        None => attempt.run().await?,
        // On the heap, as requests without such a limit do not need the room.
        Some(total) => match Box::pin(timeout(total, attempt.run())).await {
            Ok(behind) => behind?,
            // Where an answer has begun, this breaks it off.
            Err(_late) => return Err(NoAnswer::Told(504, Cause::ServerTimeout).into()),
        },
    };
    match behind {
        Behind::Switched(mut upstream) => {
            let server = ServerEnd::Socket(&mut upstream.stream);
            through(body, answer, server, &onward.asked, service).await?;
        }
        Behind::Tunnel(mut server) => {
            let server = ServerEnd::Stream(&mut server);
            through(body, answer, server, &onward.asked, service).await?;
        }
        Behind::Requests(upstream, keep_alive) => permit.keep(upstream, keep_alive),
        Behind::Nothing => {}
    }
    Ok(())
}

/// What is behind an answer that agrees to a tunnel.
async fn through(
    body: &mut RecvStream,
    answer: &mut Answer,
    server: ServerEnd<'_>,
    asked: &Asked,
    service: &Service,
) -> Result<(), NoAnswer> {
    let limit = asked.routed.timeouts(&service.config).tunnel;
    let count = asked.watch.received();
    Box::pin(tunnel::of_stream(body, answer, server, limit, count)).await
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<(Permit, Behind), NoAnswer> {
        let (config, asked) = (&self.service.config, &self.onward.asked);
        match config.http2.servers {
            ServerProtocol::Http1 => attempts::<Upstream, _>(self, asked, config).await,
            ServerProtocol::Http2 => Box::pin(self.over_http2()).await,
        }
    }

    async fn over_http2(&mut self) -> Result<(Permit, Behind), NoAnswer> {
        let (config, onward) = (&self.service.config, self.onward);
        let is_tunnel = onward.tunnel.is_some();
        let accepts_trailers = onward.accepts_trailers && !is_tunnel;
        let request = relay::request(&self.head, accepts_trailers, config, is_tunnel)?;
        let mut over = OverHttp2 {
            attempt: self,
            request,
        };
        attempts::<Place, _>(&mut over, &onward.asked, config).await
    }

    /// Does something else for as long as somebody waits for the answer.
    async fn or_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Result<F::Output, NoAnswer> {
        Ok(self.answer.or_gone(work).await?)
    }
}

impl Onward {
    fn of(
        parts: &Parts,
        is_whole: bool,
        service: &Service,
        watch: &Rc<Watch>,
    ) -> Result<Self, NotWritten> {
        let config = &service.config;
        let key = (parts.method == Method::CONNECT).then(websocket::Key::random);
        let writing = Writing {
            forwarding: Forwarding {
                client: service.address,
                scheme: service.scheme,
                host: None,
                edits: FieldEdits::NONE,
                identity: Identity {
                    names: config.identity_names(),
                    lines: &service.identity,
                },
                x_forwarded: config.forwarded.x_forwarded,
                forwarded: config.forwarded.forwarded,
                traced: None,
            },
            limits: &config.limits,
            is_whole,
            config,
            routes: &service.routes,
            watch,
            key: key.as_ref().map_or("", websocket::Key::text),
        };
        let mut head = Vec::with_capacity(512);
        let (asked, routed) = request::write(&mut head, parts, &writing)?;
        let fields = parts.headers.iter().map(|(name, value)| Field {
            name: name.as_str(),
            value: value.as_bytes(),
        });
        let to = service.upstreams.pool(routed.pool()).map(|pool| {
            let mut key = pool.key(fields, service.address);
            key.origin.clone_from(&service.origin);
            (pool, key)
        });
        Ok(Self {
            head,
            asked: Asked {
                method: asked.method,
                body: asked.body,
                is_idempotent: asked.is_idempotent,
                has_more: !is_whole,
                routed,
                to,
                is_sending: Cell::new(false),
                watch: Rc::clone(watch),
            },
            tunnel: key.filter(|_| asked.is_tunnel),
            accepts_trailers: parts.headers.contains_key(header::TE),
        })
    }
}

/// A malformed request is a stream's error, RFC 9113 section 8.1.1; what is well-formed, and more than is allowed, is told.
fn reset_of(refusal: Refusal) -> Option<Reason> {
    (refusal.status() == 400 && refusal != Refusal::Method).then_some(Reason::PROTOCOL_ERROR)
}

impl From<Gone> for Failed {
    fn from(gone: Gone) -> Self {
        Self::NoAnswer(gone.into())
    }
}

impl From<NoAnswer> for End {
    fn from(why: NoAnswer) -> Self {
        Self::NoAnswer(why)
    }
}

impl From<Gone> for End {
    fn from(gone: Gone) -> Self {
        Self::NoAnswer(gone.into())
    }
}

impl From<Gone> for NoAnswer {
    fn from(Gone: Gone) -> Self {
        Self::Gone(Cause::Client)
    }
}

impl From<NotRead> for NoAnswer {
    fn from(error: NotRead) -> Self {
        match error {
            NotRead::Sender { is_late } => {
                Self::Broken(Reason::INTERNAL_ERROR, Cause::server(is_late))
            }
            NotRead::Refused(_) => Self::Broken(Reason::INTERNAL_ERROR, Cause::Server),
            NotRead::Receiver(Gone) => Self::Gone(Cause::Client),
        }
    }
}
