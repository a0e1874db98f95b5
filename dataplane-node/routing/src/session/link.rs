use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

/// A connection, and what is to be sent over it.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    waiting: VecDeque<Bytes>,
    /// Since when the neighbor takes nothing.
    stalled_since: Option<Instant>,
}

/// What a connection has to read.
pub(super) enum Heard {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

/// How long a connection that is closed may take to deliver what was sent.
const FAREWELL: Duration = Duration::from_secs(1);

// === impl Link ===

impl Link {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            waiting: VecDeque::new(),
            stalled_since: None,
        }
    }

    /// Our end and the neighbor's.
    pub(super) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let local = self.stream.local_addr().ok()?;
        Some((local, self.stream.peer_addr().ok()?))
    }

    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    pub(super) fn send(&mut self, bytes: Bytes) {
        self.waiting.push_back(bytes);
    }

    /// Bytes that the connection has not taken.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }

    /// Waits until there is something to read, or room for what waits.
    pub(super) async fn ready(&self) {
        let interest = if self.waiting.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        // What is wrong with the connection shows when it is used.
        let _ready = self.stream.ready(interest).await;
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Heard {
        match self.stream.try_read(buffer) {
            Ok(0) => Heard::End,
            Ok(length) => Heard::Bytes(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Heard::Nothing,
            Err(_) => Heard::End,
        }
    }

    /// Gives the connection what it takes now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.waiting.front_mut() {
            match self.stream.try_write(first) {
                Ok(length) => {
                    self.stalled_since = None;
                    first.advance(length);
                    if first.is_empty() {
                        self.waiting.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what waits, and closes. What still comes is read: a connection that is closed before is reset, and its last words are lost.
    pub(super) async fn part(mut self) {
        let parting = async {
            for bytes in &self.waiting {
                self.stream.write_all(bytes).await?;
            }
            self.stream.shutdown().await?;
            let mut heard = [0; 1024];
            while self.stream.read(&mut heard).await? > 0 {}
            io::Result::Ok(())
        };
        // Whatever becomes of it, it is over.
        let _outcome = tokio::time::timeout(FAREWELL, parting).await;
    }
}
