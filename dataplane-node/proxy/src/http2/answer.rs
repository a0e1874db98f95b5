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

/// A stream's sending half, behind its head.
pub(crate) struct Sending {
    stream: SendStream<Bytes>,
    alarm: Alarm,
    silence: Duration,
    /// Bytes of the body so far.
    sent: u64,
}

/// The way back to a client: a stream's sending half.
pub(super) struct Answer {
    respond: SendResponse<Bytes>,
    /// Behind its head.
    sending: Option<Sending>,
    silence: Duration,
    /// Changes to its head.
    edits: FieldEdits,
}

/// Nobody waits for it any more, or nobody reads it.
#[derive(Debug)]
pub(crate) struct Gone;

// === impl Sending ===

impl Sending {
    /// `silence` is how long the other side may not read.
    pub(crate) fn new(stream: SendStream<Bytes>, silence: Duration) -> Self {
        Self {
            stream,
            alarm: Alarm::new(),
            silence,
            sent: 0,
        }
    }

    /// From here on the other side may not read for so long.
    pub(super) const fn wait(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// Does something else for as long as somebody waits for the stream.
    pub(super) fn or_gone<'a, F: Future>(
        &'a mut self,
        work: Pin<&'a mut F>,
    ) -> impl Future<Output = Result<F::Output, Gone>> + use<'a, F> {
        or_reset(work, |cx| self.stream.poll_reset(cx))
    }

    /// Sends a part of the body, as fast as the other side takes it.
    pub(super) async fn data(&mut self, mut data: Bytes, ends: bool) -> Result<(), Gone> {
        while !data.is_empty() {
            let room = self.room(data.len()).await?;
            let part = data.split_to(room.min(data.len()));
            let (is_last, length) = (ends && data.is_empty(), part.len() as u64);
            let sent = self.stream.send_data(part, is_last);
            sent.map_err(|_closed| Gone)?;
            self.sent += length;
        }
        Ok(())
    }

    /// Bytes of the body so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Waits until some of so many bytes can be sent, and says how many.
    async fn room(&mut self, wanted: usize) -> Result<usize, Gone> {
        let stream = &mut self.stream;
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
        let more = self.alarm.within(self.silence, more).await;
        more.map_err(|Late| Gone)?
    }

    /// Ends a body whose end was not known when its last part was sent.
    pub(crate) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Gone> {
        let sent = match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_closed| Gone)
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

// === impl Answer ===

impl Answer {
    /// `silence` is how long a client may not read.
    pub(super) fn new(respond: SendResponse<Bytes>, silence: Duration) -> Self {
        Self {
            respond,
            sending: None,
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
        let sending = self.head(head, body.is_empty())?;
        sending.data(body, true).await
    }

    /// Does something else for as long as somebody waits for the answer.
    pub(super) fn or_gone<'a, F: Future>(
        &'a mut self,
        work: Pin<&'a mut F>,
    ) -> impl Future<Output = Result<F::Output, Gone>> + use<'a, F> {
        or_reset(work, |cx| match &mut self.sending {
            Some(sending) => sending.stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        })
    }

    /// An answer before the one that counts, RFC 9110 section 15.2.
    pub(super) fn interim(&mut self, head: Response<()>) -> Result<(), Gone> {
        self.respond
            .send_informational(head)
            .map_err(|_closed| Gone)
    }

    pub(super) fn head(
        &mut self,
        mut head: Response<()>,
        ends: bool,
    ) -> Result<&mut Sending, Gone> {
        response::edit(head.headers_mut(), &self.edits);
        let stream = self.respond.send_response(head, ends);
        let stream = stream.map_err(|_closed| Gone)?;
        Ok(self.sending.insert(Sending::new(stream, self.silence)))
    }

    /// Bytes of its body so far.
    pub(super) fn sent(&self) -> u64 {
        self.sending.as_ref().map_or(0, Sending::sent)
    }

    /// Behind its head.
    pub(super) fn sending(&mut self) -> Result<&mut Sending, Gone> {
        self.sending.as_mut().ok_or(Gone)
    }

    /// Whether its head has gone.
    pub(super) const fn has_begun(&self) -> bool {
        self.sending.is_some()
    }

    /// Answers for the server, which has not begun to answer.
    pub(super) fn tell(&mut self, status: u16) {
        // A client that is gone does not hear it.
        let _heard = self.head(response::of_status(status), true);
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// What is done is pinned where it is: an `async` function would hold it twice.
fn or_reset<'a, F: Future>(
    mut work: Pin<&'a mut F>,
    mut reset: impl FnMut(&mut Context<'_>) -> Poll<Result<Reason, h2::Error>> + 'a,
) -> impl Future<Output = Result<F::Output, Gone>> + 'a {
    poll_fn(move |cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => reset(cx).map(|_reason| Err(Gone)),
    })
}
