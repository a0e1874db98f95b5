//! A request on its way to a server of HTTP/1.1, and its answer.

use std::{
    io,
    pin::{Pin, pin},
};

use super::{
    Answered, Attempt, Onward,
    answer::{mark, rewrite},
};
use crate::{
    attempts::{Asking, Behind, Failed, NoAnswer, answer_head, both},
    config::ProxyConfig,
    http1::{Body, Response},
    observe::{Cause, Phase, Renewal},
    pump::{self, Broken, Framed},
    scratch::Scratch,
    socket::Socket,
    stream::{Incoming, Stream, write},
    upstream::{Permit, Upstream},
};

/// So many bytes of a body are copied behind its head.
const COPIED_BYTES: usize = 4 << 10;

impl Asking<Upstream> for Attempt<'_> {
    type Answered = Answered;

    async fn or_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Result<F::Output, NoAnswer> {
        // Whether the client is still there is found out when something is written to it.
        Ok(work.await)
    }

    async fn exchange(
        &mut self,
        permit: &Permit,
        mut upstream: Upstream,
    ) -> Result<Answered, Failed> {
        let exchanged = self.over_http1(permit, &mut upstream.stream).await;
        let ((response, persists), is_sent) = match exchanged {
            // The server has closed it before the request came.
            Err(Failed::Unanswered) if upstream.is_reused && self.onward.asked.may_repeat() => {
                return Err(Failed::Untouched);
            }
            exchanged => exchanged?,
        };
        Ok(Answered {
            persists,
            is_sent,
            behind: Behind::of(upstream, &response, is_sent),
        })
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
    ) -> Result<((Response, bool), bool), Failed> {
        let (onward, config) = (self.onward, self.config);
        let silence = onward.asked.routed.timeouts(config).silence;
        let sent = write(&server.socket, &self.head, b"", silence).await;
        sent.map_err(|_closed| Failed::Unanswered)?;
        if onward.asked.has_body() {
            return Box::pin(self.with_body(permit, server)).await;
        }
        let (from, to) = (server.incoming(), &self.client.socket);
        Ok((answer(from, to, onward, config, permit).await?, true))
    }

    async fn with_body(
        &mut self,
        permit: &Permit,
        server: &mut Stream,
    ) -> Result<((Response, bool), bool), Failed> {
        let (onward, config) = (self.onward, self.config);
        let asked = &onward.asked;
        let from_client = Incoming {
            socket: &self.client.socket,
            buffer: &mut self.client.buffer,
            alarm: &self.client.alarm,
        };
        let from_server = Incoming {
            socket: &server.socket,
            buffer: &mut server.buffer,
            alarm: &server.alarm,
        };
        let silence = asked.routed.timeouts(config).silence;
        let most = asked.routed.body_bytes(config);
        let to = &server.socket;
        let body = pin!(async {
            let (kind, count) = (asked.body, asked.watch.received());
            let framed = Framed::Same;
            let sent = pump::body_up_to(from_client, to, kind, framed, silence, most, count);
            match sent.await {
                Ok(()) => Ok(true),
                // It may have answered without reading all of it.
                Err(Broken::Receiver(_)) => Ok(false),
                Err(Broken::Refused(refusal)) => Err(NoAnswer::Refused(refusal)),
                Err(Broken::Sender(error)) => {
                    asked.watch.waits_for(Phase::Data);
                    let is_late = error.kind() == io::ErrorKind::TimedOut;
                    Err(NoAnswer::Gone(Cause::client(is_late)))
                }
            }
        });
        let to = &self.client.socket;
        let answer = pin!(answer(from_server, to, onward, config, permit));
        both(asked, body, answer).await
    }
}

/// Because of whom an answer does not arrive whole.
fn cause_of(broken: &Broken) -> Cause {
    match broken {
        Broken::Receiver(error) => Cause::client(error.kind() == io::ErrorKind::TimedOut),
        Broken::Refused(_) => Cause::Server,
        Broken::Sender(error) => Cause::server(error.kind() == io::ErrorKind::TimedOut),
    }
}

/// Gives a server's answer to the client, the interim ones before it too; with it, whether the client's connection goes on.
async fn answer(
    mut from: Incoming<'_>,
    to: &Socket,
    onward: &Onward,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<(Response, bool), Failed> {
    let asked = &onward.asked;
    let silence = asked.routed.timeouts(config).silence;
    loop {
        let length = answer_head(&mut from, asked, config, silence).await?;
        let mut head = Scratch::take();
        let (response, framed, persists) =
            rewrite(&from.filled()[..length], onward, config, &mut head)
                .map_err(NoAnswer::Malformed)?;
        from.consume(length);
        if response.is_interim {
            onward.interim(to, &head, silence).await?;
            continue;
        }
        asked.answered(permit, response.status, config)?;
        mark(&mut head, permit);
        onward.has_answer.set(true);
        // The first bytes of the body in the same write.
        let inline = match (response.body, framed) {
            (Body::Length(length), Framed::Same) => {
                let filled = from.filled().len();
                usize::try_from(length).map_or(filled, |length| length.min(filled))
            }
            _ => 0,
        };
        // In one part, if there is little of it: the kernel takes that with less ado than it costs to copy.
        let copied = if inline <= COPIED_BYTES { inline } else { 0 };
        head.extend_from_slice(&from.filled()[..copied]);
        let is_whole = response.body == Body::Length(inline as u64);
        let sent = write(to, &head, &from.filled()[copied..inline], silence);
        // Behind a switch the connection goes on, with another protocol.
        let sent = sent.last(is_whole && !persists && !response.switches).await;
        if let Err(error) = sent {
            if is_whole {
                asked.watch.waits_for(Phase::Last);
            }
            return Err(NoAnswer::of_client(&error).into());
        }
        from.consume(inline);
        asked.watch.sends(head.len() + inline - copied);
        drop(head);
        let body = match response.body {
            Body::Length(length) => Body::Length(length - inline as u64),
            body => body,
        };
        if body != Body::Length(0) {
            // Its head is sent: all that tells the client of a failure is that the connection closes too early.
            let count = asked.watch.sent();
            let whole = Box::pin(pump::body(from, to, body, framed, silence, count)).await;
            whole.map_err(|broken| NoAnswer::Gone(cause_of(&broken)))?;
        }
        return Ok((response, persists));
    }
}
