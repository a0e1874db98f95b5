//! What a server of HTTP/2 is asked, and what it answers: for clients of both versions.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{HeaderValue, Method, Request, Response};

use super::{answer::Sending, pool::Place, request};
use crate::{
    alarm::{Alarm, Late},
    attempts::{Asked, Asking, Failed, NoAnswer},
    config::ProxyConfig,
    http1::Refusal,
    observe::{Cause, Renewal},
    upstream::{NoUpstream, Permit, Upstream},
};

/// An answer's head.
pub(crate) enum Head {
    Interim(Response<()>),
    Final(Response<RecvStream>),
}

/// A head of HTTP/1.1, as it would go on to a server that speaks that, as one of HTTP/2.
pub(crate) fn request(
    head: &[u8],
    accepts_trailers: bool,
    config: &ProxyConfig,
    is_tunnel: bool,
) -> Result<Request<()>, NoAnswer> {
    let scheme = if config.server_tls.is_some() {
        "https"
    } else {
        "http"
    };
    // Its fields are parts of this.
    let head = Bytes::copy_from_slice(head);
    // One of HTTP/1.0 may name no host.
    let request = request::convert(&head, &config.limits, scheme, accepts_trailers);
    let request = if is_tunnel {
        request.map(request::into_tunnel)
    } else {
        request
    };
    request.ok_or(NoAnswer::Told(400, Cause::Proxy))
}

/// Tells the next server something else of the trace than the last one.
pub(crate) fn renew(request: &mut Request<()>, renewal: &Renewal) {
    if let Ok(value) = HeaderValue::from_bytes(&renewal.now) {
        request.headers_mut().insert("traceparent", value);
    }
}

impl Place {
    /// Sends a request's head: from where its answer comes, and where its body goes.
    pub(crate) fn ask(
        &mut self,
        request: Request<()>,
        asked: &Asked,
        silence: Duration,
    ) -> Result<(ResponseFuture, Sending), Failed> {
        let is_whole = !asked.has_more && request.method() != Method::CONNECT;
        let sent = self.send.send_request(request, is_whole);
        let (response, to) = sent.map_err(|error| not_answered(&error, asked))?;
        Ok((response, Sending::new(to, silence)))
    }
}

/// Waits for a head of an answer.
pub(crate) async fn answer_head(
    response: &mut ResponseFuture,
    alarm: &Alarm,
    asked: &Asked,
    silence: Duration,
) -> Result<Head, Failed> {
    loop {
        match alarm.within(silence, |cx| poll_head(response, cx)).await {
            Ok(Ok(head)) => return Ok(head),
            Ok(Err(error)) => return Err(not_answered(&error, asked)),
            // The server waits for the rest of the request, as long as that comes.
            Err(Late) if asked.is_sending.get() => {}
            Err(Late) => return Err(NoAnswer::Told(504, Cause::ServerTimeout).into()),
        }
    }
}

fn poll_head(response: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Result<Head, h2::Error>> {
    if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
        return Poll::Ready(interim.map(Head::Interim));
    }
    Pin::new(response).poll(cx).map_ok(Head::Final)
}

fn not_answered(error: &h2::Error, asked: &Asked) -> Failed {
    let is_refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let is_ending = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    if (is_refused || is_ending) && !asked.has_more {
        Failed::Untouched
    } else {
        Failed::Unanswered
    }
}

pub(super) fn broken_off(error: &h2::Error) -> NoAnswer {
    NoAnswer::Broken(reason_of(error), Cause::Server)
}

/// The other side's own reason is for who hears of it to know, as far as it is about the stream and not about a connection.
pub(super) fn reason_of(error: &h2::Error) -> Reason {
    match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => reason,
        _ => Reason::INTERNAL_ERROR,
    }
}

/// Sends a request that its server does not take over HTTP/2 over a connection of HTTP/1.1 to the same server, as browsers do. A server
/// that speaks none is not to blame for that.
pub(crate) async fn over_http1_instead<A: Asking<Upstream>>(
    asking: &mut A,
    permit: &Permit,
    limit: Duration,
) -> Result<A::Answered, Failed> {
    const NO_UPGRADE: NoAnswer = NoAnswer::Refused(Refusal::NoUpgrade);
    let connecting = pin!(permit.connect_http1(limit));
    let upstream = match asking.or_gone(connecting).await? {
        Ok(upstream) => upstream,
        Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
            return Err(NoAnswer::from(NoUpstream::from(error)).into());
        }
        Err(_no_http1) => return Err(NO_UPGRADE.into()),
    };
    match asking.exchange(permit, upstream).await {
        Err(Failed::Unanswered | Failed::NoAnswer(NoAnswer::Malformed(_))) => {
            Err(NO_UPGRADE.into())
        }
        exchanged => exchanged,
    }
}
