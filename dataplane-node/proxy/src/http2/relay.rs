//! What a server of HTTP/2 is asked, and what it answers: for clients of both versions.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{Request, Response};

use super::{answer::Sending, pool::Place, request};
use crate::{
    alarm::{Alarm, Late},
    attempts::{Asked, Failed, NoAnswer},
    config::ProxyConfig,
    observe::Cause,
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
    request.ok_or(NoAnswer::Told(400, Cause::Proxy))
}

impl Place {
    /// Sends a request's head: from where its answer comes, and where its body goes.
    pub(crate) fn ask(
        &mut self,
        request: Request<()>,
        asked: &Asked,
        silence: Duration,
    ) -> Result<(ResponseFuture, Sending), Failed> {
        let sent = self.send.send_request(request, !asked.has_more);
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

/// A server's own reason is the client's to know, as far as it is about the request and not about a connection.
pub(super) fn broken_off(error: &h2::Error) -> NoAnswer {
    let reason = match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => reason,
        _ => Reason::INTERNAL_ERROR,
    };
    NoAnswer::Broken(reason, Cause::Server)
}
