//! What a connection goes over: TCP as it is, or TLS on it.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

use crate::{
    buffer::Buffer,
    observe::{self, PeerTls},
    proxy_protocol::Extras,
    tls::TlsSocket,
};

/// A connection's transport. What it takes to write is sent at once over TCP; over TLS some of it may be sealed and still to be sent, which
/// [`Socket::poll_flush`] waits for.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// The TCP connection, whatever it carries.
    pub(crate) const fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// How a client has come.
    pub(crate) const fn scheme(&self) -> &'static str {
        match self {
            Self::Plain(_) => "http",
            Self::Tls(_) => "https",
        }
    }

    /// What servers are told of the client's certificate, as lines of a head.
    pub(crate) fn identity(&self) -> &[u8] {
        match self {
            Self::Plain(_) => b"",
            Self::Tls(tls) => &tls.facts.identity,
        }
    }

    /// TLS as it is logged, if this is TLS.
    pub(crate) fn tls(&self) -> Option<observe::Tls<'_>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(observe::Tls {
                version: tls.facts.version,
                sni: tls.facts.server_name.as_deref(),
            }),
        }
    }

    /// The same for who does not have the socket.
    pub(crate) fn peer_tls(&self) -> Option<PeerTls> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(PeerTls {
                version: tls.facts.version,
                sni: tls.facts.server_name.clone(),
            }),
        }
    }

    /// What a header of the PROXY protocol says of it beside the addresses.
    pub(crate) fn extras(&self) -> Extras<'_> {
        match self {
            Self::Plain(_) => Extras::default(),
            Self::Tls(tls) => tls.facts.extras(),
        }
    }

    /// Waits until reading may give something.
    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(context),
            Self::Tls(tls) => tls.poll_read_ready(context),
        }
    }

    /// Reads what has come; 0 if the other side has closed in order.
    pub(crate) fn try_read(&self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_read(to),
            Self::Tls(tls) => tls.try_read(to),
        }
    }

    /// Less has come than there was room for: the next read would only say that there is no more. What comes from now on is told anew, and
    /// that the other side has closed is not forgotten.
    pub(crate) fn note_drained(&self) {
        match self {
            Self::Plain(tcp) => note_drained(tcp),
            // It does so by itself, as it reads other lengths.
            Self::Tls(_) => {}
        }
    }

    /// Waits until writing may take something.
    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(context)
    }

    /// Takes the first bytes, and says how many.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write(bytes),
            Self::Tls(tls) => tls.try_write(&[IoSlice::new(bytes)]),
        }
    }

    /// The same for the last bytes of a connection, whose end follows at once: it goes out with them.
    pub(crate) fn try_write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => try_send_more(tcp, bytes),
            Self::Tls(tls) => tls.try_write_last(bytes),
        }
    }

    /// Takes the first bytes of all parts, one behind the other, and says how many.
    pub(crate) fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(parts),
            Self::Tls(tls) => tls.try_write(parts),
        }
    }

    /// Waits until all that was taken is sent.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(context),
        }
    }

    /// Sends all that was taken, and says that no more comes, where [`Socket::shutdown`] does not say by itself that this is in order.
    pub(crate) fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_close(context),
        }
    }

    /// Closes the half that goes out.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self.tcp()).shutdown(how)
    }

    /// Whatever becomes of it from here on, nothing says that this is in order.
    pub(crate) fn abort(&self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(tls) => tls.abort(),
        }
    }

    /// Makes closing it a reset: what the other side has got is not all.
    pub(crate) fn cut(&self) {
        self.abort();
        reset(self.tcp());
    }

    /// Waits until reading may give something.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_read_ready(context)).await
    }

    /// Says that no more comes, and closes the half that goes out.
    pub(crate) async fn close_half(&self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_close(context)).await?;
        self.shutdown(Shutdown::Write)
    }

    /// Reads what has come over TCP, whatever it is, and forgets it; 0 at the end.
    pub(crate) fn poll_discard(
        &self,
        context: &mut Context<'_>,
        held: &mut Option<Buffer>,
    ) -> Poll<io::Result<usize>> {
        let tcp = self.tcp();
        loop {
            ready!(tcp.poll_read_ready(context))?;
            match tcp.try_read(held.get_or_insert_with(Buffer::take).space()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *held = None,
                read => return Poll::Ready(read),
            }
        }
    }
}

/// See [`Socket::note_drained`].
pub(crate) fn note_drained(tcp: &TcpStream) {
    let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    let _nothing = tcp.try_io(Interest::READABLE, nothing);
}

/// Takes the first bytes, and says how many. More follows: a packet that they do not fill waits for that, or for the end.
pub(crate) fn try_send_more(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    tcp.try_io(Interest::WRITABLE, || {
        Ok(rustix::net::send(tcp, bytes, flags)?)
    })
}

/// Makes closing a connection a reset.
pub(crate) fn reset(tcp: &TcpStream) {
    // One that is gone needs none.
    let _gone = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

/// Writes all of it.
pub(crate) async fn write_all(tcp: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match tcp.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
