//! One request that came over HTTP/2, with its answer from a server of HTTP/1.1.

mod over_http1;

use std::{io, pin::pin, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, header, request::Parts};
use tokio::time::timeout;

use self::over_http1::Exchange;
use super::{
    Service,
    answer::{Answer, Gone},
    body::NotAnswered,
    config::ServerProtocol,
    relay::{NotRelayed, Relaying, relay},
    request::{self, Asked, NotWritten, Writing},
    watch::Open,
    websocket,
};
use crate::{
    http1::{Body, Field, FieldEdits, Forwarding, Identity, Refusal},
    route::Failure,
    routing::Routed,
    upstream::{NoUpstream, Permit, Pool, RequestKey},
};

/// How long, and for how many bytes, a body is read on that nobody wants.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// Why there is no answer, or not all of it.
enum End {
    /// The client does not want it any more.
    Gone,
    /// It gets this one instead.
    Told(u16),
    /// It has got another one, whole.
    Given,
    Reset(Reason),
}

impl End {
    /// Because there is no connection to a server.
    fn of(why: NoUpstream) -> Self {
        Self::Told(match why {
            NoUpstream::NoServer(_) => 503,
            NoUpstream::Connect(error) => match error.kind() {
                io::ErrorKind::QuotaExceeded => 503,
                io::ErrorKind::TimedOut => 504,
                _ => 502,
            },
        })
    }
}

/// Why there is no answer from a connection.
enum Failed {
    /// Nothing of one has come.
    Unanswered,
    /// The one that came is not what the client is to have.
    Again,
    End(End),
}

impl From<Gone> for Failed {
    fn from(_gone: Gone) -> Self {
        Self::End(End::Gone)
    }
}

impl From<NotAnswered> for Failed {
    fn from(error: NotAnswered) -> Self {
        Self::End(match error {
            NotAnswered::Server => End::Reset(Reason::INTERNAL_ERROR),
            NotAnswered::Client(Gone) => End::Gone,
        })
    }
}

/// Serves a stream to its end.
pub(super) async fn serve(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    service: Rc<Service>,
    _open: Open,
) {
    let (parts, mut body) = request.into_parts();
    let mut answer = Answer::new(respond, service.config.timeouts.silence);
    match run(&parts, &mut body, &mut answer, &service).await {
        Ok(()) => {}
        // Whoever is still there hears that it is over.
        Err(End::Gone) => answer.reset(Reason::CANCEL),
        Err(End::Told(status)) => {
            answer.tell(status);
            linger(&mut body).await;
        }
        Err(End::Given) => linger(&mut body).await,
        Err(End::Reset(reason)) => answer.reset(reason),
    }
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
    parts: &Parts,
    body: &mut RecvStream,
    answer: &mut Answer,
    service: &Service,
) -> Result<(), End> {
    let key = websocket::Key::random();
    let mut head = Vec::with_capacity(512);
    let written = write_head(&mut head, parts, body.is_end_stream(), key.text(), service);
    let (asked, routed) = match written {
        Ok(written) => written,
        Err(NotWritten::Refused(refusal)) => return Err(told_of_refusal(refusal)),
        Err(NotWritten::Answered(head, body)) => {
            let given = Box::pin(answer.give(*head, body)).await;
            return Err(if given.is_ok() { End::Given } else { End::Gone });
        }
    };
    answer.edit(routed.edits(&service.config));
    let total = routed.total(&service.config);
    let mut request = Sending {
        head,
        parts,
        asked,
        routed,
        key,
        body,
        answer: &mut *answer,
        service,
    };
    let Some(total) = total else {
        return request.attempts().await;
    };
    // On the heap, as requests without such a limit do not need the room.
    let done = Box::pin(timeout(total, request.attempts())).await;
    done.unwrap_or_else(|_late| Err(answer_late(answer)))
}

/// What a client hears that has waited for too long.
const fn answer_late(answer: &Answer) -> End {
    if answer.is_open() {
        End::Told(504)
    } else {
        End::Reset(Reason::INTERNAL_ERROR)
    }
}

/// A request that goes to one server after the other, until one answers.
struct Sending<'a> {
    head: Vec<u8>,
    parts: &'a Parts,
    asked: Asked,
    routed: Routed,
    key: websocket::Key,
    body: &'a mut RecvStream,
    answer: &'a mut Answer,
    service: &'a Service,
}

impl Sending<'_> {
    async fn attempts(&mut self) -> Result<(), End> {
        let service = self.service;
        if service.config.http2.servers == ServerProtocol::Http2 {
            return Box::pin(self.over_http2()).await;
        }
        let (mut pool, mut place) = self.place()?;
        'servers: loop {
            let connect = self.routed.timeouts(&service.config).connect;
            // On the heap, as the rest does not need the room.
            let mut coming = Box::pin(pool.reach(&place, connect));
            let reached = self.answer.or_gone(coming.as_mut()).await;
            drop(coming);
            let (permit, mut upstream) = match reached.map_err(|_gone| End::Gone)? {
                Ok(reached) => reached,
                Err(NoUpstream::Connect(_)) if self.again(Failure::Connect) => continue 'servers,
                Err(why) => return Err(End::of(why)),
            };
            loop {
                let is_reused = upstream.is_reused;
                let mut exchange = Exchange {
                    asked: self.asked,
                    routed: &self.routed,
                    permit: &permit,
                    service,
                    key: &self.key,
                    body: &mut *self.body,
                    answer: &mut *self.answer,
                };
                let failed = match exchange.run(&self.head, upstream).await {
                    Ok(()) => return Ok(()),
                    Err(failed) => failed,
                };
                // The server has closed it before the request came, and nothing of the body is gone.
                let is_stale = is_reused && self.asked.is_idempotent;
                if is_stale && matches!(failed, Failed::Unanswered) {
                    let mut anew = Box::pin(permit.connect_anew(connect));
                    let connected = self.answer.or_gone(anew.as_mut()).await;
                    drop(anew);
                    match connected.map_err(|_gone| End::Gone)? {
                        Ok(anew) => upstream = anew,
                        Err(_) if self.again(Failure::Connect) => {
                            (pool, place) = permit.another(&pool, &place);
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
                    Failed::Unanswered if !self.again(Failure::Reset) => {
                        return Err(End::Told(502));
                    }
                    Failed::End(end) => return Err(end),
                    Failed::Unanswered | Failed::Again => {}
                }
                (pool, place) = permit.another(&pool, &place);
                continue 'servers;
            }
        }
    }

    /// Where the request goes.
    fn place(&self) -> Result<(Rc<Pool>, RequestKey), End> {
        let pool = self.service.upstreams.pool(self.routed.pool());
        let pool = pool.ok_or(End::Told(503))?;
        let fields = self.parts.headers.iter().map(|(name, value)| Field {
            name: name.as_str(),
            value: value.as_bytes(),
        });
        let mut key = pool.key(fields, self.service.address);
        key.origin.clone_from(&self.service.origin);
        Ok((pool, key))
    }

    /// A place at a server, while somebody waits for the answer.
    async fn permit(&mut self, pool: &Rc<Pool>, key: &RequestKey) -> Result<Permit, End> {
        let chosen = pin!(pool.choose(key));
        let chosen = self.answer.or_gone(chosen).await;
        let chosen = chosen.map_err(|_gone| End::Gone)?;
        chosen.map_err(|why| End::of(why.into()))
    }

    fn again(&self, failure: Failure) -> bool {
        again(failure, self.asked, &self.routed, self.service)
    }

    /// The same to a server of HTTP/2.
    async fn over_http2(&mut self) -> Result<(), End> {
        let config = &self.service.config;
        let accepts_trailers = self.parts.headers.contains_key(header::TE);
        let head = Bytes::from(std::mem::take(&mut self.head));
        if self.asked.is_tunnel {
            return Err(End::Told(501));
        }
        let scheme = if config.server_tls.is_some() {
            "https"
        } else {
            "http"
        };
        let request = request::convert(&head, &config.limits, scheme, accepts_trailers);
        let request = request.ok_or(End::Told(400))?;
        let has_body = !self.body.is_end_stream();
        let timeouts = self.routed.timeouts(config);
        let mut is_first = true;
        let (mut pool, mut key) = self.place()?;
        let mut permit = self.permit(&pool, &key).await?;
        loop {
            let place = {
                let peers = permit.http2();
                let place = pin!(peers.place(&permit, config, timeouts.connect));
                let place = self.answer.or_gone(place).await;
                place.map_err(|_gone| End::Gone)?
            };
            let place = match place {
                Err(_) if self.again(Failure::Connect) => {
                    (pool, key) = permit.another(&pool, &key);
                    permit = self.permit(&pool, &key).await?;
                    continue;
                }
                place => place.map_err(|error| End::of(error.into()))?,
            };
            let body = has_body.then_some(&mut *self.body);
            let relaying = Relaying {
                silence: timeouts.silence,
                body_bytes: self.routed.body_bytes(config),
                permit: &permit,
                again: &|status| {
                    let failure = Failure::of_status(status);
                    failure.is_some_and(|it| again(it, self.asked, &self.routed, self.service))
                },
            };
            let send = place.send.clone();
            let relayed = relay(send, request.clone(), body, self.answer, relaying).await;
            return match relayed {
                Ok(()) => Ok(()),
                Err(NotRelayed::Untouched) if is_first && !has_body => {
                    is_first = false;
                    continue;
                }
                Err(NotRelayed::Unanswered) if self.again(Failure::Reset) => {
                    permit.failed();
                    (pool, key) = permit.another(&pool, &key);
                    permit = self.permit(&pool, &key).await?;
                    continue;
                }
                Err(NotRelayed::Again) => {
                    (pool, key) = permit.another(&pool, &key);
                    permit = self.permit(&pool, &key).await?;
                    continue;
                }
                Err(NotRelayed::Untouched | NotRelayed::Unanswered) => {
                    permit.failed();
                    Err(End::Told(502))
                }
                Err(NotRelayed::Late) => {
                    permit.failed();
                    Err(End::Told(504))
                }
                Err(NotRelayed::TooLong) => Err(End::Told(413)),
                Err(NotRelayed::Broken(reason)) => Err(End::Reset(reason)),
                Err(NotRelayed::Client(Gone)) => Err(End::Gone),
            };
        }
    }
}

/// Whether the request's route has it sent again.
fn again(failure: Failure, asked: Asked, routed: &Routed, service: &Service) -> bool {
    let has_body = asked.is_tunnel || asked.body != Body::Length(0);
    routed.again(failure, asked.is_idempotent, has_body, &service.config)
}

fn write_head(
    out: &mut Vec<u8>,
    parts: &Parts,
    is_whole: bool,
    key: &str,
    service: &Service,
) -> Result<(Asked, Routed), NotWritten> {
    let config = &service.config;
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
        },
        limits: &config.limits,
        is_whole,
        config,
        routes: &service.routes,
        key,
    };
    request::write(out, parts, &writing)
}

/// A malformed request is a stream's error, RFC 9113 section 8.1.1; what is well-formed, and more than is allowed, is told.
fn told_of_refusal(refusal: Refusal) -> End {
    match refusal.status() {
        400 if refusal != Refusal::Method => End::Reset(Reason::PROTOCOL_ERROR),
        status => End::Told(status),
    }
}
