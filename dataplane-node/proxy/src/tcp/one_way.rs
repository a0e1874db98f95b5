//! One direction of a relayed connection.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::{io::Interest, task};

use super::pipe::Pipe;
use crate::{
    buffer::Buffer,
    socket::Socket,
    stream::{Incoming, write},
};

/// Bytes that are copied before a direction gets a pipe: most connections never have so many.
const COPIED: u64 = 64 << 10;
/// Bytes that one direction moves before others get their turn.
const AT_A_TURN: u64 = 4 << 20;

/// A direction: what comes over one socket goes over another.
pub(super) struct OneWay<'a> {
    pub(super) from: Incoming<'a>,
    pub(super) to: &'a Socket,
    /// When this connection last had a reason to wait; of both directions.
    pub(super) last: &'a Cell<Instant>,
    /// Bytes that the socket that they go to has taken.
    pub(super) moved: &'a Cell<u64>,
}

/// What a socket has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Bytes,
    End,
    Nothing,
}

// === impl OneWay ===

impl OneWay<'_> {
    /// Moves everything, and closes the direction where it goes.
    pub(super) async fn run(mut self) -> io::Result<()> {
        if self.copied().await? == Next::Bytes {
            self.spliced().await?;
        }
        self.to.close_half().await
    }

    /// The beginning, in a buffer, and whether the end is in it.
    async fn copied(&mut self) -> io::Result<Next> {
        self.flush().await?;
        while self.moved.get() < COPIED || !self.is_plain() {
            self.readable().await?;
            if self.copy().await? == Next::End {
                return Ok(Next::End);
            }
        }
        Ok(Next::Bytes)
    }

    /// Whether the kernel can move what comes to where it goes: what is sealed with TLS it cannot.
    const fn is_plain(&self) -> bool {
        matches!(
            (self.from.socket, self.to),
            (Socket::Plain(_), Socket::Plain(_))
        )
    }

    /// The rest, in a pipe as long as there is something.
    async fn spliced(&mut self) -> io::Result<()> {
        loop {
            self.readable().await?;
            let next = match Pipe::take() {
                Some(pipe) => self.through(pipe).await?,
                // It goes on as it began.
                None => self.copy().await?,
            };
            if next == Next::End {
                return Ok(());
            }
        }
    }

    /// Moves what the socket has until there is nothing more, or never will be.
    async fn through(&mut self, mut pipe: Pipe) -> io::Result<Next> {
        let mut turn_ends = self.moved.get() + AT_A_TURN;
        loop {
            let filled = match pipe.fill(self.from.socket.tcp()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                filled => filled?,
            };
            self.drain(&mut pipe).await?;
            match self.next()? {
                // `splice` does not pass the urgent mark, and says that there is nothing, or that it is the end.
                Next::Bytes if filled == 0 => {
                    self.copy().await?;
                }
                Next::Bytes => {}
                next => return Ok(next),
            }
            if self.moved.get() >= turn_ends {
                self.last.set(Instant::now());
                task::yield_now().await;
                turn_ends = self.moved.get() + AT_A_TURN;
            }
        }
    }

    async fn drain(&mut self, pipe: &mut Pipe) -> io::Result<()> {
        while pipe.held() > 0 {
            let to = self.to.tcp();
            let drained = to.try_io(Interest::WRITABLE, || pipe.drain(to));
            match drained {
                Ok(count) => self.moved.set(self.moved.get() + count as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.last.set(Instant::now());
                    to.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What the socket has, which is not taken from it. If it has nothing, it is known to have nothing.
    fn next(&self) -> io::Result<Next> {
        let socket = self.from.socket.tcp();
        let peek = || Ok(recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK)?);
        match socket.try_io(Interest::READABLE, peek) {
            Ok(0) => Ok(Next::End),
            Ok(_) => Ok(Next::Bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Next::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Moves one buffer, if the socket has as much.
    async fn copy(&mut self) -> io::Result<Next> {
        let mut buffer = Buffer::take();
        match self.from.socket.try_read(buffer.space()) {
            Ok(0) => return Ok(Next::End),
            Ok(count) => buffer.fill(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Nothing),
            Err(error) => return Err(error),
        }
        *self.from.buffer = Some(buffer);
        self.flush().await?;
        Ok(Next::Bytes)
    }

    /// Sends on what is in the buffer.
    async fn flush(&mut self) -> io::Result<()> {
        let bytes = self.from.filled();
        let count = bytes.len();
        // Of both directions together it is known for how long nothing moves.
        write(self.to, bytes, b"", Duration::MAX).await?;
        self.from.consume(count);
        self.moved.set(self.moved.get() + count as u64);
        Ok(())
    }

    async fn readable(&self) -> io::Result<()> {
        self.last.set(Instant::now());
        self.from.socket.readable().await
    }
}
