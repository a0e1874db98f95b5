//! Captures what is on the lab's links, from the routers' and switch's side of each: a server's own side shows what its XDP
//! program left, not what came.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::frame::{Frame, Reading};
use super::interrupt::Interrupt;
use super::network::Network;
use super::router::BGP_PORT;
use super::sighting::{Sighting, Tap};
use super::topology::{Host, Segment};
use super::verdict::HEALTH_PORT;

/// `PACKET_OUTGOING` of packet(7): the frame leaves through the interface.
const PACKET_OUTGOING: u8 = 4;
/// Room for what arrives while a reader is not running.
const BUFFER_BYTES: usize = 64 << 20;
const FRAME_BYTES_MAX: usize = 65_536;
/// How soon a reader sees that it has to end.
const READ_TIMEOUT_MS: i64 = 20;
/// A link is quiet when nothing came for so long.
const QUIET: Duration = Duration::from_millis(60);
/// How long to wait for that.
const QUIET_LIMIT: Duration = Duration::from_secs(5);

/// What was captured in a stretch of time.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The packets, without those of health checks and BGP.
    pub(super) sightings: Vec<Sighting>,
    /// Frames that could not be read.
    pub(super) broken: u64,
}

/// Captures until it is dropped.
#[derive(Debug)]
pub(super) struct Capture {
    taken: Arc<Mutex<Taken>>,
    stop: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
}

impl Capture {
    /// Begins to capture on the links of the client, the nodes and the servers.
    pub(super) fn start(network: &Network) -> anyhow::Result<Self> {
        let mut capture = Self {
            taken: Arc::default(),
            stop: Arc::default(),
            readers: Vec::new(),
        };
        for (namespace, segments) in [
            (Host::Switch, &[Segment::Flat][..]),
            (Host::Router, &[Segment::Client, Segment::Routed][..]),
        ] {
            let (socket, links) = network
                .namespace(namespace)
                .inside(|| Ok((open()?, links(namespace, segments)?)))
                .with_context(|| format!("capturing in {namespace}"))?;
            let (taken, stop) = (Arc::clone(&capture.taken), Arc::clone(&capture.stop));
            capture.readers.push(std::thread::spawn(move || {
                read(&socket, &links, &taken, &stop);
            }));
        }
        Ok(capture)
    }

    /// Waits until the links are quiet and returns what was captured since the last call.
    pub(super) fn take(&self, interrupt: &Interrupt) -> anyhow::Result<Taken> {
        let mut seen = self.count();
        let mut since = Instant::now();
        interrupt.poll("the links are quiet", QUIET_LIMIT, || {
            let now = self.count();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            Ok(if since.elapsed() >= QUIET {
                Ok(())
            } else {
                Err(format!("{now} packets"))
            })
        })?;
        Ok(std::mem::take(
            &mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    fn count(&self) -> usize {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sightings
            .len()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for reader in self.readers.drain(..) {
            // A reader that panicked has said so; what it missed fails the rows.
            let _panicked = reader.join();
        }
    }
}

fn open() -> anyhow::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("opening a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
        .context("setting the socket's buffer")?;
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(READ_TIMEOUT_MS),
    )
    .context("setting the socket's timeout")?;
    Ok(socket)
}

/// The interfaces of the namespace that the calling thread is in, and the link's far end.
fn links(here: Host, segments: &[Segment]) -> anyhow::Result<BTreeMap<usize, (Segment, Host)>> {
    let mut links = BTreeMap::new();
    for &segment in segments {
        for host in segment.members().into_iter().filter(|&host| host != here) {
            let device = match segment.bridge() {
                Some(_) => host.to_string(),
                None => segment.device().to_owned(),
            };
            let index =
                if_nametoindex(device.as_str()).with_context(|| format!("finding {device}"))?;
            links.insert(index as usize, (segment, host));
        }
    }
    Ok(links)
}

fn read(
    socket: &OwnedFd,
    links: &BTreeMap<usize, (Segment, Host)>,
    taken: &Mutex<Taken>,
    stop: &AtomicBool,
) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while !stop.load(Ordering::SeqCst) {
        let (length, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, Some(from))) => (length, from),
            Ok((_, None)) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => continue,
            Err(error) => {
                tracing::error!(%error, "capture ended");
                return;
            }
        };
        let Some(&(segment, host)) = links.get(&from.ifindex()) else {
            continue;
        };
        let tap = Tap {
            segment,
            host,
            to_host: from.pkttype() == PACKET_OUTGOING,
        };
        let reading = Frame::read(&buffer[..length]);
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        match reading {
            Reading::Packet(frame)
                if [HEALTH_PORT, BGP_PORT].map(|port| frame.load.has_port(port)) != [false; 2] => {}
            Reading::Packet(frame) => taken.sightings.push(Sighting { tap, frame }),
            Reading::Link => {}
            Reading::Broken => taken.broken += 1,
        }
    }
}
