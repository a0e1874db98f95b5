use std::{
    cell::RefCell,
    fmt,
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::net::TcpStream;

use super::{
    record::CONTENT_MAX,
    session::{Opened, Session},
};
use crate::{
    proxy_protocol::{Extras, Tls},
    socket::{note_drained, try_send_more},
};

/// What a handshake has found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// As it is logged.
    pub(crate) version: &'static str,
    /// HTTP/2 was agreed on.
    pub(crate) is_http2: bool,
    /// The host that the client has asked for, in lower case.
    pub(crate) server_name: Option<Rc<str>>,
    /// What servers are told of the client's certificate, which was verified, as lines of a head.
    pub(crate) identity: Box<[u8]>,
    /// As in `TLS_AES_128_GCM_SHA256`; of clients only.
    pub(crate) cipher: Option<&'static str>,
    /// The client has shown a certificate, which was verified.
    pub(crate) has_certificate: bool,
    /// Of its subject.
    pub(crate) common_name: Option<Box<str>>,
}

impl Facts {
    /// What a header of the PROXY protocol says of it.
    pub(crate) fn extras(&self) -> Extras<'_> {
        let is_verified = self.has_certificate;
        Extras {
            alpn: self.is_http2.then_some(b"h2"),
            authority: self.server_name.as_deref(),
            unique_id: None,
            tls: Some(Tls {
                is_used: true,
                has_certificate: is_verified,
                has_certificate_in_session: is_verified,
                is_verified,
                version: Some(self.version),
                common_name: self.common_name.as_deref(),
                cipher: self.cipher,
                signature: None,
                key: None,
            }),
        }
    }
}

/// A TCP connection that carries TLS, behind its handshake. Reading and writing share its session, and neither holds it while it waits.
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    session: RefCell<Session>,
    pub(crate) facts: Facts,
}

impl TlsSocket {
    pub(super) fn new(tcp: TcpStream, session: RefCell<Session>, facts: Facts) -> Self {
        Self {
            tcp,
            session,
            facts,
        }
    }

    pub(crate) const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Waits until reading may give something.
    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session.borrow().has_more() {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(context)
    }

    /// Reads data that has come; 0 if the other side has said that there is no more. A connection that is closed without that is
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted): who closed it is not known.
    pub(crate) fn try_read(&self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let mut session = self.session.borrow_mut();
        loop {
            match session.read(to) {
                Ok(Opened::Data(count)) => return Ok(count),
                Ok(Opened::End) => return Ok(0),
                Ok(Opened::Nothing) => {}
                Err(alert) => {
                    session.fail(alert);
                    // As far as the socket takes it at once.
                    let _told = self.flush(&mut session);
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            let space = session.space();
            let room = space.len();
            match self.tcp.try_read(space) {
                Ok(0) => {
                    session.fill(0);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Ok(count) => {
                    session.fill(count);
                    if count < room {
                        note_drained(&self.tcp);
                    }
                }
                Err(error) => {
                    session.fill(0);
                    return Err(error);
                }
            }
        }
    }

    /// Sends what is sealed, as much as the socket takes: an error if it does not take all.
    fn flush(&self, session: &mut Session) -> io::Result<()> {
        self.flush_by(session, TcpStream::try_write)
    }

    fn flush_by(
        &self,
        session: &mut Session,
        send: impl Fn(&TcpStream, &[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while !session.unsent().is_empty() {
            match send(&self.tcp, session.unsent())? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => session.sent(count),
            }
        }
        Ok(())
    }

    /// Seals the first bytes of the parts, and says how many: as many as two records have, of two parts. Sends them as far as the socket
    /// takes them at once; what it does not is sent before anything is sealed again.
    pub(crate) fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.seal(parts, false)
    }

    /// The same for the last bytes of a connection, which is closed at once: `close_notify` and the end of TCP go out with them.
    pub(crate) fn try_write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        self.seal(&[IoSlice::new(bytes)], true)
    }

    fn seal(&self, parts: &[IoSlice<'_>], is_last: bool) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        self.flush(&mut session)?;
        let mut parts = parts.iter().filter(|part| !part.is_empty());
        let mut next = || parts.next().map_or(&b""[..], |part| part);
        let (mut first, mut then) = (next(), next());
        let offered = first.len() + then.len();
        let sealed = session.write(&mut first, &mut then);
        sealed.map_err(|_closed| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let count = offered - first.len() - then.len();
        // Behind one record there is room for it.
        let flushed = if is_last && count == offered && count <= CONTENT_MAX {
            session.close();
            self.flush_by(&mut session, try_send_more)
        } else {
            self.flush(&mut session)
        };
        match flushed {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(count),
        }
    }

    /// Waits until all that is sealed is sent.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let flushed = self.flush(&mut self.session.borrow_mut());
            match flushed {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(context))?;
                }
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    /// Says that nothing more is sent, RFC 8446 section 6.1, and waits until that is.
    pub(crate) fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().close();
        self.poll_flush(context)
    }

    /// Nothing more is sent, not even that this is in order.
    pub(crate) fn abort(&self) {
        self.session.borrow_mut().abort();
    }
}

impl Drop for TlsSocket {
    /// A server is told that no more requests come. A client is not: what it has got may lack its end, and who knows that it does not
    /// has told it so.
    fn drop(&mut self) {
        let mut session = self.session.borrow_mut();
        if session.is_client() {
            session.close();
            // One that takes nothing hears nothing.
            let _told = self.flush(&mut session);
        }
    }
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("TlsSocket")
            .field("tcp", &self.tcp)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}
