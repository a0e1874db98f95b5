//! A request on its way to a server of HTTP/1.1, and its answer.

use std::pin::{Pin, pin};

use bytes::Bytes;

use super::{Attempt, Onward};
use crate::{
    attempts::{Asking, Behind, Failed, NoAnswer, answer_head, both},
    config::ProxyConfig,
    http1::{Body, FieldRoom, Refusal, Response, ResponseHead},
    http2::{
        answer::Answer,
        body::{self, NotSent},
        response,
    },
    observe::{Cause, Phase, Renewal},
    stream::{Incoming, Stream, write},
    upstream::{Permit, Upstream},
};

impl Asking<Upstream> for Attempt<'_> {
    type Answered = Behind;

    async fn or_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Result<F::Output, NoAnswer> {
        Attempt::or_gone(self, work).await
    }

    async fn exchange(
        &mut self,
        permit: &Permit,
        mut upstream: Upstream,
    ) -> Result<Behind, Failed> {
        let exchanged = self.over_http1(permit, &mut upstream.stream).await;
        let (response, is_sent) = match exchanged {
            // The server has closed it before the request came.
            Err(Failed::Unanswered) if upstream.is_reused && self.onward.asked.may_repeat() => {
                return Err(Failed::Untouched);
            }
            exchanged => exchanged?,
        };
        Ok(Behind::of(upstream, &response, is_sent))
    }

    fn renew(&mut self, renewal: &Renewal) {
        renewal.patch(&mut self.head);
    }
}

impl Attempt<'_> {
    /// The answer, and whether all of the request is gone.
    async fn over_http1(
        &mut self,
        permit: &Permit,
        server: &mut Stream,
    ) -> Result<(Response, bool), Failed> {
        let onward = self.onward;
        let config = &self.service.config;
        let silence = onward.asked.routed.timeouts(config).silence;
        let sent = write(&server.socket, &self.head, b"", silence).await;
        sent.map_err(|_closed| Failed::Unanswered)?;
        if onward.asked.has_body() {
            return Box::pin(self.with_body(permit, server)).await;
        }
        let answer = answer(server.incoming(), self.answer, onward, config, permit);
        Ok((answer.await?, true))
    }

    async fn with_body(
        &mut self,
        permit: &Permit,
        server: &mut Stream,
    ) -> Result<(Response, bool), Failed> {
        let (config, asked) = (&self.service.config, &self.onward.asked);
        let silence = asked.routed.timeouts(config).silence;
        let most = asked.routed.body_bytes(config);
        let from = Incoming {
            socket: &server.socket,
            buffer: &mut server.buffer,
            alarm: &server.alarm,
        };
        let body = pin!(async {
            let (to, limits) = (&server.socket, (silence, most));
            let count = asked.watch.received();
            let sent = body::send(self.body, to, asked.body, limits, count);
            match sent.await {
                Ok(()) => Ok(true),
                // It may have answered without reading all of it.
                Err(NotSent::Server) => Ok(false),
                Err(NotSent::Client { is_late }) => {
                    asked.watch.waits_for(Phase::Data);
                    Err(NoAnswer::Gone(Cause::client(is_late)))
                }
                Err(NotSent::TooLong) => Err(NoAnswer::Refused(Refusal::BodyTooLong)),
            }
        });
        let answer = pin!(answer(from, self.answer, self.onward, config, permit));
        both(asked, body, answer).await
    }
}

/// Gives a server's answer to the client, the interim ones before it too.
async fn answer(
    mut from: Incoming<'_>,
    to: &mut Answer,
    onward: &Onward,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<Response, Failed> {
    let asked = &onward.asked;
    let silence = asked.routed.timeouts(config).silence;
    loop {
        let length = {
            let head = pin!(answer_head(&mut from, asked, config, silence));
            to.or_gone(head).await??
        };
        // The head's values are parts of this, and so is what has come of the body.
        let bytes = Bytes::copy_from_slice(from.filled());
        let (mut head, response) =
            read_head(&bytes, length, onward, config).map_err(NoAnswer::Malformed)?;
        from.consume(length);
        if response.is_interim {
            to.interim(head)?;
            continue;
        }
        asked.answered(permit, response.status, config)?;
        response::mark(&mut head, permit);
        let is_whole = response.body == Body::Length(0) && !response.switches;
        let sending = to.head(head, is_whole)?;
        let mut body = response.body;
        if let Body::Length(left @ 1..) = &mut body {
            let there = bytes.len() - length;
            let count = usize::try_from(*left).map_or(there, |left| left.min(there));
            from.consume(count);
            *left -= count as u64;
            let data = bytes.slice(length..length + count);
            sending.data(data, *left == 0).await?;
        }
        drop(bytes);
        if body != Body::Length(0) && !response.switches {
            let body = pin!(body::read(&mut from, sending, body, silence, u64::MAX));
            body.await.map_err(NoAnswer::from)?;
        }
        return Ok(response);
    }
}

/// Reads a head, which is so many of the bytes.
fn read_head(
    bytes: &Bytes,
    length: usize,
    onward: &Onward,
    config: &ProxyConfig,
) -> Result<(http::Response<()>, Response), Refusal> {
    let mut room = FieldRoom::new();
    let head = ResponseHead::parse(&bytes[..length], &mut room, &config.limits)?;
    let response = Response::of(&head, onward.asked.method)?;
    let is_tunnel = onward.tunnel.is_some();
    if response.switches || is_tunnel && (200..300).contains(&response.status) {
        // What nobody has asked for, and what the client would take for the tunnel that it has asked for.
        let accepted = onward.tunnel.as_ref().map(|key| key.is_accepted(&head));
        if !response.switches || accepted != Some(true) {
            return Err(Refusal::StartLine);
        }
    }
    Ok((response::convert(bytes, &head, &response)?, response))
}
