//! Real connections through the load balancer. Client and server are both in the peer's namespace: what the client sends
//! to a VIP leaves through the veth, and comes back for the server.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    fixture::{DEADLINE, Fixture},
    namespace::{Namespace, run},
};

/// Longer than the kernel takes to repeat a SYN twice.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Both ends of a connection.
pub(crate) struct Conversation {
    client: TcpStream,
    server: TcpStream,
    /// Whom the server sees.
    pub(crate) seen: IpAddr,
}

impl Conversation {
    /// From this thread's namespace, whose listener is the server. The client has said a word.
    fn open(listener: &TcpListener, to: SocketAddr) -> io::Result<Self> {
        let client = TcpStream::connect_timeout(&to, TIMEOUT)?;
        client.set_read_timeout(Some(TIMEOUT))?;
        (&client).write_all(b"word")?;
        loop {
            let (server, from) = listener.accept()?;
            server.set_read_timeout(Some(TIMEOUT))?;
            match hear(&server) {
                Ok(()) => {
                    return Ok(Self {
                        client,
                        server,
                        seen: from.ip().to_canonical(),
                    });
                }
                // A health check's, which says nothing.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the client is.
    pub(crate) fn client(&self) -> IpAddr {
        let address = self.client.local_addr().expect("it is connected");
        address.ip().to_canonical()
    }

    /// A word from each end to the other.
    pub(crate) fn talk(&self) -> io::Result<()> {
        for (mut from, to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(b"word")?;
            hear(to)?;
        }
        Ok(())
    }
}

fn hear(mut end: &TcpStream) -> io::Result<()> {
    let mut heard = [0; 4];
    end.read_exact(&mut heard)?;
    assert_eq!(&heard, b"word");
    Ok(())
}

/// Opens a connection from a namespace and exchanges words on it. The agent goes on meanwhile.
pub(crate) async fn converse(
    from: &Namespace,
    listener: &TcpListener,
    to: &str,
) -> io::Result<Conversation> {
    let listener = listener.try_clone()?;
    let to: SocketAddr = to.parse().expect("an address and a port");
    aside(from, move || {
        let conversation = Conversation::open(&listener, to)?;
        conversation.talk().map(|()| conversation)
    })
    .await
}

/// Runs what blocks on a thread of its own in a namespace.
pub(crate) async fn aside<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let door = namespace.door();
    let (done, result) = oneshot::channel();
    thread::spawn(move || {
        door.enter();
        // Nobody waits any more only if the test has failed.
        done.send(work()).ok();
    });
    result.await.expect("the work does not panic")
}

/// Datagrams to an address, as fast as they go, until this is dropped.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    pub(crate) fn start(from: &Namespace, to: &str) -> Self {
        let to: SocketAddr = to.parse().expect("an address and a port");
        let door = from.door();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            door.enter();
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a port");
            // Bounded in time also if the test hangs.
            let end = Instant::now() + DEADLINE;
            while !stopped.load(Ordering::Relaxed) && Instant::now() < end {
                for _ in 0..64 {
                    // What finds no room is lost, as on any link.
                    socket.send_to(&[0; 64], to).ok();
                }
                thread::yield_now();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            thread.join().ok();
        }
    }
}

impl Fixture {
    /// Lets the peer reach the VIPs through the node, which forwards, with whole checksums: those that a veth leaves open are
    /// not translated.
    pub(crate) fn route_vips(&self) {
        for family in ["ipv4", "ipv6"] {
            let setting = format!("net/{family}/conf/all/forwarding");
            Self::write_setting(&self.node, &setting, "1");
        }
        let namespace = format!("--net=/var/run/netns/{}", self.peer.name);
        run(
            "nsenter",
            &[&namespace, "ethtool", "-K", "sv0", "tx", "off"],
        );
        self.peer
            .ip(&["route", "add", "10.99.0.0/24", "via", "10.88.0.1"]);
        self.peer
            .ip(&["-6", "route", "add", "fd99::/64", "via", "fd88::1"]);
    }

    /// The index of a link in the node's namespace.
    pub(crate) fn ifindex(&self, link: &str) -> u32 {
        let text = self.node.ip(&["-o", "link", "show", link]);
        let index = text.split(':').next().and_then(|it| it.parse().ok());
        index.expect("index: name: ...")
    }

    /// Writes a setting of the kernel in a namespace: `net/ipv4/conf/all/rp_filter`.
    pub(crate) fn write_setting(namespace: &Namespace, name: &str, value: &str) {
        let namespace = format!("--net=/var/run/netns/{}", namespace.name);
        let script = format!("echo {value} >/proc/sys/{name}");
        run("nsenter", &[&namespace, "sh", "-c", &script]);
    }
}
