//! A client that tries every ten milliseconds.

use std::{
    io::{ErrorKind, Read as _},
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::namespaces::Namespace;

/// The time between two tries.
pub(crate) const EVERY: Duration = Duration::from_millis(10);
const HEADER: usize = 20;

/// Echo requests that go out until it is stopped.
pub(crate) struct Pinger {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<Vec<(u16, Instant)>>,
}

/// When requests were sent, and when each was answered.
pub(crate) struct Answers(Vec<(Instant, Option<Instant>)>);

impl Pinger {
    pub(crate) fn start(from: &Namespace, to: Ipv4Addr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let socket = from.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
            socket
                .connect(&SockAddr::from(SocketAddrV4::new(to, 0)))
                .unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            socket
        });
        let sending = socket.try_clone().unwrap();
        let stopped = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            let mut next = Instant::now();
            let mut sent = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                // While nobody answers ARP the host may be unreachable at once: that is a try without an answer.
                let number = u16::try_from(sent.len()).unwrap();
                sent.push(Instant::now());
                let _unanswered = sending.send(&request(number));
                next += EVERY;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            sent
        });
        let stopped = Arc::clone(&stop);
        let receiver = thread::spawn(move || receive(&socket, &stopped));
        Self {
            stop,
            sender,
            receiver,
        }
    }

    pub(crate) fn stop(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap().into_iter();
        let mut sent: Vec<_> = sent.map(|at| (at, None)).collect();
        for (number, at) in self.receiver.join().unwrap() {
            sent[usize::from(number)].1.get_or_insert(at);
        }
        Answers(sent)
    }
}

fn receive(mut socket: &Socket, stopped: &AtomicBool) -> Vec<(u16, Instant)> {
    let mut answers = Vec::new();
    let mut packet = [0; 128];
    while !stopped.load(Ordering::Relaxed) {
        match socket.read(&mut packet) {
            // A reply: 20 bytes of IPv4 header, then type 0. Requests to ourselves do not come in here.
            Ok(length) if length >= HEADER + 8 => {
                let number = &packet[HEADER + 6..HEADER + 8];
                let number = u16::from_be_bytes(number.try_into().unwrap());
                answers.push((number, Instant::now()));
            }
            Ok(_) => {}
            Err(error) => match error.kind() {
                // Nothing came, or errors of our own kernel, where nobody answers ARP.
                ErrorKind::WouldBlock
                | ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => {}
                other => panic!("{other}"),
            },
        }
    }
    answers
}

/// An ICMP echo request (RFC 792).
fn request(number: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = 8;
    packet[4..6].copy_from_slice(&0x1bfau16.to_be_bytes());
    packet[6..8].copy_from_slice(&number.to_be_bytes());
    let words = packet.chunks_exact(2);
    let sum: u32 = words
        .map(|it| u32::from(u16::from_be_bytes([it[0], it[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

impl Answers {
    /// For how long nobody answered because of an event: from it to the next answer, if no request behind it was answered before, or else from the
    /// first request of the longest row without an answer. A client that is late with its requests is no outage.
    pub(crate) fn outage(&self, event: Instant) -> Duration {
        let behind: Vec<_> = self.0.iter().filter(|(sent, _)| *sent >= event).collect();
        let mut longest = Duration::ZERO;
        let mut since = None;
        for (n, (sent, answered)) in behind.into_iter().enumerate() {
            match (answered, since) {
                (None, None) => since = Some(if n == 0 { event } else { *sent }),
                (None, Some(_)) | (Some(_), None) => {}
                (Some(answered), Some(from)) => {
                    longest = longest.max(*answered - from);
                    since = None;
                }
            }
        }
        // What was not answered at the very end may only not have been heard.
        let last = self.0.last().map(|(sent, _)| *sent);
        let never = since.is_some_and(|from| last.is_some_and(|last| last - from > EVERY * 10));
        assert!(!never, "nobody answers any more");
        longest
    }
}
