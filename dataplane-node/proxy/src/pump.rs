//! Bodies on their way from one side to the other, in the buffer that they came into.

use std::{cell::Cell, io, time::Duration};

use crate::{
    alarm::Late,
    http1::{Body, ChunkReader, Chunked, Refusal},
    socket::Socket,
    stream::{Incoming, write},
};

/// How a body is framed where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// As it comes.
    Same,
    /// In chunks, though it comes without.
    Chunks,
    /// The data alone, though it comes in chunks.
    Bare,
}

/// Why a body does not arrive whole.
#[derive(Debug)]
pub(crate) enum Broken {
    /// What comes is not what its framing says.
    Refused(Refusal),
    /// The sender has closed before the end, says nothing for too long, or its connection fails.
    Sender(io::Error),
    /// The receiver has closed, takes nothing for too long, or its connection fails.
    Receiver(io::Error),
}

/// Sends a body on, beginning with what the buffer has of it, and adds what is taken off the sender to `count`.
pub(crate) fn body<'a>(
    from: Incoming<'a>,
    to: &'a Socket,
    body: Body,
    framed: Framed,
    silence: Duration,
    count: &'a Cell<u64>,
) -> impl Future<Output = Result<(), Broken>> + use<'a> {
    body_up_to(from, to, body, framed, silence, u64::MAX, count)
}

/// The same, of a body with so many bytes at most; more are refused.
pub(crate) async fn body_up_to(
    from: Incoming<'_>,
    to: &Socket,
    body: Body,
    framed: Framed,
    silence: Duration,
    most: u64,
    count: &Cell<u64>,
) -> Result<(), Broken> {
    let mut pump = Pump {
        from,
        to,
        framed,
        silence,
        left: most,
        count,
    };
    match body {
        Body::Length(length) => pump.length(length).await,
        Body::Chunked => pump.chunked().await,
        Body::UntilClose => pump.until_close().await,
    }
}

struct Pump<'a> {
    from: Incoming<'a>,
    to: &'a Socket,
    framed: Framed,
    silence: Duration,
    /// So many bytes of data may come yet, in chunks: a length is known before.
    left: u64,
    count: &'a Cell<u64>,
}

impl Pump<'_> {
    async fn length(&mut self, mut left: u64) -> Result<(), Broken> {
        while left > 0 {
            let filled = self.filled().await?;
            let count = usize::try_from(left).map_or(filled, |left| left.min(filled));
            self.send(count).await?;
            left -= count as u64;
        }
        Ok(())
    }

    async fn chunked(&mut self) -> Result<(), Broken> {
        let mut reader = ChunkReader::new();
        while !reader.is_done() {
            self.filled().await?;
            // As much as the buffer has, in one write.
            let (mut at, bytes) = (0, self.from.filled());
            while at < bytes.len() && !reader.is_done() {
                let part = reader.next(&bytes[at..]).map_err(Broken::Refused)?;
                let (count, is_data) = match part {
                    Chunked::Data(count) => (count, true),
                    Chunked::Frame(count) | Chunked::End(count) => (count, false),
                };
                if is_data {
                    let left = self.left.checked_sub(count as u64);
                    self.left = left.ok_or(Broken::Refused(Refusal::BodyTooLong))?;
                }
                if self.framed == Framed::Bare && is_data {
                    let data = &bytes[at..at + count];
                    write(self.to, data, b"", self.silence)
                        .await
                        .map_err(Broken::Receiver)?;
                }
                at += count;
            }
            if self.framed == Framed::Bare {
                self.done(at);
            } else {
                self.send(at).await?;
            }
        }
        Ok(())
    }

    async fn until_close(&mut self) -> Result<(), Broken> {
        loop {
            match self.filled().await {
                Ok(count) => self.send(count).await?,
                Err(Broken::Sender(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        if self.framed == Framed::Chunks {
            write(self.to, b"0\r\n\r\n", b"", self.silence)
                .await
                .map_err(Broken::Receiver)?;
        }
        Ok(())
    }

    /// Waits until the buffer has something, and says how much.
    async fn filled(&mut self) -> Result<usize, Broken> {
        if !self.from.filled().is_empty() {
            return Ok(self.from.filled().len());
        }
        let alarm = self.from.alarm;
        let from = &mut self.from;
        let count = alarm.within(self.silence, |context| from.poll_read(context));
        let count = count.await;
        match count {
            Ok(Ok(0)) => Err(Broken::Sender(io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(count)) => Ok(count),
            Ok(Err(error)) => Err(Broken::Sender(error)),
            Err(Late) => Err(Broken::Sender(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Sends the first bytes of the buffer.
    async fn send(&mut self, count: usize) -> Result<(), Broken> {
        let bytes = &self.from.filled()[..count];
        let sent = if self.framed == Framed::Chunks {
            let mut chunk = format!("{count:X}\r\n").into_bytes();
            chunk.extend_from_slice(bytes);
            write(self.to, &chunk, b"\r\n", self.silence).await
        } else {
            write(self.to, bytes, b"", self.silence).await
        };
        sent.map_err(Broken::Receiver)?;
        self.done(count);
        Ok(())
    }

    /// So many bytes of the buffer are done with.
    fn done(&mut self, count: usize) {
        self.count.set(self.count.get() + count as u64);
        self.from.consume(count);
    }
}
