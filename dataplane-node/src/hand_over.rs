//! One agent takes the place of another that still runs, over a socket in the state folder that both use:
//!
//! ```text
//! new agent                                  old agent
//!   ── "lbfabric hand over 1\n" ──►            stops following, probing, writing; takes no more connections
//!   ◄── 'L' with listeners, as often as needed
//!   ◄── '.' ─────────────────────              has let go of the state folder; finishes its connections, and ends
//! ```
//!
//! Programs and maps are pinned, and go on by themselves. Connections that come in between wait in the listeners.

use std::{
    fs, io,
    io::{IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use tokio::net::UnixListener;
use tracing::warn;

use crate::chain::Chain;

const REQUEST: &[u8] = b"lbfabric hand over 1\n";
const LISTENERS: u8 = b'L';
const DONE: u8 = b'.';
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
pub(crate) struct Successor(UnixStream);

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
        if request != REQUEST {
            let other = String::from_utf8_lossy(&request).into_owned();
            return Err(io::Error::new(io::ErrorKind::InvalidData, other));
        }
        Ok(Self(stream))
    }

    /// Gives it the listeners.
    pub(crate) fn give(&mut self, listeners: &[TcpListener]) -> io::Result<()> {
        for part in listeners.chunks(LISTENERS_MAX) {
            let files: Vec<_> = part.iter().map(AsFd::as_fd).collect();
            let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(LISTENERS_MAX))];
            let mut beside = SendAncillaryBuffer::new(&mut room);
            assert!(
                beside.push(SendAncillaryMessage::ScmRights(&files)),
                "there is room"
            );
            let bytes = [IoSlice::new(&[LISTENERS])];
            sendmsg(&self.0, &bytes, &mut beside, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Tells it that all is its own from now on.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.0.write_all(&[DONE])
    }
}

/// Takes the place of the agent that runs with a state folder, and gives what it listened with. It has let go of the folder then.
pub(crate) fn take_over(state_dir: &Path) -> Result<Vec<TcpListener>, HandOverFailed> {
    let path = socket_path(state_dir);
    let stream = UnixStream::connect(&path);
    let stream = stream.map_err(|source| HandOverFailed::Connect { path, source })?;
    receive(stream).map_err(HandOverFailed::Broken)
}

fn receive(mut stream: UnixStream) -> io::Result<Vec<TcpListener>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut listeners = Vec::new();
    loop {
        let (message, files) = part(&stream)?;
        listeners.extend(files.into_iter().map(TcpListener::from));
        match message {
            Some(LISTENERS) => {}
            Some(DONE) => return Ok(listeners),
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
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
        net::{SocketAddr, TcpStream},
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
        let of_taken = taken.iter().map(|it| it.local_addr().expect("it is bound"));
        assert_eq!(of_taken.collect::<Vec<_>>(), addresses);
        let (_, from) = taken[LISTENERS_MAX].accept().expect("it waits");
        assert_eq!(from, waiting.local_addr().expect("it is connected"));
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
