//! Tunnels of which one end at least is a stream of HTTP/2: of a WebSocket, RFC 8441, the other end of which may be behind an upgrade.
//!
//! Each direction ends by itself, as each side closes it, and is as fast as who reads it. What ends otherwise, by a reset, an error or in silence, is
//! reset on both sides.

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};

use super::{
    answer::{Answer, Gone, Sending},
    pool::Place,
    relay::reason_of,
};
use crate::{
    alarm::Alarm,
    attempts::NoAnswer,
    observe::{Cause, Watch},
    socket::Socket,
    stream::{Incoming, Stream, write},
    tcp::{Cut, failed, silent},
};

/// A stream to a server that is a tunnel's, behind the head of its answer.
pub(crate) struct ServerStream {
    from: RecvStream,
    to: Sending,
    /// It is one of its connection's streams until the tunnel ends.
    _place: Place,
}

/// The server's end of a tunnel.
pub(super) enum ServerEnd<'a> {
    /// Behind an upgrade.
    Socket(&'a mut Stream),
    Stream(&'a mut ServerStream),
}

/// A direction.
struct OneWay<'a> {
    from: Source<'a>,
    to: Sink<'a>,
    /// When something has last moved; of both directions.
    last: &'a Cell<Instant>,
    /// Bytes that have come.
    count: &'a Cell<u64>,
}

enum Source<'a> {
    Socket(Incoming<'a>),
    Stream(&'a mut RecvStream),
}

enum Sink<'a> {
    Socket(&'a Socket),
    Stream(&'a mut Sending),
}

/// Why a direction does not come to its end.
enum Broken {
    Source(Reason),
    Sink,
}

const GONE: NoAnswer = NoAnswer::Gone(Cause::Client);

/// A client's stream, until both directions have ended, or until nothing has moved in either for so long. What the client sends is added to
/// `count`.
pub(super) async fn of_stream(
    client: &mut RecvStream,
    answer: &mut Answer,
    server: ServerEnd<'_>,
    limit: Duration,
    count: &Cell<u64>,
) -> Result<(), NoAnswer> {
    let to_client = answer.sending()?;
    to_client.wait(Duration::MAX);
    let (last, uncounted) = (Cell::new(Instant::now()), Cell::new(0));
    let (last, never) = (&last, pending());
    match server {
        ServerEnd::Socket(server) => {
            let mut cut = Cut::of([&server.socket]);
            let incoming = Incoming {
                socket: &server.socket,
                buffer: &mut server.buffer,
                alarm: &server.alarm,
            };
            let there = OneWay {
                from: Source::Stream(client),
                to: Sink::Socket(&server.socket),
                last,
                count,
            };
            let back = OneWay {
                from: Source::Socket(incoming),
                to: Sink::Stream(to_client),
                last,
                count: &uncounted,
            };
            let ended = both(there, back, limit, never).await;
            cut.is_whole = ended.is_ok();
            ended
        }
        ServerEnd::Stream(server) => {
            let there = OneWay {
                from: Source::Stream(client),
                to: Sink::Stream(&mut server.to),
                last,
                count,
            };
            let back = OneWay {
                from: Source::Stream(&mut server.from),
                to: Sink::Stream(to_client),
                last,
                count: &uncounted,
            };
            let ended = both(there, back, limit, never).await;
            server.end(ended)
        }
    }
}

/// The same of a client of HTTP/1.1, behind its upgrade. What moves is counted there.
pub(crate) async fn of_socket(
    client: &mut Stream,
    server: &mut ServerStream,
    limit: Duration,
    watch: &Watch,
) -> Result<(), NoAnswer> {
    let last = Cell::new(Instant::now());
    let mut cut = Cut::of([&client.socket]);
    let incoming = Incoming {
        socket: &client.socket,
        buffer: &mut client.buffer,
        alarm: &client.alarm,
    };
    let there = OneWay {
        from: Source::Socket(incoming),
        to: Sink::Stream(&mut server.to),
        last: &last,
        count: watch.received(),
    };
    let back = OneWay {
        from: Source::Stream(&mut server.from),
        to: Sink::Socket(&client.socket),
        last: &last,
        count: watch.sent(),
    };
    let ended = both(there, back, limit, failed(client.socket.tcp())).await;
    cut.is_whole = ended.is_ok();
    server.end(ended)
}

/// Moves both directions until both have ended. `failed` is when the client's connection does, which comes also while nobody reads.
async fn both(
    there: OneWay<'_>,
    back: OneWay<'_>,
    limit: Duration,
    failed: impl Future<Output = ()>,
) -> Result<(), NoAnswer> {
    let (alarm, last) = (Alarm::new(), there.last);
    let mut there = pin!(there.run());
    let mut back = pin!(back.run());
    let mut silent = pin!(silent(&alarm, last, limit));
    let mut failed = pin!(failed);
    let (mut is_there, mut is_back) = (false, false);
    poll_fn(|cx| {
        if !is_back && let Poll::Ready(ended) = back.as_mut().poll(cx) {
            match ended {
                Ok(()) => is_back = true,
                Err(Broken::Source(reason)) => {
                    return Poll::Ready(Err(NoAnswer::Broken(reason, Cause::Server)));
                }
                Err(Broken::Sink) => return Poll::Ready(Err(GONE)),
            }
        }
        if !is_there && let Poll::Ready(ended) = there.as_mut().poll(cx) {
            is_there = true;
            match ended {
                Err(Broken::Source(_)) if !is_back => return Poll::Ready(Err(GONE)),
                // Of a server that is gone, what comes back says so; a client that has got all of it may go as it likes.
                Ok(()) | Err(Broken::Source(_) | Broken::Sink) => {}
            }
        }
        if is_there && is_back {
            return Poll::Ready(Ok(()));
        }
        if failed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(if is_back { Ok(()) } else { Err(GONE) });
        }
        let silent = silent.as_mut().poll(cx);
        silent.map(|()| Err(NoAnswer::Gone(Cause::ClientTimeout)))
    })
    .await
}

// === impl ServerStream ===

impl ServerStream {
    pub(crate) fn new(from: RecvStream, mut to: Sending, place: Place) -> Self {
        to.wait(Duration::MAX);
        Self {
            from,
            to,
            _place: place,
        }
    }

    /// Tells the server if its tunnel has not ended in order.
    fn end(&mut self, ended: Result<(), NoAnswer>) -> Result<(), NoAnswer> {
        if ended.is_err() {
            self.to.reset(Reason::CANCEL);
        }
        ended
    }
}

// === impl OneWay ===

impl OneWay<'_> {
    async fn run(mut self) -> Result<(), Broken> {
        while let Some(data) = self.next().await? {
            self.last.set(Instant::now());
            let length = data.len();
            self.count.set(self.count.get() + length as u64);
            self.to.send(data).await?;
            self.last.set(Instant::now());
            self.from.release(length)?;
        }
        self.to.end().await
    }

    /// What comes next, as long as somebody wants it.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let next = pin!(self.from.next());
        match &mut self.to {
            Sink::Socket(_) => next.await,
            Sink::Stream(stream) => {
                let next = stream.or_gone(next).await;
                next.map_err(|Gone| Broken::Sink)?
            }
        }
    }
}

// === impl Source ===

impl Source<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match self {
            Self::Socket(incoming) => {
                if incoming.filled().is_empty() {
                    let read = poll_fn(|cx| incoming.poll_read(cx)).await;
                    let count = read.map_err(|_reset| Broken::Source(Reason::INTERNAL_ERROR))?;
                    if count == 0 {
                        return Ok(None);
                    }
                }
                let data = Bytes::copy_from_slice(incoming.filled());
                incoming.consume(data.len());
                Ok(Some(data))
            }
            Self::Stream(stream) => {
                let next = poll_fn(|cx| stream.poll_data(cx)).await.transpose();
                next.map_err(|error| Broken::Source(reason_of(&error)))
            }
        }
    }

    /// So much has gone on: only now may as much come again.
    fn release(&mut self, count: usize) -> Result<(), Broken> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Stream(stream) => {
                let released = stream.flow_control().release_capacity(count);
                released.map_err(|error| Broken::Source(reason_of(&error)))
            }
        }
    }
}

// === impl Sink ===

impl Sink<'_> {
    async fn send(&mut self, data: Bytes) -> Result<(), Broken> {
        match self {
            Self::Socket(socket) => {
                let sent = write(socket, &data, b"", Duration::MAX).await;
                sent.map_err(|_reset| Broken::Sink)
            }
            Self::Stream(stream) => {
                let sent = stream.data(data, false).await;
                sent.map_err(|Gone| Broken::Sink)
            }
        }
    }

    async fn end(&mut self) -> Result<(), Broken> {
        match self {
            Self::Socket(socket) => {
                // A connection that is gone is shut down already.
                let _gone = socket.close_half().await;
                Ok(())
            }
            Self::Stream(stream) => stream.end(None).map_err(|Gone| Broken::Sink),
        }
    }
}
