//! A request that goes on over HTTP/2, with its answer.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, Response};

use super::{
    answer::{Answer, Gone, room},
    response,
};
use crate::{
    alarm::{Alarm, Late},
    upstream::Permit,
};

/// Why an answer does not come, or not whole.
#[derive(Debug)]
pub(super) enum NotRelayed {
    /// The server has not looked at the request: it may be sent again.
    Untouched,
    /// It does not answer.
    Unanswered,
    /// It does not answer in time.
    Late,
    /// Its answer is not what the client is to have.
    Again,
    /// The request's body is longer than its route allows.
    TooLong,
    /// It breaks its answer off, for this reason.
    Broken(Reason),
    Client(Gone),
}

impl From<Gone> for NotRelayed {
    fn from(gone: Gone) -> Self {
        Self::Client(gone)
    }
}

/// How a request is relayed.
pub(super) struct Relaying<'a> {
    pub(super) silence: Duration,
    /// The most bytes of its body.
    pub(super) body_bytes: u64,
    /// Whether it is sent again after an answer with a status.
    pub(super) again: &'a dyn Fn(u16) -> bool,
    pub(super) permit: &'a Permit,
}

/// Sends a request, and its body at the same time as the answer comes, as neither waits for the other.
pub(super) async fn relay(
    mut server: SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&mut RecvStream>,
    answer: &mut Answer,
    relaying: Relaying<'_>,
) -> Result<(), NotRelayed> {
    let Relaying {
        silence,
        body_bytes,
        again,
        permit,
    } = relaying;
    let is_timed = body.is_none();
    let sent = server.send_request(request, body.is_none());
    let (response, to) = sent.map_err(|error| not_answered(&error))?;
    drop(server);
    let mut sending = pin!(async {
        match body {
            Some(body) => send(body, to, silence, body_bytes).await,
            None => Sent::Whole,
        }
    });
    let mut answering = pin!(answered(
        response,
        answer,
        silence,
        again,
        (permit, is_timed)
    ));
    let mut is_sending = true;
    poll_fn(|cx| {
        if let Poll::Ready(done) = answering.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        if is_sending && let Poll::Ready(sent) = sending.as_mut().poll(cx) {
            is_sending = false;
            match sent {
                Sent::Broken => return Poll::Ready(Err(Gone.into())),
                Sent::TooLong => return Poll::Ready(Err(NotRelayed::TooLong)),
                Sent::Whole | Sent::Unwanted => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// What has become of a request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Whole,
    /// The server does not want more of it. It may answer still.
    Unwanted,
    /// The client breaks it off, or says nothing for too long.
    Broken,
    TooLong,
}

async fn send(
    from: &mut RecvStream,
    mut to: SendStream<Bytes>,
    silence: Duration,
    mut most: u64,
) -> Sent {
    let alarm = Alarm::new();
    loop {
        let next = alarm.within(silence, |cx| from.poll_data(cx)).await;
        let mut data = match next {
            Ok(Some(Ok(data))) => data,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(Late) => return broken(&mut to),
        };
        let length = data.len();
        let Some(left) = most.checked_sub(length as u64) else {
            to.send_reset(Reason::CANCEL);
            return Sent::TooLong;
        };
        most = left;
        while !data.is_empty() {
            let Ok(room) = room(&mut to, data.len(), &alarm, silence).await else {
                return Sent::Unwanted;
            };
            let part = data.split_to(room.min(data.len()));
            if to.send_data(part, false).is_err() {
                return Sent::Unwanted;
            }
        }
        // Only now may as much come again.
        if from.flow_control().release_capacity(length).is_err() {
            return broken(&mut to);
        }
    }
    let trailers = alarm.within(silence, |cx| from.poll_trailers(cx)).await;
    let ended = match trailers {
        Ok(Ok(Some(trailers))) => to.send_trailers(trailers),
        Ok(Ok(None)) => to.send_data(Bytes::new(), true),
        Ok(Err(_)) | Err(Late) => return broken(&mut to),
    };
    if ended.is_ok() {
        Sent::Whole
    } else {
        Sent::Unwanted
    }
}

fn broken(to: &mut SendStream<Bytes>) -> Sent {
    to.send_reset(Reason::CANCEL);
    Sent::Broken
}

/// Gives a server's answer to the client, the interim ones before it too.
async fn answered(
    mut response: ResponseFuture,
    to: &mut Answer,
    silence: Duration,
    again: &dyn Fn(u16) -> bool,
    (permit, is_timed): (&Permit, bool),
) -> Result<(), NotRelayed> {
    let alarm = Alarm::new();
    let response = loop {
        let head = pin!(alarm.within(silence, |cx| poll_head(&mut response, cx)));
        match to.or_gone(head).await? {
            Ok(Ok(Head::Interim(head))) => to.interim(response::relayed(head).0)?,
            Ok(Ok(Head::Final(response))) => break response,
            Ok(Err(error)) => return Err(not_answered(&error)),
            Err(Late) => return Err(NotRelayed::Late),
        }
    };
    permit.answered(response.status().as_u16(), is_timed);
    if again(response.status().as_u16()) {
        return Err(NotRelayed::Again);
    }
    let (mut head, mut body) = response::relayed(response);
    response::mark(&mut head, permit);
    let is_whole = body.is_end_stream();
    to.head(head, is_whole)?;
    if is_whole {
        return Ok(());
    }
    loop {
        let next = pin!(alarm.within(silence, |cx| body.poll_data(cx)));
        let data = match to.or_gone(next).await? {
            Ok(Some(Ok(data))) => data,
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(broken_off(&error)),
            Err(Late) => return Err(NotRelayed::Broken(Reason::INTERNAL_ERROR)),
        };
        let length = data.len();
        to.data(data, false).await?;
        let released = body.flow_control().release_capacity(length);
        released.map_err(|error| broken_off(&error))?;
    }
    let trailers = pin!(alarm.within(silence, |cx| body.poll_trailers(cx)));
    match to.or_gone(trailers).await? {
        Ok(Ok(trailers)) => Ok(to.end(trailers)?),
        Ok(Err(error)) => Err(broken_off(&error)),
        Err(Late) => Err(NotRelayed::Broken(Reason::INTERNAL_ERROR)),
    }
}

enum Head {
    Interim(Response<()>),
    Final(Response<RecvStream>),
}

fn poll_head(response: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Result<Head, h2::Error>> {
    if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
        return Poll::Ready(interim.map(Head::Interim));
    }
    Pin::new(response).poll(cx).map_ok(Head::Final)
}

fn not_answered(error: &h2::Error) -> NotRelayed {
    let is_refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let is_ending = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    if is_refused || is_ending {
        NotRelayed::Untouched
    } else {
        NotRelayed::Unanswered
    }
}

/// A server's own reason is the client's to know, as far as it is about the request and not about a connection.
fn broken_off(error: &h2::Error) -> NotRelayed {
    NotRelayed::Broken(match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => reason,
        _ => Reason::INTERNAL_ERROR,
    })
}
