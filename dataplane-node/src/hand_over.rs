//! One agent takes the place of another that still runs, over a socket in the state folder that both use:
//!
//! ```text
//! new agent                                  old agent
//!   ── "lbfabric hand over 2\n" ──►            stops following, probing, writing; takes no more connections
//!   ◄── 'L' with listeners, as often as needed
//!   ◄── 'B' with sockets and so many 'S' with sessions as it needs, if BFD runs
//!   ◄── '.' ─────────────────────              has let go of the state folder; finishes its connections, relays datagrams
//!   ── 'B' ──────────────────────►             if BFD came, once the new one goes on with it: its packets are repeated until then
//!   ── 'D' ──────────────────────►             once the new one has its configuration
//!   ◄── 'R' with a socket, each with so many 'S' with sessions as it needs
//!   ◄── '.' ─────────────────────
//!   ── end ──────────────────────►             once the new one gives connections to the listeners; ends with its last connection
//! ```
//!
//! Version 1 has no BFD. A new agent falls back to it, and an old one understands both.
//!
//! Programs and maps are pinned, and go on by themselves. Connections and datagrams that come in between wait in the sockets.

use std::{
    fs, io,
    io::{IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use lbfabric_proxy::{HandedRelay, HandedSession};
use lbfabric_routing::HandedBfd;
use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use tokio::{io::AsyncReadExt as _, net::UnixListener};
use tracing::warn;

use crate::chain::Chain;

mod bfd;

const REQUEST: &[u8] = b"lbfabric hand over 2\n";
/// That of agents that do not give BFD.
const REQUEST_WITHOUT_BFD: &[u8] = b"lbfabric hand over 1\n";
const LISTENERS: u8 = b'L';
const BFD: u8 = b'B';
const DATAGRAMS: u8 = b'D';
const RELAY: u8 = b'R';
const SESSIONS: u8 = b'S';
const DONE: u8 = b'.';
/// Bytes of what is said of sessions that come at once, far more than there are.
const FACTS_MAX: u32 = 1 << 20;
/// As many as the kernel passes at once, `SCM_MAX_FD`.
const LISTENERS_MAX: usize = 253;
/// How long either side waits for the other. The old agent may be in the middle of a change.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a caller may take to say what it wants.
const REQUEST_PATIENCE: Duration = Duration::from_secs(1);

/// Where an agent is asked to hand over. The file goes with it, unless the next agent has put its own there.
#[derive(Debug)]
pub(crate) struct Offer {
    listener: UnixListener,
}

/// The agent that takes over.
#[derive(Debug)]
pub(crate) struct Successor {
    stream: UnixStream,
    knows_bfd: bool,
}

/// What the agent before this one gives at once.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) listeners: Vec<TcpListener>,
    /// To be told at once that it is gone on with ([`Predecessor::tell_bfd_runs`]).
    pub(crate) bfd: Option<HandedBfd>,
    pub(crate) predecessor: Predecessor,
}

/// The agent before this one, which relays datagrams until it is asked for them, and has connections given to its listeners as long as there
/// is this.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: UnixStream,
    /// It has been asked for what relays datagrams.
    is_asked: bool,
}

/// Nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverFailed {
    /// The agent that runs does not offer it, or is just ending.
    #[error("connect to the agent that runs at {path}")]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has ended in the middle, or does not answer.
    #[error("the agent that runs does not hand over")]
    Broken(#[source] io::Error),
}

fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("hand-over")
}

// === impl Offer ===

impl Offer {
    /// In a state folder that is the agent's own.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = socket_path(state_dir);
        // One that an agent before this has left: it has ended.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener })
    }

    /// Waits until another agent wants to take over.
    pub(crate) async fn asked(&self) -> Successor {
        loop {
            let asked = self.listener.accept().await;
            let asked = asked.and_then(|(stream, _)| stream.into_std());
            let heard = asked.map(|stream| tokio::task::spawn_blocking(|| Successor::hear(stream)));
            match heard {
                Ok(heard) => match heard.await {
                    Ok(Ok(successor)) => return successor,
                    Ok(Err(error)) => {
                        warn!(error = %Chain(&error), "who asked to take over is not understood");
                    }
                    Err(error) => warn!(error = %Chain(&error), "who asked to take over"),
                },
                Err(error) => {
                    warn!(error = %Chain(&error), "no other agent can take over");
                    tokio::time::sleep(REQUEST_PATIENCE).await;
                }
            }
        }
    }
}

// === impl Successor ===

impl Successor {
    fn hear(mut stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(REQUEST_PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut request = [0; REQUEST.len()];
        stream.read_exact(&mut request)?;
        let knows_bfd = request == REQUEST;
        if knows_bfd || request == REQUEST_WITHOUT_BFD {
            return Ok(Self { stream, knows_bfd });
        }
        let other = String::from_utf8_lossy(&request).into_owned();
        Err(io::Error::new(io::ErrorKind::InvalidData, other))
    }

    /// Gives it the listeners.
    pub(crate) fn give(&mut self, listeners: &[TcpListener]) -> io::Result<()> {
        for part in listeners.chunks(LISTENERS_MAX) {
            self.send(LISTENERS, part.iter().map(AsFd::as_fd))?;
        }
        Ok(())
    }

    /// A message with files.
    fn send<'a>(&self, message: u8, files: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
        let files: Vec<_> = files.collect();
        let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(LISTENERS_MAX))];
        let mut beside = SendAncillaryBuffer::new(&mut room);
        assert!(
            beside.push(SendAncillaryMessage::ScmRights(&files)),
            "there is room"
        );
        let message = [message];
        let bytes = [IoSlice::new(&message)];
        sendmsg(&self.stream, &bytes, &mut beside, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Tells it that all is its own from now on, but for what relays datagrams.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.stream.write_all(&[DONE])
    }

    /// Waits until it wants what relays datagrams; an error if it has gone without.
    pub(crate) async fn wants_datagrams(self) -> io::Result<Self> {
        self.wants(DATAGRAMS).await
    }

    /// Waits until it says that.
    async fn wants(self, message: u8) -> io::Result<Self> {
        let Self { stream, knows_bfd } = self;
        stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let heard = stream.read_u8().await?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        if heard == message {
            Ok(Self { stream, knows_bfd })
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// Waits until it has all that it needs.
    pub(crate) async fn wants_nothing(self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(self.stream)?;
        match stream.read(&mut [0]).await? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Gives it that.
    pub(crate) fn give_datagrams(&mut self, relays: &[HandedRelay]) -> io::Result<()> {
        for HandedRelay { socket, sessions } in relays {
            self.send(RELAY, std::iter::once(socket.as_fd()))?;
            let sessions = sessions.iter();
            let known: Vec<_> = sessions
                .map(|it| (it.socket.as_fd(), it.facts.to_string()))
                .collect();
            self.give_sessions(&known)?;
        }
        self.stream.write_all(&[DONE])
    }

    /// Sockets, each with a line of what is known of it.
    fn give_sessions(&mut self, known: &[(BorrowedFd<'_>, String)]) -> io::Result<()> {
        for part in known.chunks(LISTENERS_MAX) {
            self.send(SESSIONS, part.iter().map(|(socket, _)| *socket))?;
            let facts: Vec<_> = part.iter().map(|(_, facts)| facts.as_str()).collect();
            let lines = facts.join("\n");
            let length = u32::try_from(lines.len()).map_err(io::Error::other)?;
            self.stream.write_all(&length.to_be_bytes())?;
            self.stream.write_all(lines.as_bytes())?;
        }
        Ok(())
    }
}

// === impl Predecessor ===

impl Predecessor {
    /// Tells it that its BFD is gone on with.
    pub(crate) fn tell_bfd_runs(&mut self) -> io::Result<()> {
        self.stream.write_all(&[BFD])
    }

    /// What it relays datagrams with, and does not any more; it gives it once.
    pub(crate) fn datagrams(&mut self) -> io::Result<Vec<HandedRelay>> {
        let mut relays: Vec<HandedRelay> = Vec::new();
        if std::mem::replace(&mut self.is_asked, true) {
            return Ok(relays);
        }
        self.stream.write_all(&[DATAGRAMS])?;
        loop {
            let (message, mut files) = part(&self.stream)?;
            match (message, relays.last_mut()) {
                (Some(RELAY), _) => relays.push(HandedRelay {
                    socket: files.pop().ok_or(io::ErrorKind::InvalidData)?.into(),
                    sessions: Vec::new(),
                }),
                (Some(SESSIONS), Some(relay)) => {
                    let facts = facts(&self.stream)?;
                    let sessions = facts.lines().zip(files).map(|(facts, file)| {
                        let facts = facts.parse().map_err(io::Error::other)?;
                        let socket = file.into();
                        Ok(HandedSession { socket, facts })
                    });
                    relay
                        .sessions
                        .extend(sessions.collect::<io::Result<Vec<_>>>()?);
                }
                (Some(DONE), _) => return Ok(relays),
                (Some(_), _) => return Err(io::ErrorKind::InvalidData.into()),
                (None, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

/// Takes the place of the agent that runs with a state folder, and gives what it listened with. It has let go of the folder then.
pub(crate) fn take_over(state_dir: &Path) -> Result<Taken, HandOverFailed> {
    let path = socket_path(state_dir);
    let connect = || {
        let path = path.clone();
        let stream = UnixStream::connect(&path);
        stream.map_err(|source| HandOverFailed::Connect { path, source })
    };
    match receive(connect()?, REQUEST) {
        // It does not know that, and has given nothing away.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
            receive(connect()?, REQUEST_WITHOUT_BFD)
        }
        taken => taken,
    }
    .map_err(HandOverFailed::Broken)
}

fn receive(mut stream: UnixStream, request: &[u8]) -> io::Result<Taken> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut listeners = Vec::new();
    let mut bfd: Option<HandedBfd> = None;
    let mut is_first = true;
    loop {
        let (message, files) = match part(&stream) {
            Ok((None, _)) if is_first => return Err(io::ErrorKind::ConnectionAborted.into()),
            part => part?,
        };
        is_first = false;
        match (message, &mut bfd) {
            (Some(LISTENERS), _) => listeners.extend(files.into_iter().map(TcpListener::from)),
            (Some(BFD), _) => bfd = Some(bfd::handed(files)),
            (Some(SESSIONS), Some(bfd)) => {
                bfd.sessions.extend(bfd::sessions(files, &facts(&stream)?)?);
            }
            (Some(DONE), _) => {
                let is_asked = false;
                let predecessor = Predecessor { stream, is_asked };
                return Ok(Taken {
                    listeners,
                    bfd,
                    predecessor,
                });
            }
            (Some(_), _) => return Err(io::ErrorKind::InvalidData.into()),
            (None, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// What is known of sessions whose sockets have come, line by line.
fn facts(mut stream: &UnixStream) -> io::Result<String> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > FACTS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut facts = vec![0; length as usize];
    stream.read_exact(&mut facts)?;
    String::from_utf8(facts).map_err(io::Error::other)
}

/// One byte, with what files come beside it; none at the end.
fn part(stream: &UnixStream) -> io::Result<(Option<u8>, Vec<OwnedFd>)> {
    let mut byte = [0];
    let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(LISTENERS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut room);
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let received = recvmsg(stream, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for control in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = control {
            files.extend(rights);
        }
    }
    Ok(((received.bytes > 0).then_some(byte[0]), files))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpStream, UdpSocket},
        thread,
    };

    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        (listener, address)
    }

    #[tokio::test]
    async fn listeners_go_over_with_what_waits_in_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let offer = Offer::open(folder.path()).expect("an offer");
        // More than one message takes.
        let all: Vec<_> = (0..=LISTENERS_MAX).map(|_| listener()).collect();
        let addresses: Vec<_> = all.iter().map(|(_, address)| *address).collect();
        let waiting = TcpStream::connect(addresses[LISTENERS_MAX]).expect("it listens");
        let path = folder.path().to_owned();
        let taken = thread::spawn(move || take_over(&path));
        let mut successor = offer.asked().await;
        let listeners: Vec<_> = all.into_iter().map(|(listener, _)| listener).collect();
        successor.give(&listeners).expect("it takes them");
        drop(listeners);
        successor.finish().expect("it hears it");
        let taken = taken.join().expect("no panic").expect("taken over");
        assert!(taken.bfd.is_none(), "there was none");
        let mut predecessor = taken.predecessor;
        let taken = taken.listeners;
        let of_taken = taken.iter().map(|it| it.local_addr().expect("it is bound"));
        assert_eq!(of_taken.collect::<Vec<_>>(), addresses);
        let (_, from) = taken[LISTENERS_MAX].accept().expect("it waits");
        assert_eq!(from, waiting.local_addr().expect("it is connected"));

        // Of sessions, too, more than one message takes.
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let session = |number: u16| HandedSession {
            socket: socket(),
            facts: format!("192.0.2.1:{number} 192.0.2.2 192.0.2.3:4 5 6 - 7 8 9 10")
                .parse()
                .expect("facts"),
        };
        let count = u16::try_from(LISTENERS_MAX).expect("few") + 7;
        let relays = [(); 2].map(|()| HandedRelay {
            socket: socket(),
            sessions: (0..count).map(session).collect(),
        });
        let asked = thread::spawn(move || predecessor.datagrams().map(|it| (it, predecessor)));
        let mut successor = successor.wants_datagrams().await.expect("it wants them");
        successor.give_datagrams(&relays).expect("it takes them");
        let (got, predecessor) = asked.join().expect("no panic").expect("they come");
        let facts = |relays: &[HandedRelay]| -> Vec<_> {
            let sessions = relays.iter().flat_map(|it| &it.sessions);
            let addresses = sessions.map(|it| (it.socket.local_addr().ok(), it.facts));
            addresses.collect()
        };
        assert_eq!(facts(&got), facts(&relays));
        assert_eq!(got[1].sessions.len(), usize::from(count));

        let mut waiting = Box::pin(successor.wants_nothing());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(early.is_err(), "the other one is still there");
        drop(predecessor);
        waiting.await.expect("it has gone");
    }

    #[tokio::test]
    async fn who_asks_for_something_else_gets_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let offer = Offer::open(folder.path()).expect("an offer");
        let path = socket_path(folder.path());
        let stranger = thread::spawn(move || {
            let mut stream = UnixStream::connect(path).expect("it listens");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|_| answer)
        });
        let waits = tokio::time::timeout(Duration::from_millis(500), offer.asked()).await;
        assert!(waits.is_err(), "{waits:?}");
        drop(offer);
        let heard = stranger.join().expect("no panic");
        assert!(!heard.is_ok_and(|answer| !answer.is_empty()));
    }

    #[test]
    fn without_an_agent_there_is_nothing_to_take_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let failed = take_over(folder.path()).expect_err("nobody is there");
        assert!(matches!(failed, HandOverFailed::Connect { .. }), "{failed}");
    }
}
