//! Rustls' handshake over a socket. Rustls sees one record at a time, so that nothing behind the handshake gets into it: that is the
//! session's.

use std::{cell::RefCell, io, rc::Rc, sync::Arc};

use rustls::{
    ClientConfig, ProtocolVersion, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus},
};
use tokio::net::TcpStream;

use super::{
    alert::Alert,
    cipher::cipher,
    identity::{IdentityFields, common_name},
    preference::prefers_chacha,
    record::{UnknownSuite, record_length},
    resolver,
    session::{Secrets, Session},
    socket::{Facts, TlsSocket},
    wire::{HANDSHAKE_BYTES, Wire},
};
use crate::socket::write_all;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// What the other side says is not TLS, or not what we agree to.
    #[error("the handshake fails")]
    Refused(#[source] rustls::Error),
    /// The client names no host that there is a certificate for.
    #[error("there is no certificate for the name that the client asks for")]
    UnknownName,
    /// The connection fails, or is closed before the end.
    #[error("the connection fails in its handshake")]
    Broken(#[source] io::Error),
    /// The server has to speak HTTP/2, and does not.
    #[error("the server does not agree to HTTP/2")]
    NoHttp2,
    /// It takes too long.
    #[error("the handshake takes too long")]
    Late,
    /// No keys of ours go with what was agreed on.
    #[error(transparent)]
    UnknownSuite(#[from] UnknownSuite),
}

enum Side {
    /// Until the client's first record is there.
    Undecided(Arc<Choices>),
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What a service does with its clients, by what they would rather have.
#[derive(Debug)]
pub(super) struct Choices {
    /// The cipher that we prefer.
    pub(super) ours: Arc<ServerConfig>,
    /// The cipher that the client prefers.
    pub(super) theirs: Arc<ServerConfig>,
}

/// What a handshake needs next.
enum Step {
    /// To be asked again.
    Again,
    /// Another record.
    Record,
    /// Nothing: it is over.
    Done,
}

/// A handshake on its way. It has what came and what is to be sent; who drives it has the socket.
pub(super) struct Handshake {
    side: Side,
    incoming: Wire,
    /// So much of it has rustls seen.
    shown: usize,
    outgoing: Vec<u8>,
    asked: Option<resolver::Asked>,
}

/// What [`Handshake::advance`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    More,
    Nothing,
}

impl Handshake {
    pub(super) fn server(choices: Arc<Choices>) -> Self {
        Self::new(Side::Undecided(choices))
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let connection = UnbufferedClientConnection::new(config, name);
        Ok(Self::new(Side::Client(
            connection.map_err(HandshakeError::Refused)?,
        )))
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            incoming: Wire::take(),
            shown: 0,
            outgoing: Vec::new(),
            asked: None,
        }
    }

    /// Where more from the other side goes; never empty.
    pub(super) fn space(&mut self) -> Result<&mut [u8], HandshakeError> {
        if self.incoming.all_space().is_empty() {
            self.incoming.grow(HANDSHAKE_BYTES);
        }
        let space = self.incoming.all_space();
        if space.is_empty() {
            let error = rustls::Error::InvalidMessage(rustls::InvalidMessage::MessageTooLarge);
            return Err(HandshakeError::Refused(error));
        }
        Ok(space)
    }

    /// So many bytes were put into [`Handshake::space`].
    pub(super) fn fill(&mut self, count: usize) {
        self.incoming.fill(count);
    }

    /// What is to be sent before anything is waited for, also if [`Handshake::advance`] has failed.
    pub(super) fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Goes on with what has come.
    pub(super) fn advance(&mut self) -> Result<Wants, HandshakeError> {
        if let Side::Undecided(choices) = &self.side {
            let first = self.incoming.filled();
            if record_length(first) == Ok(None) {
                return Ok(Wants::More);
            }
            let config = if prefers_chacha(first) {
                &choices.theirs
            } else {
                &choices.ours
            };
            let server = UnbufferedServerConnection::new(config.clone());
            self.side = Side::Server(server.map_err(HandshakeError::Refused)?);
        }
        loop {
            let incoming = &mut self.incoming.filled_mut()[..self.shown];
            let (discard, step) = self.side.step(incoming, &mut self.outgoing);
            if let Some(asked) = resolver::take_asked() {
                self.asked = Some(asked);
            }
            self.incoming.consume(discard);
            self.shown -= discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Done) => return Ok(Wants::Nothing),
                Ok(Step::Record) => {
                    match record_length(&self.incoming.filled()[self.shown..]) {
                        Ok(Some(length)) => self.shown += length,
                        Ok(None) => return Ok(Wants::More),
                        // Rustls knows how to say so.
                        Err(_malformed) => self.shown = self.incoming.filled().len(),
                    }
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Takes rustls' alert, which says what a client can know of an unknown name, RFC 6066 section 3.
    fn failed(&mut self, error: rustls::Error) -> HandshakeError {
        let begin = self.outgoing.len();
        // The alert is the last that it has, in clear text or sealed. Who asks once more shows it again what it has refused.
        let mut at = begin;
        loop {
            let incoming = &mut self.incoming.filled_mut()[..self.shown];
            let _told = self.side.step(incoming, &mut self.outgoing);
            match self.outgoing.get(at) {
                None | Some(21 | 23) => break,
                Some(_) => at = self.outgoing.len(),
            }
        }
        if self.asked.as_ref().is_none_or(|asked| asked.is_known) {
            return HandshakeError::Refused(error);
        }
        // In clear text, as no key is agreed on.
        if let [21, 3, _, 0, 2, 2, code] = &mut self.outgoing[begin..] {
            *code = Alert::UnrecognizedName.code();
        }
        HandshakeError::UnknownName
    }

    /// The session behind it, once it wants nothing more. `identity` is for what is known of a client.
    pub(super) fn finish(
        self,
        identity: Option<&IdentityFields>,
    ) -> Result<(Session, Facts), HandshakeError> {
        let (alpn, certificates, version) = match &self.side {
            Side::Undecided(_) => (None, None, None),
            Side::Server(it) => (
                it.alpn_protocol(),
                it.peer_certificates(),
                it.protocol_version(),
            ),
            Side::Client(it) => (
                it.alpn_protocol(),
                it.peer_certificates(),
                it.protocol_version(),
            ),
        };
        let mut facts = Facts {
            version: match version {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                // No other one is spoken.
                Some(_) | None => "",
            },
            is_http2: alpn == Some(b"h2"),
            server_name: self.asked.and_then(|asked| asked.name).map(Rc::from),
            ..Facts::default()
        };
        if let Side::Server(server) = &self.side {
            facts.cipher = cipher(server);
        }
        if let (Some(fields), Some([first, ..])) = (identity, certificates) {
            facts.identity = fields.lines(first);
            facts.has_certificate = true;
            facts.common_name = common_name(first);
        }
        let (secrets, kept) = match self.side {
            Side::Undecided(_) => {
                return Err(HandshakeError::Refused(rustls::Error::HandshakeNotComplete));
            }
            Side::Server(server) => {
                let (secrets, kernel) = server
                    .dangerous_into_kernel_connection()
                    .map_err(HandshakeError::Refused)?;
                (secrets, Secrets::Server(kernel))
            }
            Side::Client(client) => {
                let (secrets, kernel) = client
                    .dangerous_into_kernel_connection()
                    .map_err(HandshakeError::Refused)?;
                (secrets, Secrets::Client(kernel))
            }
        };
        Ok((Session::new(kept, secrets, self.incoming)?, facts))
    }
}

// === impl Side ===

impl Side {
    fn step(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
    ) -> (usize, Result<Step, rustls::Error>) {
        match self {
            Self::Undecided(_) => (0, Ok(Step::Record)),
            Self::Server(server) => step(server.process_tls_records(incoming), out),
            Self::Client(client) => step(client.process_tls_records(incoming), out),
        }
    }
}

/// One of rustls' states: how much of what was shown is done with, and what is next.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { discard, state } = status;
    let state = match state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error)),
    };
    let step = match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let at = out.len();
            let needed = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    required_size
                }
                Ok(_) | Err(EncodeError::AlreadyEncoded) => 0,
            };
            out.resize(at + needed, 0);
            let encoded = data.encode(&mut out[at..]);
            debug_assert!(needed == 0 || encoded.is_ok_and(|length| length == needed));
            Ok(Step::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            // Ours from here on.
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Record),
        ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        ConnectionState::PeerClosed | ConnectionState::Closed => {
            Err(rustls::Error::General("closed in the handshake".to_owned()))
        }
        ConnectionState::ReadTraffic(_) | ConnectionState::ReadEarlyData(_) | _ => {
            Err(rustls::Error::General("data in the handshake".to_owned()))
        }
    };
    (discard, step)
}

/// Does a handshake over a connection; the connection comes back if there is none, with an alert sent.
pub(super) async fn drive(
    tcp: TcpStream,
    mut handshake: Handshake,
    identity: Option<&IdentityFields>,
) -> Result<TlsSocket, (TcpStream, HandshakeError)> {
    let done = run(&tcp, &mut handshake).await;
    match done.and_then(|()| handshake.finish(identity)) {
        Ok((session, facts)) => Ok(TlsSocket::new(tcp, RefCell::new(session), facts)),
        Err(error) => Err((tcp, error)),
    }
}

async fn run(tcp: &TcpStream, handshake: &mut Handshake) -> Result<(), HandshakeError> {
    loop {
        let advanced = handshake.advance();
        let outgoing = handshake.take_outgoing();
        let sent = write_all(tcp, &outgoing).await;
        match advanced? {
            Wants::Nothing => return sent.map_err(HandshakeError::Broken),
            Wants::More => sent.map_err(HandshakeError::Broken)?,
        }
        read(tcp, handshake).await?;
    }
}

async fn read(tcp: &TcpStream, handshake: &mut Handshake) -> Result<(), HandshakeError> {
    loop {
        match tcp.try_read(handshake.space()?) {
            Ok(0) => {
                let error = io::ErrorKind::UnexpectedEof.into();
                return Err(HandshakeError::Broken(error));
            }
            Ok(count) => {
                handshake.fill(count);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tcp.readable().await.map_err(HandshakeError::Broken)?;
            }
            Err(error) => return Err(HandshakeError::Broken(error)),
        }
    }
}
