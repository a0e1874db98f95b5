//! BFD goes over while both agents run: the old one repeats what its sessions said until the new one speaks for them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use lbfabric_routing::{HandedBfd, HandedBfdSession};
use tokio::time::timeout;

use super::{BFD, Successor};

/// How long the other agent may take to start a thread.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Successor ===

impl Successor {
    /// Gives it BFD, if it knows what that is. It goes on with it once all else has been given.
    pub(crate) fn give_bfd(&mut self, handed: &HandedBfd) -> io::Result<()> {
        let HandedBfd {
            receivers,
            sessions,
        } = handed;
        if !self.knows_bfd {
            return Ok(());
        }
        self.send(BFD, receivers.iter().map(AsFd::as_fd))?;
        let sessions = sessions.iter();
        let known: Vec<_> = sessions
            .map(|it| (it.socket.as_fd(), it.facts.to_string()))
            .collect();
        self.give_sessions(&known)
    }

    /// Waits until it goes on with BFD.
    pub(crate) async fn runs_bfd(self) -> io::Result<Self> {
        if self.knows_bfd {
            timeout(PATIENCE, self.wants(BFD)).await?
        } else {
            Ok(self)
        }
    }
}

/// BFD without sessions yet.
pub(super) fn handed(receivers: Vec<OwnedFd>) -> HandedBfd {
    HandedBfd {
        receivers: receivers.into_iter().map(Into::into).collect(),
        sessions: Vec::new(),
    }
}

/// Sessions of sockets, each with a line of what is known of it.
pub(super) fn sessions(files: Vec<OwnedFd>, facts: &str) -> io::Result<Vec<HandedBfdSession>> {
    let session = |(facts, file): (&str, OwnedFd)| {
        Ok(HandedBfdSession {
            socket: file.into(),
            facts: facts.parse().map_err(io::Error::other)?,
        })
    };
    facts.lines().zip(files).map(session).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::UdpSocket,
        os::unix::net::UnixListener,
        thread,
    };

    use super::{
        super::{DONE, Offer, REQUEST, REQUEST_WITHOUT_BFD, socket_path, take_over},
        *,
    };

    fn bfd(sessions: usize) -> HandedBfd {
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let session = |number| {
            HandedBfdSession {
            socket: socket(),
            facts: format!(
                "2 192.0.2.1 192.0.2.254:3784 255 {} 50000 50000 3 false false 9 3 50000 50000 3 false",
                number + 1
            )
            .parse()
            .expect("facts"),
        }
        };
        HandedBfd {
            receivers: [(); 4].map(|()| socket()).into(),
            sessions: (0..sessions).map(session).collect(),
        }
    }

    fn seen(bfd: &HandedBfd) -> Vec<String> {
        let port = |it: &UdpSocket| it.local_addr().expect("it is bound").port();
        let receivers = bfd.receivers.iter().map(|it| port(it).to_string());
        let session = |it: &HandedBfdSession| format!("{} {}", port(&it.socket), it.facts);
        receivers.chain(bfd.sessions.iter().map(session)).collect()
    }

    #[tokio::test]
    async fn bfd_goes_over_and_the_old_agent_hears_when_it_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let offer = Offer::open(folder.path()).expect("an offer");
        let path = folder.path().to_owned();
        let taken = thread::spawn(move || take_over(&path));
        let mut successor = offer.asked().await;
        // More than one message takes.
        let given = bfd(super::super::LISTENERS_MAX + 7);
        successor.give_bfd(&given).expect("it takes it");
        successor.finish().expect("it hears it");
        let taken = taken.join().expect("no panic").expect("taken over");
        let mut predecessor = taken.predecessor;
        assert_eq!(seen(&taken.bfd.expect("it came")), seen(&given));
        let mut running = Box::pin(successor.runs_bfd());
        let early = timeout(Duration::from_millis(50), &mut running).await;
        assert!(early.is_err(), "nobody has said so");
        predecessor.tell_bfd_runs().expect("it hears it");
        running.await.expect("it has heard it");
    }

    #[tokio::test]
    async fn an_agent_of_the_first_version_is_given_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let offer = Offer::open(folder.path()).expect("an offer");
        let path = socket_path(folder.path());
        let other = thread::spawn(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path)?;
            stream.write_all(REQUEST_WITHOUT_BFD)?;
            let mut heard = [0];
            stream.read_exact(&mut heard).map(|()| heard)
        });
        let mut successor = offer.asked().await;
        successor.give_bfd(&bfd(1)).expect("it is not told");
        successor.finish().expect("it hears it");
        successor.runs_bfd().await.expect("nothing is waited for");
        let heard = other.join().expect("no panic").expect("it is told");
        assert_eq!(heard, [DONE]);
    }

    #[test]
    fn an_agent_of_the_first_version_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(socket_path(folder.path())).expect("an address");
        // It hangs up on what it does not know.
        let old = thread::spawn(move || {
            for known in [REQUEST, REQUEST_WITHOUT_BFD] {
                let (mut stream, _) = listener.accept().expect("it is asked");
                let mut request = [0; REQUEST.len()];
                stream.read_exact(&mut request).expect("it asks");
                assert_eq!(request, known);
                if request == REQUEST_WITHOUT_BFD {
                    stream.write_all(&[DONE]).expect("it hears it");
                }
            }
        });
        let taken = take_over(folder.path()).expect("taken over");
        assert!(taken.bfd.is_none());
        old.join().expect("no panic");
    }
}
