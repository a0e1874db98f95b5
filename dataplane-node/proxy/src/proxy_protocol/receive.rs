use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::{io::Interest, net::TcpStream, time::timeout};

use super::{Endpoints, HEADER_BYTES, HeaderRefusal, read};
use crate::buffer::{BUFFER_BYTES, Buffer};

const _: () = assert!(HEADER_BYTES <= BUFFER_BYTES, "a buffer has a whole header");

/// Why a connection that must begin with a header is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    Refused(HeaderRefusal),
    /// It is closed or broken before the header's end.
    Gone,
    Late,
}

/// Takes a header from a proxy's connection, and not a byte behind it: those are for whoever reads next.
pub(crate) async fn receive(
    socket: &TcpStream,
    from: SocketAddr,
    limit: Duration,
) -> Result<Endpoints, NoHeader> {
    let endpoints = timeout(limit, whole(socket, from)).await;
    endpoints.map_err(|_late| NoHeader::Late)?
}

async fn whole(socket: &TcpStream, from: SocketAddr) -> Result<Endpoints, NoHeader> {
    let gone = |_error: io::Error| NoHeader::Gone;
    let mut held: Option<Buffer> = None;
    loop {
        socket.readable().await.map_err(gone)?;
        let mut buffer = held.take().unwrap_or_else(Buffer::take);
        let before = buffer.filled().len();
        let space = buffer.space();
        let peek = || Ok(recv(socket.as_raw_fd(), space, MsgFlags::MSG_PEEK)?);
        match socket.try_io(Interest::READABLE, peek) {
            Ok(0) => return Err(NoHeader::Gone),
            Ok(count) => buffer.fill(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                held = Some(buffer).filter(|_| before > 0);
                continue;
            }
            Err(error) => return Err(gone(error)),
        }
        let seen = buffer.filled().len();
        let header = read(buffer.filled()).map_err(NoHeader::Refused)?;
        let length = header.map_or(seen, |(_, length)| length);
        discard(socket, length - before).map_err(gone)?;
        if let Some((header, _)) = header {
            return Ok(Endpoints::said(&header, from));
        }
        held = Some(buffer);
    }
}

/// Takes bytes from a socket that were peeked at.
fn discard(socket: &TcpStream, count: usize) -> io::Result<()> {
    let mut buffer = Buffer::take();
    if socket.try_read(&mut buffer.space()[..count])? == count {
        Ok(())
    } else {
        // They were there.
        Err(ErrorKind::UnexpectedEof.into())
    }
}
