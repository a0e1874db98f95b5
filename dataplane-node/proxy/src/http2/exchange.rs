//! One request that came over HTTP/2, with its answer from a server of HTTP/1.1.

use std::{io, pin::pin, rc::Rc};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, header, request::Parts};

use super::{
    Service,
    answer::{Answer, Gone},
    body::{self, NotAnswered, NotSent},
    config::ServerProtocol,
    relay::{NotRelayed, relay},
    request::{self, Asked, Writing},
    response,
    watch::Open,
    websocket,
};
use crate::{
    http1::{Body, FieldRoom, Forwarding, Refusal, Response, ResponseHead},
    stream::{Incoming, NoHead, write},
    upstream::Upstream,
};

/// Why there is no answer, or not all of it.
enum End {
    /// The client does not want it any more.
    Gone,
    /// It gets this one instead.
    Told(u16),
    Reset(Reason),
}

/// Why there is no answer from a connection.
enum Failed {
    /// Nothing of one has come.
    Unanswered,
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
    let (parts, body) = request.into_parts();
    let mut answer = Answer::new(respond, service.config.timeouts.silence);
    match run(&parts, body, &mut answer, &service).await {
        Ok(()) => {}
        // Whoever is still there hears that it is over.
        Err(End::Gone) => answer.reset(Reason::CANCEL),
        Err(End::Told(status)) => answer.tell(status),
        Err(End::Reset(reason)) => answer.reset(reason),
    }
}

async fn run(
    parts: &Parts,
    mut body: RecvStream,
    answer: &mut Answer,
    service: &Service,
) -> Result<(), End> {
    let key = websocket::Key::random();
    let mut head = Vec::with_capacity(512);
    let asked = write_head(&mut head, parts, body.is_end_stream(), key.text(), service)
        .map_err(told_of_refusal)?;
    let connect = service.config.timeouts.connect;
    let server = service.upstreams.choose().ok_or(End::Told(503))?;
    if service.config.http2.servers == ServerProtocol::Http2 {
        return Box::pin(over_http2(
            head, parts, asked, body, answer, service, server,
        ))
        .await;
    }
    // On the heap, as the rest does not need the room.
    let mut connected = Box::pin(service.upstreams.connect(server, connect));
    let mut upstream = told_of_connect(answer.or_gone(connected.as_mut()).await)?;
    drop(connected);
    loop {
        let is_reused = upstream.is_reused;
        let mut exchange = Exchange {
            asked,
            service,
            key: &key,
            body: &mut body,
            answer: &mut *answer,
        };
        match exchange.run(&head, upstream).await {
            // The server has closed it before the request came, and nothing of the body is gone.
            Err(Failed::Unanswered) if is_reused && asked.is_idempotent => {
                let mut anew = Box::pin(service.upstreams.connect_anew(server, connect));
                upstream = told_of_connect(answer.or_gone(anew.as_mut()).await)?;
            }
            Err(Failed::Unanswered) => return Err(End::Told(502)),
            Err(Failed::End(end)) => return Err(end),
            Ok(()) => return Ok(()),
        }
    }
}

/// The same to a server of HTTP/2.
async fn over_http2(
    head: Vec<u8>,
    parts: &Parts,
    asked: Asked,
    mut body: RecvStream,
    answer: &mut Answer,
    service: &Service,
    server: usize,
) -> Result<(), End> {
    let config = &service.config;
    let accepts_trailers = parts.headers.contains_key(header::TE);
    let (head, limits) = (Bytes::from(head), &config.limits);
    if asked.is_tunnel {
        return Err(End::Told(501));
    }
    let request = request::convert(&head, limits, "http", accepts_trailers);
    let request = request.ok_or(End::Told(400))?;
    let has_body = !body.is_end_stream();
    let pool = &service.upstreams.http2;
    let mut is_first = true;
    loop {
        let place = pin!(pool.place(&service.upstreams, server, config));
        let place = answer.or_gone(place).await.map_err(|_gone| End::Gone)?;
        let place = place.map_err(|error| status_of_connect(&error))?;
        let body = has_body.then_some(&mut body);
        let silence = config.timeouts.silence;
        let relayed = relay(place.send.clone(), request.clone(), body, answer, silence).await;
        return match relayed {
            Ok(()) => Ok(()),
            Err(NotRelayed::Untouched) if is_first && !has_body => {
                is_first = false;
                continue;
            }
            Err(NotRelayed::Untouched | NotRelayed::Unanswered) => Err(End::Told(502)),
            Err(NotRelayed::Late) => Err(End::Told(504)),
            Err(NotRelayed::Broken(reason)) => Err(End::Reset(reason)),
            Err(NotRelayed::Client(Gone)) => Err(End::Gone),
        };
    }
}

fn write_head(
    out: &mut Vec<u8>,
    parts: &Parts,
    is_whole: bool,
    key: &str,
    service: &Service,
) -> Result<Asked, Refusal> {
    let config = &service.config;
    let writing = Writing {
        forwarding: Forwarding {
            client: service.address,
            scheme: service.scheme,
            x_forwarded: config.forwarded.x_forwarded,
            forwarded: config.forwarded.forwarded,
        },
        limits: &config.limits,
        is_whole,
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

fn told_of_connect(connected: Result<io::Result<Upstream>, Gone>) -> Result<Upstream, End> {
    let connected = connected.map_err(|_gone| End::Gone)?;
    connected.map_err(|error| status_of_connect(&error))
}

fn status_of_connect(error: &io::Error) -> End {
    End::Told(if error.kind() == io::ErrorKind::TimedOut {
        504
    } else {
        502
    })
}

/// A request on its way over a connection to a server.
struct Exchange<'a> {
    asked: Asked,
    service: &'a Service,
    key: &'a websocket::Key,
    body: &'a mut RecvStream,
    answer: &'a mut Answer,
}

impl Exchange<'_> {
    async fn run(&mut self, head: &[u8], mut upstream: Upstream) -> Result<(), Failed> {
        let sent = write(&upstream.stream.socket, head, b"").await;
        sent.map_err(|_closed| Failed::Unanswered)?;
        let has_body = !self.asked.is_tunnel && self.asked.body != Body::Length(0);
        let (response, is_sent) = if has_body {
            Box::pin(self.both(&mut upstream)).await?
        } else {
            let from = upstream.stream.incoming();
            let response = answer(from, self.answer, self.asked, self.key, self.service).await?;
            (response, true)
        };
        if response.switches {
            let mut from = upstream.stream.incoming();
            let tunnel = body::tunnel(self.body, &mut from, self.answer);
            return Ok(Box::pin(tunnel).await?);
        }
        if response.persists && is_sent {
            self.service.upstreams.keep(upstream);
        }
        Ok(())
    }

    /// The body there and the answer back at the same time, as neither waits for the other; with the answer, whether the whole body is
    /// gone.
    async fn both(&mut self, upstream: &mut Upstream) -> Result<(Response, bool), Failed> {
        let silence = self.service.config.timeouts.silence;
        let stream = &mut upstream.stream;
        let from = Incoming {
            socket: &stream.socket,
            buffer: &mut stream.buffer,
            alarm: &stream.alarm,
        };
        let body = body::send(self.body, &stream.socket, self.asked.body, silence);
        let answer = answer(from, self.answer, self.asked, self.key, self.service);
        tokio::pin!(body, answer);
        let mut is_sent = None;
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => return Ok((answered?, is_sent == Some(true))),
                sent = &mut body, if is_sent.is_none() => match sent {
                    Ok(()) => is_sent = Some(true),
                    // It may have answered without reading all of it.
                    Err(NotSent::Server) => is_sent = Some(false),
                    Err(NotSent::Client) => return Err(Failed::End(End::Gone)),
                },
            }
        }
    }
}

/// Gives a server's answer to the client, the interim ones before it too.
async fn answer(
    mut from: Incoming<'_>,
    to: &mut Answer,
    asked: Asked,
    key: &websocket::Key,
    service: &Service,
) -> Result<Response, Failed> {
    let config = &service.config;
    let silence = config.timeouts.silence;
    loop {
        let length = {
            let head = pin!(async {
                from.some(silence, |_| false).await?;
                from.head(&config.limits, silence).await
            });
            to.or_gone(head).await?
        };
        let length = length.map_err(|error| match error {
            NoHead::Closed | NoHead::Leaving | NoHead::Broken => Failed::Unanswered,
            NoHead::Refused(_) => Failed::End(End::Told(502)),
            NoHead::Silent | NoHead::Late => Failed::End(End::Told(504)),
        })?;
        let bytes = Bytes::copy_from_slice(&from.filled()[..length]);
        from.consume(length);
        let (head, response) = read_head(&bytes, asked, key, service)
            .map_err(|_refusal| Failed::End(End::Told(502)))?;
        if response.is_interim {
            to.interim(head)?;
            continue;
        }
        let is_whole = response.body == Body::Length(0) && !response.switches;
        to.head(head, is_whole)?;
        if !is_whole && !response.switches {
            let body = pin!(body::answer(&mut from, to, response.body, silence));
            body.await?;
        }
        return Ok(response);
    }
}

fn read_head(
    bytes: &Bytes,
    asked: Asked,
    key: &websocket::Key,
    service: &Service,
) -> Result<(http::Response<()>, Response), Refusal> {
    let mut room = FieldRoom::new();
    let head = ResponseHead::parse(bytes, &mut room, &service.config.limits)?;
    let response = Response::of(&head, asked.method)?;
    if response.switches || asked.is_tunnel && (200..300).contains(&response.status) {
        // What nobody has asked for, and what the client would take for the tunnel that it has asked for.
        let is_agreed = asked.is_tunnel && response.switches && key.is_accepted(&head);
        if !is_agreed {
            return Err(Refusal::StartLine);
        }
    }
    Ok((response::convert(bytes, &head, &response)?, response))
}
