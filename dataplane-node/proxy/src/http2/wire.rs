//! What the codec reads and writes instead of the socket.
//!
//! ```text
//!             Meter
//! socket ──────┴────────────────────► codec ──► streams' tasks
//!        ◄── buffer, when all that ◄── codec ◄──
//!            was ready is in it
//! ```
//!
//! The codec flushes behind each DATA frame; here that fills a buffer, and the connection's task sends it when every stream that was
//! ready has had its turn.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::{Flood, Meter};
use crate::{buffer::Buffer, socket::Socket, stream::Stream};

/// A connection, and what is known of it while the codec has it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    /// What has come, and the codec has not read yet.
    input: RefCell<Option<Buffer>>,
    out: RefCell<Option<Buffer>>,
    meter: RefCell<Meter>,
    /// What the peer does too much of. Nothing of it is read any more.
    pub(super) flood: Cell<Option<Flood>>,
    /// When something has last come.
    pub(super) read_at: Cell<Instant>,
    /// Since when the socket takes nothing.
    pub(super) stuck_since: Cell<Option<Instant>>,
}

/// The codec's end of it.
#[derive(Debug)]
pub(super) struct Pipe(pub(super) Rc<Wire>);

// === impl Wire ===

impl Wire {
    pub(super) fn new(stream: Stream, meter: Meter, now: Instant) -> Self {
        Self {
            socket: stream.socket,
            input: RefCell::new(stream.buffer),
            out: RefCell::default(),
            meter: RefCell::new(meter),
            flood: Cell::default(),
            read_at: Cell::new(now),
            stuck_since: Cell::default(),
        }
    }

    /// Whether the peer has said what it is able to do: the codec knows it once it has nothing more to do.
    pub(super) fn is_settled(&self) -> bool {
        self.meter.borrow().is_settled()
    }

    /// The connection, when the codec is done with it.
    pub(super) fn into_stream(self) -> Stream {
        Stream::new(self.socket)
    }

    /// Sends what waits.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        let Some(waiting) = out.as_mut() else {
            return self.poll_sealed(cx);
        };
        while !waiting.is_empty() {
            match self.socket.try_write(waiting.filled()) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    waiting.consume(count);
                    self.stuck_since.set(None);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_stuck();
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        *out = None;
        self.poll_sealed(cx)
    }

    /// Sends what the socket has taken and not sent yet, as one with TLS may.
    fn poll_sealed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.socket.poll_flush(cx);
        if flushed.is_pending() {
            self.is_stuck();
        } else {
            // Nothing waits any more.
            self.stuck_since.set(None);
        }
        flushed
    }

    fn is_stuck(&self) {
        if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(Instant::now()));
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.flood.get().is_some() {
            return Poll::Pending;
        }
        let mut input = self.input.borrow_mut();
        let held = if let Some(held) = input.take() {
            held
        } else {
            // The codec's own buffer would have to be filled with zeros first, all of it for however few bytes.
            let mut held = Buffer::take();
            let count = ready!(poll_read(&self.socket, cx, held.space()))?;
            held.fill(count);
            self.read_at.set(Instant::now());
            held
        };
        let held = input.insert(held);
        let count = held.filled().len().min(into.remaining());
        let bytes = &held.filled()[..count];
        let noted = self.meter.borrow_mut().note(bytes, self.read_at.get());
        if let Err(flood) = noted {
            // Its task ends the connection, and is the one that is running.
            self.flood.set(Some(flood));
            return Poll::Pending;
        }
        into.put_slice(bytes);
        held.consume(count);
        input.take_if(|held| held.is_empty());
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut out = self.out.borrow_mut();
        let out = out.get_or_insert_with(Buffer::take);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        loop {
            if length <= out.space().len() {
                return Poll::Ready(Ok(append(out, parts)));
            }
            // It does not fit: all of it goes in one write.
            let mut all = [IoSlice::new(b""); 4];
            all[0] = IoSlice::new(out.filled());
            for (to, part) in all[1..].iter_mut().zip(parts) {
                *to = *part;
            }
            match self.socket.try_write_vectored(&all) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.stuck_since.set(None);
                    let of_out = count.min(out.filled().len());
                    out.consume(of_out);
                    if count > of_out {
                        return Poll::Ready(Ok(count - of_out));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let taken = append(out, parts);
                    if taken > 0 {
                        return Poll::Ready(Ok(taken));
                    }
                    self.is_stuck();
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Puts as much of the parts into a buffer as it has space for.
fn append(out: &mut Buffer, parts: &[IoSlice<'_>]) -> usize {
    let mut taken = 0;
    for part in parts {
        let space = out.space();
        let count = part.len().min(space.len());
        space[..count].copy_from_slice(&part[..count]);
        out.fill(count);
        taken += count;
    }
    taken
}

fn poll_read(socket: &Socket, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        match socket.try_read(room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(count) if count > 0 && count < room.len() => {
                // There is no more: it need not be asked for, which is a call of the kernel. What comes from here on is told.
                socket.note_drained();
                return Poll::Ready(Ok(count));
            }
            read => return Poll::Ready(read),
        }
    }
}

// === impl Pipe ===

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, into)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // As many as a frame has: what is behind them is offered again.
        self.0.poll_write(cx, &parts[..parts.len().min(3)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task sends it.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_send(cx))?;
        ready!(self.0.socket.poll_close(cx))?;
        Poll::Ready(self.0.socket.shutdown(Shutdown::Write))
    }
}
