//! A connection behind its handshake: bytes in, bytes out, no socket.
//!
//! ```text
//!  from the socket ── Wire ── open in place ── copy ──► who reads
//!                               │ close_notify, KeyUpdate, NewSessionTicket
//!  to the socket ◄── Wire ◄──── seal ◄───────────────── who writes
//! ```

use std::ops::Range;

use rustls::{
    ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, client::ClientConnectionData,
    kernel::KernelConnection, server::ServerConnectionData,
};

use super::{
    alert::Alert,
    record::{CONTENT_MAX, Content, OVERHEAD_MAX, RecordKeys, UnknownSuite, record_length},
    wire::Wire,
};

/// Records without data that may follow each other: more are a waste of our time.
const WITHOUT_DATA_MAX: u8 = 32;
/// A message of a handshake's kind that comes when it is over: tickets are the longest.
const MESSAGE_MAX: usize = 1 << 16;

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;

/// What rustls keeps of a connection for new keys and tickets.
pub(super) enum Secrets {
    /// Of a client's connection to us.
    Server(KernelConnection<ServerConnectionData>),
    /// Of ours to a server.
    Client(KernelConnection<ClientConnectionData>),
}

impl Secrets {
    fn version(&self) -> ProtocolVersion {
        match self {
            Self::Server(kernel) => kernel.protocol_version(),
            Self::Client(kernel) => kernel.protocol_version(),
        }
    }

    fn next_out(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Self::Server(kernel) => kernel.update_tx_secret(),
            Self::Client(kernel) => kernel.update_tx_secret(),
        }
    }

    fn next_in(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Self::Server(kernel) => kernel.update_rx_secret(),
            Self::Client(kernel) => kernel.update_rx_secret(),
        }
    }
}

/// What a session has to say to who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// So many bytes of data, at least one.
    Data(usize),
    /// The other side has said that it sends no more.
    End,
    /// Nothing as long as no more comes over the connection.
    Nothing,
}

/// A connection behind its handshake.
pub(super) struct Session {
    secrets: Box<Secrets>,
    seal: RecordKeys,
    open: RecordKeys,
    incoming: Option<Incoming>,
    outgoing: Option<Wire>,
    /// The part that has come of a message that is longer than its record.
    message: Vec<u8>,
    without_data: u8,
    /// The other side asks for new keys of ours, or the old ones are worn.
    owes_keys: bool,
    has_ended: bool,
    is_closed: bool,
}

/// What has come: at the front of it data that is open already.
struct Incoming {
    wire: Wire,
    /// From the start of the wire on.
    data: Range<usize>,
    /// Where the first record begins that is not open.
    next: usize,
}

// === impl Session ===

impl Session {
    /// Takes over from rustls; `incoming` is what has come behind the handshake.
    pub(super) fn new(
        secrets: Secrets,
        ExtractedSecrets { tx, rx }: ExtractedSecrets,
        incoming: Wire,
    ) -> Result<Self, UnknownSuite> {
        let version = secrets.version();
        Ok(Self {
            seal: RecordKeys::new(version, tx)?,
            open: RecordKeys::new(version, rx)?,
            secrets: Box::new(secrets),
            incoming: Incoming::of(incoming),
            outgoing: None,
            message: Vec::new(),
            without_data: 0,
            owes_keys: false,
            has_ended: false,
            is_closed: false,
        })
    }

    /// Whether reading gives something without more from the socket.
    pub(super) fn has_more(&self) -> bool {
        self.has_ended
            || self.incoming.as_ref().is_some_and(|incoming| {
                !incoming.data.is_empty() || !matches!(record_length(incoming.unopened()), Ok(None))
            })
    }

    /// Copies data that has come into `to`, which is not empty, as much as one record has.
    pub(super) fn read(&mut self, to: &mut [u8]) -> Result<Opened, Alert> {
        loop {
            if let Some(incoming) = &mut self.incoming
                && let count @ 1.. = incoming.copy(to)
            {
                self.release();
                return Ok(Opened::Data(count));
            }
            if self.has_ended {
                self.incoming = None;
                return Ok(Opened::End);
            }
            if !self.open_one()? {
                self.release();
                return Ok(Opened::Nothing);
            }
        }
    }

    /// Opens the next record, if it is there whole.
    fn open_one(&mut self) -> Result<bool, Alert> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(false);
        };
        let Some(length) = record_length(incoming.unopened())? else {
            return Ok(false);
        };
        let at = incoming.next;
        let record = &mut incoming.wire.filled_mut()[at..at + length];
        let (content, range) = self.open.open(record)?;
        incoming.next += length;
        let range = at + range.start..at + range.end;
        if content == Content::Data && !range.is_empty() {
            if !self.message.is_empty() {
                // RFC 8446 section 5.1: nothing comes between the parts of a message.
                return Err(Alert::UnexpectedMessage);
            }
            self.without_data = 0;
            incoming.data = range;
            return Ok(true);
        }
        self.without_data += 1;
        if self.without_data > WITHOUT_DATA_MAX {
            return Err(Alert::UnexpectedMessage);
        }
        match content {
            Content::Data => {}
            Content::Alert => {
                let alert = <[u8; 2]>::try_from(&incoming.wire.filled()[range]);
                self.alerted(alert.map_err(|_length| Alert::DecodeError)?)?;
            }
            Content::Handshake => {
                let part = &incoming.wire.filled()[range];
                if part.is_empty() || self.message.len() + part.len() > MESSAGE_MAX {
                    return Err(Alert::UnexpectedMessage);
                }
                self.message.extend_from_slice(part);
                self.messages()?;
            }
            Content::ChangeCipherSpec => return Err(Alert::UnexpectedMessage),
        }
        Ok(true)
    }

    /// RFC 8446 section 6.
    fn alerted(&mut self, [level, code]: [u8; 2]) -> Result<(), Alert> {
        const WARNING: u8 = 1;
        match (level, code) {
            (_, 0) => {
                self.has_ended = true;
                Ok(())
            }
            // user_canceled, which a close_notify follows, and the warnings of TLS 1.2.
            (_, 90) => Ok(()),
            (WARNING, _) if !self.seal.is_tls13() => Ok(()),
            (_, _) => {
                // The other side has given up: it takes no answer.
                self.is_closed = true;
                Err(Alert::UnexpectedMessage)
            }
        }
    }

    /// What may come behind a handshake, RFC 8446 section 4.6. In TLS 1.2 that would be a renegotiation, which is none of ours.
    fn messages(&mut self) -> Result<(), Alert> {
        if !self.seal.is_tls13() {
            return Err(Alert::UnexpectedMessage);
        }
        let message = std::mem::take(&mut self.message);
        let mut left = &message[..];
        while let [kind, high, middle, low, rest @ ..] = left {
            let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            if length > MESSAGE_MAX {
                return Err(Alert::DecodeError);
            }
            let Some((body, behind)) = rest.split_at_checked(length) else {
                break;
            };
            self.message(*kind, body, behind.is_empty())?;
            left = behind;
        }
        self.message = left.to_vec();
        Ok(())
    }

    fn message(&mut self, kind: u8, body: &[u8], is_last: bool) -> Result<(), Alert> {
        match (kind, &mut *self.secrets) {
            (KEY_UPDATE, _) => {
                // What follows is under other keys, so nothing of the same record may.
                if !is_last {
                    return Err(Alert::UnexpectedMessage);
                }
                match body {
                    [0] => {}
                    [1] => self.owes_keys = true,
                    [_] => return Err(Alert::IllegalParameter),
                    _ => return Err(Alert::DecodeError),
                }
                let next = self.secrets.next_in();
                let next = next.map_err(|_exhausted| Alert::InternalError)?;
                self.open = RecordKeys::new(ProtocolVersion::TLSv1_3, next)
                    .map_err(|_unknown| Alert::InternalError)?;
                Ok(())
            }
            (NEW_SESSION_TICKET, Secrets::Client(kernel)) => kernel
                .handle_new_session_ticket(body)
                .map_err(|_malformed| Alert::DecodeError),
            _ => Err(Alert::UnexpectedMessage),
        }
    }

    /// Where more from the socket goes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let incoming = self.incoming.get_or_insert_with(|| Incoming {
            wire: Wire::take(),
            data: 0..0,
            next: 0,
        });
        incoming.space()
    }

    /// So many bytes were put into [`Session::space`]; none if no more is to come for now.
    pub(super) fn fill(&mut self, count: usize) {
        if let Some(incoming) = &mut self.incoming {
            incoming.wire.fill(count);
        }
        self.release();
    }

    /// Holds no buffer without need.
    fn release(&mut self) {
        if let Some(incoming) = &self.incoming
            && incoming.data.is_empty()
            && incoming.unopened().is_empty()
        {
            self.incoming = None;
        }
    }

    /// Seals as many bytes of both, one behind the other, as fit, and takes them off. Only to be called if nothing is [`unsent`].
    ///
    /// [`unsent`]: Session::unsent
    pub(super) fn write(&mut self, first: &mut &[u8], then: &mut &[u8]) -> Result<(), Closed> {
        debug_assert!(self.outgoing.is_none());
        if self.is_closed {
            return Err(Closed);
        }
        let mut wire = Wire::take();
        if self.owes_keys || self.seal.is_worn() && self.seal.is_tls13() {
            self.update(&mut wire)?;
        }
        while !(first.is_empty() && then.is_empty()) && wire.tail().len() > OVERHEAD_MAX {
            let room = (wire.tail().len() - OVERHEAD_MAX).min(CONTENT_MAX);
            let of_first = first.len().min(room);
            let of_then = then.len().min(room - of_first);
            // A short record at the end of the buffer, which more than this one would fill, is better one of the next.
            if room < CONTENT_MAX && of_first + of_then < first.len() + then.len() {
                break;
            }
            let parts = [&first[..of_first], &then[..of_then]];
            let sealed = self.seal.seal(Content::Data, parts, wire.tail());
            wire.fill(sealed.ok_or(Closed)?);
            *first = &first[of_first..];
            *then = &then[of_then..];
        }
        self.outgoing = Some(wire);
        Ok(())
    }

    /// New keys for what goes out, RFC 8446 section 4.6.3.
    fn update(&mut self, wire: &mut Wire) -> Result<(), Closed> {
        let told = [KEY_UPDATE, 0, 0, 1, 0];
        let sealed = self
            .seal
            .seal(Content::Handshake, [&told, b""], wire.tail());
        wire.fill(sealed.ok_or(Closed)?);
        let next = self.secrets.next_out().map_err(|_exhausted| Closed)?;
        self.seal = RecordKeys::new(ProtocolVersion::TLSv1_3, next).map_err(|_unknown| Closed)?;
        self.owes_keys = false;
        Ok(())
    }

    /// Whether the connection is one of ours to a server.
    pub(super) const fn is_client(&self) -> bool {
        matches!(*self.secrets, Secrets::Client(_))
    }

    /// Nothing more goes out, and nothing says so.
    pub(super) const fn abort(&mut self) {
        self.is_closed = true;
    }

    /// Seals a `close_notify`, behind which nothing more goes out.
    pub(super) fn close(&mut self) {
        self.last_words([1, 0]);
    }

    /// Seals an alert, behind which nothing more goes out.
    pub(super) fn fail(&mut self, alert: Alert) {
        self.incoming = None;
        self.last_words([2, alert.code()]);
    }

    fn last_words(&mut self, alert: [u8; 2]) {
        if self.is_closed {
            return;
        }
        self.is_closed = true;
        let wire = self.outgoing.get_or_insert_with(Wire::take);
        if wire.all_space().len() >= alert.len() + OVERHEAD_MAX {
            let sealed = self.seal.seal(Content::Alert, [&alert, b""], wire.tail());
            wire.fill(sealed.unwrap_or(0));
        }
    }

    /// What is sealed and not yet sent.
    pub(super) fn unsent(&self) -> &[u8] {
        self.outgoing.as_ref().map_or(b"", Wire::filled)
    }

    /// The first bytes of [`Session::unsent`] are.
    pub(super) fn sent(&mut self, count: usize) {
        if let Some(wire) = &mut self.outgoing {
            wire.consume(count);
            if wire.is_empty() {
                self.outgoing = None;
            }
        }
    }
}

/// Nothing more can be sent: the session is closed, or its keys are worn and the version has no new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

// === impl Incoming ===

impl Incoming {
    fn of(wire: Wire) -> Option<Self> {
        let is_some = !wire.is_empty();
        is_some.then_some(Self {
            wire,
            data: 0..0,
            next: 0,
        })
    }

    fn unopened(&self) -> &[u8] {
        &self.wire.filled()[self.next..]
    }

    fn copy(&mut self, to: &mut [u8]) -> usize {
        let count = self.data.len().min(to.len());
        let from = self.data.start;
        to[..count].copy_from_slice(&self.wire.filled()[from..from + count]);
        self.data.start += count;
        count
    }

    /// Where more goes, with as little as possible of what is done with.
    fn space(&mut self) -> &mut [u8] {
        let done = if self.data.is_empty() {
            self.next
        } else {
            self.data.start
        };
        self.wire.consume(done);
        self.data = if self.data.is_empty() {
            0..0
        } else {
            0..self.data.len()
        };
        self.next -= done;
        self.wire.all_space()
    }
}

#[cfg(test)]
mod tests;
