use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, Response};

use super::response;
use crate::{
    alarm::{Alarm, Late},
    http1::FieldEdits,
};

/// The way back to a client: a stream's sending half.
pub(super) struct Answer {
    respond: SendResponse<Bytes>,
    /// Behind its head.
    stream: Option<SendStream<Bytes>>,
    alarm: Alarm,
    silence: Duration,
    /// Changes to its head.
    edits: FieldEdits,
}

/// Nobody waits for the answer any more, or nobody reads it.
#[derive(Debug)]
pub(super) struct Gone;

impl Answer {
    /// `silence` is how long a client may not read.
    pub(super) fn new(respond: SendResponse<Bytes>, silence: Duration) -> Self {
        Self {
            respond,
            stream: None,
            alarm: Alarm::new(),
            silence,
            edits: FieldEdits::default(),
        }
    }

    /// Changes its head when it comes.
    pub(super) fn edit(&mut self, edits: &FieldEdits) {
        self.edits.clone_from(edits);
    }

    /// An answer with its body, not to be changed any more.
    pub(super) async fn give(&mut self, head: Response<()>, body: Bytes) -> Result<(), Gone> {
        self.edits = FieldEdits::default();
        self.head(head, body.is_empty())?;
        if body.is_empty() {
            return Ok(());
        }
        self.data(body, true).await
    }

    /// Whether nothing of it has gone but interim ones.
    pub(super) const fn is_open(&self) -> bool {
        self.stream.is_none()
    }

    /// Does something else for as long as somebody waits for the answer. What is done is pinned where it is: an `async` function would
    /// hold it twice.
    pub(super) fn or_gone<'a, F: Future>(
        &'a mut self,
        mut work: Pin<&'a mut F>,
    ) -> impl Future<Output = Result<F::Output, Gone>> + use<'a, F> {
        poll_fn(move |cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let reset = match &mut self.stream {
                Some(stream) => stream.poll_reset(cx),
                None => self.respond.poll_reset(cx),
            };
            reset.map(|_reason| Err(Gone))
        })
    }

    /// An answer before the one that counts, RFC 9110 section 15.2.
    pub(super) fn interim(&mut self, head: Response<()>) -> Result<(), Gone> {
        self.respond
            .send_informational(head)
            .map_err(|_closed| Gone)
    }

    pub(super) fn head(&mut self, mut head: Response<()>, ends: bool) -> Result<(), Gone> {
        response::edit(head.headers_mut(), &self.edits);
        let stream = self.respond.send_response(head, ends);
        self.stream = Some(stream.map_err(|_closed| Gone)?);
        Ok(())
    }

    /// Sends a part of the body, as fast as the client takes it.
    pub(super) async fn data(&mut self, mut data: Bytes, ends: bool) -> Result<(), Gone> {
        let stream = self.stream.as_mut().ok_or(Gone)?;
        while !data.is_empty() {
            let room = room(stream, data.len(), &self.alarm, self.silence).await?;
            let part = data.split_to(room.min(data.len()));
            let is_last = ends && data.is_empty();
            stream.send_data(part, is_last).map_err(|_closed| Gone)?;
        }
        Ok(())
    }

    /// Ends a body whose end was not known when its last part was sent.
    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Gone> {
        let stream = self.stream.as_mut().ok_or(Gone)?;
        let sent = match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_closed| Gone)
    }

    /// Answers for the server; one that has begun to answer is broken off.
    pub(super) fn tell(&mut self, status: u16) {
        if self.stream.is_some() {
            self.reset(Reason::INTERNAL_ERROR);
        } else {
            // A client that is gone does not hear it.
            let _heard = self.head(response::of_status(status), true);
        }
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// Waits until some of so many bytes can be sent, and says how many.
pub(super) async fn room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    alarm: &Alarm,
    silence: Duration,
) -> Result<usize, Gone> {
    stream.reserve_capacity(wanted);
    match stream.capacity() {
        0 => {}
        room => return Ok(room),
    }
    let more = |cx: &mut Context<'_>| {
        loop {
            return Poll::Ready(match ready!(stream.poll_capacity(cx)) {
                // It is told of changes too that are none.
                Some(Ok(0)) => continue,
                Some(Ok(room)) => Ok(room),
                Some(Err(_)) | None => Err(Gone),
            });
        }
    };
    alarm.within(silence, more).await.map_err(|Late| Gone)?
}
