//! A request on its way to a server of HTTP/1.1, and its answer.

use std::{cell::Cell, pin::pin};

use bytes::Bytes;
use h2::RecvStream;

use super::{End, Failed, again};
use crate::{
    http1::{Body, FieldRoom, Refusal, Response, ResponseHead},
    http2::{
        Service,
        answer::Answer,
        body::{self, NotSent},
        request::Asked,
        response, websocket,
    },
    route::Failure,
    routing::Routed,
    stream::{Incoming, NoHead, write},
    upstream::{Permit, Upstream},
};

/// A request on its way over a connection to a server.
pub(super) struct Exchange<'a> {
    pub(super) asked: Asked,
    pub(super) routed: &'a Routed,
    pub(super) permit: &'a Permit,
    pub(super) service: &'a Service,
    pub(super) key: &'a websocket::Key,
    pub(super) body: &'a mut RecvStream,
    pub(super) answer: &'a mut Answer,
}

impl Exchange<'_> {
    pub(super) async fn run(&mut self, head: &[u8], mut upstream: Upstream) -> Result<(), Failed> {
        let sent = write(&upstream.stream.socket, head, b"").await;
        sent.map_err(|_closed| Failed::Unanswered)?;
        let has_body = !self.asked.is_tunnel && self.asked.body != Body::Length(0);
        let (response, is_sent) = if has_body {
            Box::pin(self.both(&mut upstream)).await?
        } else {
            let from = upstream.stream.incoming();
            let (asked, routed) = (self.asked, self.routed);
            let of = (self.key, self.service, self.permit, &Cell::new(false));
            let response = answer(from, self.answer, asked, routed, of).await?;
            (response, true)
        };
        if response.switches {
            let mut from = upstream.stream.incoming();
            let tunnel = body::tunnel(self.body, &mut from, self.answer);
            return Ok(Box::pin(tunnel).await?);
        }
        if response.persists && is_sent {
            self.permit.keep(upstream, response.keep_alive);
        }
        Ok(())
    }

    /// The body there and the answer back at the same time, as neither waits for the other; with the answer, whether the whole body is
    /// gone.
    async fn both(&mut self, upstream: &mut Upstream) -> Result<(Response, bool), Failed> {
        let silence = self.routed.timeouts(&self.service.config).silence;
        let most = self.routed.body_bytes(&self.service.config);
        let stream = &mut upstream.stream;
        let from = Incoming {
            socket: &stream.socket,
            buffer: &mut stream.buffer,
            alarm: &stream.alarm,
        };
        let body = body::send(self.body, &stream.socket, self.asked.body, silence, most);
        let (asked, routed) = (self.asked, self.routed);
        let is_sending = Cell::new(true);
        let of = (self.key, self.service, self.permit, &is_sending);
        let answer = answer(from, self.answer, asked, routed, of);
        tokio::pin!(body, answer);
        let mut is_sent = None;
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => return Ok((answered?, is_sent == Some(true))),
                sent = &mut body, if is_sent.is_none() => {
                    is_sending.set(false);
                    match sent {
                        Ok(()) => is_sent = Some(true),
                        // It may have answered without reading all of it.
                        Err(NotSent::Server) => is_sent = Some(false),
                        Err(NotSent::Client) => return Err(Failed::End(End::Gone)),
                        // One that has begun to answer is broken off.
                        Err(NotSent::TooLong) => return Err(Failed::End(End::Told(413))),
                    }
                }
            }
        }
    }
}

/// Gives a server's answer to the client, the interim ones before it too.
async fn answer(
    mut from: Incoming<'_>,
    to: &mut Answer,
    asked: Asked,
    routed: &Routed,
    (key, service, permit, is_sending): (&websocket::Key, &Service, &Permit, &Cell<bool>),
) -> Result<Response, Failed> {
    let config = &service.config;
    let silence = routed.timeouts(config).silence;
    loop {
        let length = {
            let head = pin!(async {
                from.some(silence, |_| false).await?;
                from.head(&config.limits, silence).await
            });
            to.or_gone(head).await?
        };
        // It waits for the rest of the request, as long as that comes.
        if matches!(length, Err(NoHead::Silent)) && is_sending.get() {
            continue;
        }
        let length = length.map_err(|error| match error {
            NoHead::Closed | NoHead::Leaving | NoHead::Broken => Failed::Unanswered,
            NoHead::Refused(_) => Failed::End(End::Told(502)),
            NoHead::Silent | NoHead::Late => Failed::End(End::Told(504)),
        })?;
        let bytes = Bytes::copy_from_slice(&from.filled()[..length]);
        from.consume(length);
        let (mut head, response) = read_head(&bytes, asked, key, service)
            .map_err(|_refusal| Failed::End(End::Told(502)))?;
        if response.is_interim {
            to.interim(head)?;
            continue;
        }
        permit.answered(response.status, asked.body == Body::Length(0));
        response::mark(&mut head, permit);
        let failure = Failure::of_status(response.status);
        if failure.is_some_and(|failure| again(failure, asked, routed, service)) {
            return Err(Failed::Again);
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
