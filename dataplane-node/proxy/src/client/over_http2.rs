//! A request on its way to a server of HTTP/2, and its answer.

use std::{
    cell::Cell,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{Request, StatusCode, header};

use super::{
    Answered, Attempt, Onward,
    answer::{mark, rewrite},
};
use crate::{
    alarm::{Alarm, Late},
    attempts::{Asking, Behind, Failed, NoAnswer, both},
    config::ProxyConfig,
    http1::{Body, Refusal, Response, reason},
    http2::{
        Place, Upgrade,
        body::{self, NotRead},
        relay::{self, Head},
    },
    observe::{Cause, Phase, Renewal},
    pump::Framed,
    socket::Socket,
    stream::{Incoming, write},
    upstream::Permit,
};

/// An attempt with the request as it goes to the server.
pub(super) struct OverHttp2<'a, 'b> {
    pub(super) attempt: &'a mut Attempt<'b>,
    pub(super) request: Request<()>,
    upgrade: Upgrade,
}

impl<'a, 'b> OverHttp2<'a, 'b> {
    pub(super) fn of(attempt: &'a mut Attempt<'b>) -> Result<Self, NoAnswer> {
        let onward = attempt.onward;
        let config = attempt.config;
        let upgrade = if onward.upgrades {
            Upgrade::of(&attempt.head, &config.limits).map_err(NoAnswer::Refused)?
        } else {
            Upgrade::None
        };
        let is_tunnel = matches!(upgrade, Upgrade::WebSocket(_));
        let accepts_trailers = onward.accepts_trailers && !is_tunnel;
        let request = relay::request(&attempt.head, accepts_trailers, config, is_tunnel)?;
        Ok(Self {
            attempt,
            request,
            upgrade,
        })
    }
}

impl Asking<Place> for OverHttp2<'_, '_> {
    type Answered = Answered;

    async fn or_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Result<F::Output, NoAnswer> {
        Ok(work.await)
    }

    async fn exchange(&mut self, permit: &Permit, place: Place) -> Result<Answered, Failed> {
        let upgrade = mem::replace(&mut self.upgrade, Upgrade::None);
        let Attempt { onward, config, .. } = &*self.attempt;
        let limit = onward.asked.routed.timeouts(config).connect;
        let exchanged = match &upgrade {
            Upgrade::None => return self.exchanged(permit, place).await,
            Upgrade::WebSocket(accept) => match place.takes_tunnels(limit).await {
                Some(true) => self.tunnelled(permit, place, accept).await,
                Some(false) => relay::over_http1_instead(self.attempt, permit, limit).await,
                None => Err(Failed::Unanswered),
            },
            Upgrade::Other => relay::over_http1_instead(self.attempt, permit, limit).await,
        };
        // Another server may be asked.
        self.upgrade = upgrade;
        exchanged
    }

    fn renew(&mut self, renewal: &Renewal) {
        renewal.patch(&mut self.attempt.head);
        relay::renew(&mut self.request, renewal);
    }
}

impl OverHttp2<'_, '_> {
    /// The body there and the answer back at the same time, as neither waits for the other.
    async fn exchanged(&mut self, permit: &Permit, mut place: Place) -> Result<Answered, Failed> {
        let Attempt {
            client,
            head: _,
            onward,
            config,
        } = &mut *self.attempt;
        let asked = &onward.asked;
        let silence = asked.routed.timeouts(config).silence;
        let (response, mut to) = place.ask(self.request.clone(), asked, silence)?;
        let mut from = Incoming {
            socket: &client.socket,
            buffer: &mut client.buffer,
            alarm: &client.alarm,
        };
        let mut answer = pin!(answer(response, &client.socket, onward, config, permit));
        let (persists, is_sent) = if asked.has_more {
            let most = asked.routed.body_bytes(config);
            let body = pin!(async {
                let read = body::read(&mut from, &mut to, asked.body, silence, most).await;
                asked.watch.receives(to.sent());
                let why = match read {
                    Ok(()) => return Ok(true),
                    // It may have answered without reading all of it.
                    Err(NotRead::Receiver(_)) => return Ok(false),
                    Err(NotRead::Sender { is_late }) => {
                        asked.watch.waits_for(Phase::Data);
                        NoAnswer::Gone(Cause::client(is_late))
                    }
                    Err(NotRead::Refused(refusal)) => NoAnswer::Refused(refusal),
                };
                // The server is told that the rest does not come.
                to.reset(Reason::CANCEL);
                Err(why)
            });
            both(asked, body, answer).await?
        } else {
            (answer.as_mut().await?, true)
        };
        Ok(Answered {
            persists,
            is_sent,
            behind: Behind::Nothing,
        })
    }
}

/// Gives a server's answer to the client, the interim ones before it too; whether the client's connection goes on.
async fn answer(
    mut response: ResponseFuture,
    to: &Socket,
    onward: &Onward,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<bool, Failed> {
    let alarm = Alarm::new();
    let answer = final_head(&mut response, &alarm, to, onward, config).await?;
    give(answer, &alarm, to, onward, config, permit).await
}

/// Gives the interim answers before it to the client.
pub(super) async fn final_head(
    response: &mut ResponseFuture,
    alarm: &Alarm,
    to: &Socket,
    onward: &Onward,
    config: &ProxyConfig,
) -> Result<http::Response<RecvStream>, Failed> {
    let asked = &onward.asked;
    let silence = asked.routed.timeouts(config).silence;
    loop {
        match relay::answer_head(response, alarm, asked, silence).await? {
            Head::Interim(interim) => {
                let mut head = Vec::with_capacity(256);
                written(&mut head, &interim, true, onward, config)?;
                onward.interim(to, &head, silence).await?;
            }
            Head::Final(response) => return Ok(response),
        }
    }
}

/// Gives an answer that counts to the client; whether the client's connection goes on.
pub(super) async fn give(
    answer: http::Response<RecvStream>,
    alarm: &Alarm,
    to: &Socket,
    onward: &Onward,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<bool, Failed> {
    let asked = &onward.asked;
    let silence = asked.routed.timeouts(config).silence;
    let mut head = Vec::with_capacity(512);
    asked.answered(permit, answer.status().as_u16(), config)?;
    let is_whole = answer.body().is_end_stream();
    let (response, framed, persists) = written(&mut head, &answer, is_whole, onward, config)?;
    mark(&mut head, permit);
    let mut back = Back {
        from: answer.into_body(),
        to,
        has_answer: &onward.has_answer,
        waiting: head,
        framing: Framing::of(response.body, framed),
        count: asked.watch.sent(),
    };
    match back.send(alarm, silence).await {
        Ok(()) => Ok(persists),
        // The client has nothing of it, so it may be told.
        Err(NoAnswer::Broken(_, cause)) if !onward.has_answer.get() => {
            let status = if cause == Cause::ServerTimeout {
                504
            } else {
                502
            };
            Err(NoAnswer::Told(status, cause).into())
        }
        Err(why) => Err(why.into()),
    }
}

/// Writes an answer's head as one of HTTP/1.1, by way of one that a server of HTTP/1.1 could have sent: what is refused there is refused here.
fn written<B>(
    out: &mut Vec<u8>,
    answer: &http::Response<B>,
    is_whole: bool,
    onward: &Onward,
    config: &ProxyConfig,
) -> Result<(Response, Framed, bool), Failed> {
    let raw = raw_head(answer, onward.asked.method, is_whole);
    let written = rewrite(&raw, onward, config, out).map_err(NoAnswer::Malformed)?;
    // There is none in HTTP/2, RFC 9113 section 8.6.
    if written.0.switches {
        return Err(NoAnswer::Malformed(Refusal::StartLine).into());
    }
    Ok(written)
}

/// A head of HTTP/1.1 that says the same, as an answer to a request with this method.
fn raw_head<B>(answer: &http::Response<B>, method: &str, is_whole: bool) -> Vec<u8> {
    let status = answer.status();
    let mut raw = Vec::with_capacity(512);
    let reason = reason(status.as_u16());
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        raw.extend_from_slice(part.as_bytes());
    }
    for (name, value) in answer.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            raw.extend_from_slice(part);
        }
    }
    // What these would say of a length is that of another answer, or nothing.
    let has_none = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || method == "HEAD";
    if !has_none && !answer.headers().contains_key(header::CONTENT_LENGTH) {
        raw.extend_from_slice(if is_whole {
            b"content-length: 0\r\n"
        } else {
            b"transfer-encoding: chunked\r\n"
        });
    }
    raw.extend_from_slice(b"\r\n");
    raw
}

/// How an answer's body goes to the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunks,
    /// Until the connection closes.
    Bare,
    /// So many bytes are to come.
    Length(u64),
}

/// An answer's body on its way to the client.
struct Back<'a> {
    from: RecvStream,
    to: &'a Socket,
    /// Something of it is on its way to the client.
    has_answer: &'a Cell<bool>,
    /// What is to be written before the next of it: the head, or nothing.
    waiting: Vec<u8>,
    framing: Framing,
    /// Bytes to the client.
    count: &'a Cell<u64>,
}

impl Framing {
    const fn of(body: Body, framed: Framed) -> Self {
        match (body, framed) {
            (Body::Length(length), _) => Self::Length(length),
            (Body::Chunked | Body::UntilClose, Framed::Bare) => Self::Bare,
            (Body::Chunked | Body::UntilClose, Framed::Same | Framed::Chunks) => Self::Chunks,
        }
    }
}

impl Back<'_> {
    async fn send(&mut self, alarm: &Alarm, silence: Duration) -> Result<(), NoAnswer> {
        const BROKEN: NoAnswer = NoAnswer::Broken(Reason::INTERNAL_ERROR, Cause::Server);
        const LATE: NoAnswer = NoAnswer::Broken(Reason::INTERNAL_ERROR, Cause::ServerTimeout);
        let from = &mut self.from;
        // The first bytes of the body in the same write, if they are there already.
        let mut next = match poll_fn(|cx| Poll::Ready(from.poll_data(cx))).await {
            Poll::Ready(data) => data,
            Poll::Pending => Some(Ok(Bytes::new())),
        };
        while let Some(data) = next {
            let data = data.map_err(|_broken_off| BROKEN)?;
            self.data(&data, silence).await?;
            // Only now may as much come again.
            let from = &mut self.from;
            let released = from.flow_control().release_capacity(data.len());
            released.map_err(|_closed| BROKEN)?;
            let more = alarm.within(silence, |cx| from.poll_data(cx)).await;
            next = more.map_err(|Late| LATE)?;
        }
        let from = &mut self.from;
        let trailers = alarm.within(silence, |cx| from.poll_trailers(cx)).await;
        let trailers = trailers.map_err(|Late| LATE)?;
        let trailers = trailers.map_err(|_broken_off| BROKEN)?;
        match self.framing {
            Framing::Chunks => {
                let last = body::last_chunk(trailers.as_ref()).ok_or(BROKEN)?;
                self.waiting.extend_from_slice(&last);
            }
            Framing::Bare | Framing::Length(0) => {}
            Framing::Length(_) => return Err(BROKEN),
        }
        self.has_answer.set(true);
        let sent = write(self.to, &self.waiting, b"", silence).await;
        sent.map_err(|error| NoAnswer::of_client(&error))?;
        self.count.set(self.count.get() + self.waiting.len() as u64);
        Ok(())
    }

    /// Writes a part, behind what waits.
    async fn data(&mut self, data: &[u8], silence: Duration) -> Result<(), NoAnswer> {
        let behind = match &mut self.framing {
            Framing::Chunks if data.is_empty() => data,
            Framing::Chunks => {
                body::chunk(&mut self.waiting, data);
                b""
            }
            Framing::Bare => data,
            Framing::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                // There is more than there was to be.
                *left = rest.ok_or(NoAnswer::Broken(Reason::INTERNAL_ERROR, Cause::Server))?;
                data
            }
        };
        self.has_answer.set(true);
        let sent = write(self.to, &self.waiting, behind, silence).await;
        sent.map_err(|error| NoAnswer::of_client(&error))?;
        let moved = self.waiting.len() + behind.len();
        self.count.set(self.count.get() + moved as u64);
        self.waiting.clear();
        Ok(())
    }
}
