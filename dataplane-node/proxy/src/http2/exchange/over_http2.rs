//! A request on its way to a server of HTTP/2, and its answer.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{Request, Response};

use super::Attempt;
use crate::{
    alarm::{Alarm, Late},
    attempts::{Asked, Asking, Behind, Failed, NoAnswer, both},
    config::ProxyConfig,
    http1::Refusal,
    http2::{
        answer::{Answer, Sending},
        pool::Place,
        relay::{self, Head, answer_head, broken_off, over_http1_instead},
        response,
    },
    observe::{Cause, Renewal},
    upstream::Permit,
};

/// An attempt with the request as it goes to the server.
pub(super) struct OverHttp2<'a, 'b> {
    pub(super) attempt: &'a mut Attempt<'b>,
    pub(super) request: Request<()>,
}

impl Asking<Place> for OverHttp2<'_, '_> {
    type Answered = Behind;

    async fn or_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Result<F::Output, NoAnswer> {
        self.attempt.or_gone(work).await
    }

    async fn exchange(&mut self, permit: &Permit, place: Place) -> Result<Behind, Failed> {
        let Attempt {
            onward, service, ..
        } = &*self.attempt;
        if onward.tunnel.is_none() {
            return self.exchanged(permit, place).await;
        }
        let limit = onward.asked.routed.timeouts(&service.config).connect;
        let takes = {
            let takes = pin!(place.takes_tunnels(limit));
            self.attempt.or_gone(takes).await?
        };
        match takes {
            Some(true) => self.tunnelled(permit, place).await,
            Some(false) => over_http1_instead(self.attempt, permit, limit).await,
            None => Err(Failed::Unanswered),
        }
    }

    fn renew(&mut self, renewal: &Renewal) {
        renewal.patch(&mut self.attempt.head);
        relay::renew(&mut self.request, renewal);
    }
}

impl OverHttp2<'_, '_> {
    async fn exchanged(&mut self, permit: &Permit, mut place: Place) -> Result<Behind, Failed> {
        let Attempt {
            head: _,
            onward,
            body,
            answer,
            service,
        } = &mut *self.attempt;
        let (asked, config) = (&onward.asked, &service.config);
        let silence = asked.routed.timeouts(config).silence;
        let (response, to) = place.ask(self.request.clone(), asked, silence)?;
        let mut answering = pin!(answered(response, answer, asked, config, permit));
        if asked.has_more {
            let most = asked.routed.body_bytes(config);
            let count = asked.watch.received();
            let body = pin!(send(body, to, (silence, most), count));
            both(asked, body, answering).await?;
        } else {
            answering.as_mut().await?;
        }
        Ok(Behind::Nothing)
    }
}

/// Sends a body on; whether all of it, as the server need not want more of it, and may answer still.
async fn send(
    from: &mut RecvStream,
    mut to: Sending,
    (silence, mut most): (Duration, u64),
    count: &Cell<u64>,
) -> Result<bool, NoAnswer> {
    const GONE: NoAnswer = NoAnswer::Gone(Cause::Client);
    let alarm = Alarm::new();
    loop {
        let next = alarm.within(silence, |cx| from.poll_data(cx)).await;
        let data = match next {
            Ok(Some(Ok(data))) => data,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(broken(&mut to, GONE)),
            Err(Late) => return Err(broken(&mut to, NoAnswer::Gone(Cause::ClientTimeout))),
        };
        let length = data.len();
        let Some(left) = most.checked_sub(length as u64) else {
            return Err(broken(&mut to, NoAnswer::Refused(Refusal::BodyTooLong)));
        };
        most = left;
        count.set(count.get() + length as u64);
        if to.data(data, false).await.is_err() {
            return Ok(false);
        }
        // Only now may as much come again.
        if from.flow_control().release_capacity(length).is_err() {
            return Err(broken(&mut to, GONE));
        }
    }
    let trailers = alarm.within(silence, |cx| from.poll_trailers(cx)).await;
    let Ok(Ok(trailers)) = trailers else {
        return Err(broken(&mut to, GONE));
    };
    Ok(to.end(trailers).is_ok())
}

/// The server is told that the rest does not come.
fn broken(to: &mut Sending, why: NoAnswer) -> NoAnswer {
    to.reset(Reason::CANCEL);
    why
}

/// Gives a server's answer to the client, the interim ones before it too.
async fn answered(
    mut response: ResponseFuture,
    answer: &mut Answer,
    asked: &Asked,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<(), Failed> {
    let alarm = Alarm::new();
    let response = final_head(&mut response, &alarm, answer, asked, config).await?;
    give(response, &alarm, answer, asked, config, permit).await
}

/// Gives the interim answers before it to the client.
pub(super) async fn final_head(
    response: &mut ResponseFuture,
    alarm: &Alarm,
    answer: &mut Answer,
    asked: &Asked,
    config: &ProxyConfig,
) -> Result<Response<RecvStream>, Failed> {
    let silence = asked.routed.timeouts(config).silence;
    loop {
        let head = pin!(answer_head(response, alarm, asked, silence));
        match answer.or_gone(head).await?? {
            Head::Interim(head) => answer.interim(response::relayed(head).0)?,
            Head::Final(response) => return Ok(response),
        }
    }
}

/// Gives an answer that counts to the client.
pub(super) async fn give(
    response: Response<RecvStream>,
    alarm: &Alarm,
    answer: &mut Answer,
    asked: &Asked,
    config: &ProxyConfig,
    permit: &Permit,
) -> Result<(), Failed> {
    let silence = asked.routed.timeouts(config).silence;
    asked.answered(permit, response.status().as_u16(), config)?;
    let (mut head, mut body) = response::relayed(response);
    response::mark(&mut head, permit);
    let is_whole = body.is_end_stream();
    let to = answer.head(head, is_whole)?;
    if is_whole {
        return Ok(());
    }
    Ok(relay(&mut body, to, alarm, silence).await?)
}

/// Gives an answer's body to the client.
async fn relay(
    body: &mut RecvStream,
    to: &mut Sending,
    alarm: &Alarm,
    silence: Duration,
) -> Result<(), NoAnswer> {
    const LATE: NoAnswer = NoAnswer::Broken(Reason::INTERNAL_ERROR, Cause::ServerTimeout);
    loop {
        let next = pin!(alarm.within(silence, |cx| body.poll_data(cx)));
        let data: Bytes = match to.or_gone(next).await? {
            Ok(Some(data)) => data.map_err(|error| broken_off(&error))?,
            Ok(None) => break,
            Err(Late) => return Err(LATE),
        };
        let length = data.len();
        to.data(data, false).await?;
        let released = body.flow_control().release_capacity(length);
        released.map_err(|error| broken_off(&error))?;
    }
    let trailers = pin!(alarm.within(silence, |cx| body.poll_trailers(cx)));
    let trailers = to.or_gone(trailers).await?.map_err(|Late| LATE)?;
    let trailers = trailers.map_err(|error| broken_off(&error))?;
    Ok(to.end(trailers)?)
}
