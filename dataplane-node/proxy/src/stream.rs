//! One end of a connection: what is read is in a buffer, which is there only while there is something in it.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::net::TcpStream;

use crate::{
    alarm::{Alarm, Late, Patience},
    buffer::Buffer,
    http1::{HeadLimits, Refusal, head_end},
    socket::Socket,
};

/// How long, and for how many bytes, a closed connection is read on.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// A connection, and what has come over it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) socket: Socket,
    pub(crate) buffer: Option<Buffer>,
    /// Of who waits for what comes.
    pub(crate) alarm: Alarm,
}

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The other side has closed the connection between two messages.
    Closed,
    Refused(Refusal),
    /// None has begun, and none is wanted any more.
    Leaving,
    /// Not one byte has come in time.
    Silent,
    /// The rest has not come in time.
    Late,
    /// The connection fails, or closes in the middle.
    Broken,
}

/// What comes over a connection, while somebody else sends over it.
pub(crate) struct Incoming<'a> {
    pub(crate) socket: &'a Socket,
    pub(crate) buffer: &'a mut Option<Buffer>,
    pub(crate) alarm: &'a Alarm,
}

impl Stream {
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        Self::new(Socket::Plain(tcp))
    }

    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            buffer: None,
            alarm: Alarm::new(),
        }
    }

    pub(crate) fn incoming(&mut self) -> Incoming<'_> {
        Incoming {
            socket: &self.socket,
            buffer: &mut self.buffer,
            alarm: &self.alarm,
        }
    }

    /// Closes so that what was sent last arrives, RFC 9112 section 9.6: bytes that come after a socket is closed make it forget what it
    /// still has to send.
    pub(crate) async fn linger(&mut self) {
        self.buffer = None;
        // Nothing is on its way, as far as one can know, or it is closed.
        let is_closed = match self.socket.try_read(&mut [0]) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(count) => count == 0,
        };
        self.say_close().await;
        if is_closed || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // What comes is of no concern, so it stays sealed if it is.
        let (mut left, mut held) = (LINGER_BYTES, None);
        let gone = |context: &mut Context<'_>| {
            while left > 0 {
                let Ok(count @ 1..) = ready!(self.socket.poll_discard(context, &mut held)) else {
                    break;
                };
                left = left.saturating_sub(count);
            }
            Poll::Ready(())
        };
        // Who goes on sending for longer has not read it.
        let _late = self.alarm.within(LINGER, gone).await;
    }

    /// Says that nothing more is sent, where TCP does not say by itself that this is in order.
    pub(crate) async fn say_close(&self) {
        if let Socket::Tls(_) = self.socket {
            let close = |context: &mut Context<'_>| self.socket.poll_close(context);
            // Who takes nothing does not hear it.
            let _heard = self.alarm.within(LINGER, close).await;
        }
    }

    /// Whether nothing has come that nobody has asked for, and the other side has not closed: as far as one can know.
    pub(crate) fn is_quiet(&self) -> bool {
        let waits = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.buffer.is_none()
            && self
                .socket
                .try_read(&mut [0])
                .is_err_and(|error| waits(&error))
    }
}

impl Incoming<'_> {
    /// What is in the buffer.
    pub(crate) fn filled(&self) -> &[u8] {
        self.buffer.as_ref().map_or(b"", Buffer::filled)
    }

    /// Waits until there is something to read, unless that is not wanted any more. This is all that a connection between two messages does.
    pub(crate) async fn some(
        &mut self,
        limit: Duration,
        mut is_leaving: impl FnMut(&mut Context<'_>) -> bool + Unpin,
    ) -> Result<(), NoHead> {
        if !self.filled().is_empty() {
            return Ok(());
        }
        let alarm = self.alarm;
        let read = |context: &mut Context<'_>| match self.poll_read(context) {
            Poll::Pending if is_leaving(context) => Poll::Ready(None),
            read => read.map(Some),
        };
        match alarm.within(limit, read).await {
            Ok(Some(Ok(1..))) => Ok(()),
            Ok(Some(Ok(0))) => Err(NoHead::Closed),
            Ok(Some(Err(_gone))) => Err(NoHead::Broken),
            Ok(None) => Err(NoHead::Leaving),
            Err(Late) => Err(NoHead::Silent),
        }
    }

    /// Reads until the buffer has a whole head, and gives its length. `begins` is called if there is not all of it yet.
    pub(crate) async fn head(
        &mut self,
        limits: &HeadLimits,
        limit: Duration,
        begins: impl FnOnce(),
    ) -> Result<usize, NoHead> {
        // Most heads come in one part: nothing has to be waited for.
        let mut seen = 0;
        if let Some(end) = self.head_there(limits, &mut seen)? {
            return Ok(end);
        }
        begins();
        let alarm = self.alarm;
        let head = |context: &mut Context<'_>| self.poll_head(context, limits, &mut seen);
        alarm
            .within(limit, head)
            .await
            .map_err(|Late| NoHead::Late)?
    }

    /// Reads until the head is whole. `seen` bytes were looked at before.
    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        limits: &HeadLimits,
        seen: &mut usize,
    ) -> Poll<Result<usize, NoHead>> {
        loop {
            match ready!(self.poll_read(context)) {
                Ok(0) if *seen == 0 => return Poll::Ready(Err(NoHead::Closed)),
                Ok(0) | Err(_) => return Poll::Ready(Err(NoHead::Broken)),
                Ok(_) => {}
            }
            if let Some(end) = self.head_there(limits, seen)? {
                return Poll::Ready(Ok(end));
            }
        }
    }

    /// The length of the head at the beginning of the buffer, if it is whole. `seen` bytes were looked at before.
    fn head_there(
        &mut self,
        limits: &HeadLimits,
        seen: &mut usize,
    ) -> Result<Option<usize>, NoHead> {
        // A client may send an empty line before a request, RFC 9112 section 2.2.
        while *seen < 2 && self.filled().starts_with(b"\r\n") {
            self.consume(2);
            *seen = 0;
        }
        let end = head_end(self.filled(), *seen, limits).map_err(NoHead::Refused)?;
        *seen = self.filled().len();
        Ok(end)
    }

    /// So many bytes of the buffer are done with; the buffer goes if it is empty.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(held) = self.buffer {
            held.consume(count);
            if held.is_empty() {
                *self.buffer = None;
            }
        }
    }

    /// Reads what has come, waiting for some; 0 at the end.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(context))?;
            match self.read_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Reads what has come. Nobody holds a buffer for a connection that says nothing.
    fn read_now(&mut self) -> io::Result<usize> {
        let mut held = self.buffer.take().unwrap_or_else(Buffer::take);
        let space = held.space();
        let room = space.len();
        let read = self.socket.try_read(space);
        if let Ok(count) = read {
            held.fill(count);
            if (1..room).contains(&count) {
                self.socket.note_drained();
            }
        }
        if !held.is_empty() {
            *self.buffer = Some(held);
        }
        read
    }
}

/// Writes both, one behind the other. If nothing is taken for so long, the connection is reset when it is dropped.
pub(crate) const fn write<'a>(
    socket: &'a Socket,
    first: &'a [u8],
    then: &'a [u8],
    silence: Duration,
) -> Write<'a> {
    Write {
        socket,
        first,
        then,
        is_last: false,
        patience: Patience::new(silence),
    }
}

/// See [`write`].
#[derive(Debug)]
pub(crate) struct Write<'a> {
    socket: &'a Socket,
    first: &'a [u8],
    then: &'a [u8],
    is_last: bool,
    patience: Patience,
}

impl Future for Write<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.poll_write(context) {
            Poll::Pending if this.patience.poll_late(context).is_ready() => {
                this.socket.cut();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            written => written,
        }
    }
}

impl Write<'_> {
    /// If it is the last of its connection, the end goes out with it, in the same packet: that must follow at once.
    pub(crate) const fn last(mut self, is_last: bool) -> Self {
        self.is_last = is_last;
        self
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            socket,
            first,
            then,
            is_last,
            patience,
        } = self;
        while !first.is_empty() || !then.is_empty() {
            // The kernel takes one part with less ado than a list of parts.
            let written = match (*first, *then) {
                (one, []) | ([], one) if *is_last => socket.try_write_last(one),
                (one, []) | ([], one) => socket.try_write(one),
                (first, then) => {
                    socket.try_write_vectored(&[IoSlice::new(first), IoSlice::new(then)])
                }
            };
            match written {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    let of_first = count.min(first.len());
                    *first = &first[of_first..];
                    *then = &then[count - of_first..];
                    patience.renew();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(socket.poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        socket.poll_flush(context)
    }
}
