//! A client that tries every ten milliseconds.

use std::{
    io::ErrorKind,
    mem::MaybeUninit,
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
    threads: (JoinHandle<()>, JoinHandle<Vec<Instant>>),
}

/// When answers came.
pub(crate) struct Answers(Vec<Instant>);

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
            let mut number = 0u16;
            while !stopped.load(Ordering::Relaxed) {
                // While nobody answers ARP the host may be unreachable at once: that is a try without an answer.
                let _unanswered = sending.send(&request(number));
                number = number.wrapping_add(1);
                next += EVERY;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let stopped = Arc::clone(&stop);
        let receiver = thread::spawn(move || receive(&socket, &stopped));
        Self {
            stop,
            threads: (sender, receiver),
        }
    }

    pub(crate) fn stop(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        let (sender, receiver) = self.threads;
        sender.join().unwrap();
        Answers(receiver.join().unwrap())
    }
}

fn receive(socket: &Socket, stopped: &AtomicBool) -> Vec<Instant> {
    let mut answers = Vec::new();
    let mut packet = [MaybeUninit::uninit(); 128];
    while !stopped.load(Ordering::Relaxed) {
        match socket.recv(&mut packet) {
            // A reply: 20 bytes of IPv4 header, then type 0. Requests to ourselves do not come in here.
            Ok(length) if length > HEADER => answers.push(Instant::now()),
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
    /// For how long nobody answered because of an event, beyond the time between two tries where the event itself was not the beginning.
    pub(crate) fn outage(&self, event: Instant) -> Duration {
        let gaps = self.0.windows(2).filter(|it| it[1] > event);
        let longest = gaps.max_by_key(|it| it[1] - it[0]);
        let [before, after] = longest.expect("somebody answers again") else {
            unreachable!("a window of two");
        };
        if *before < event {
            *after - event
        } else {
            (*after - *before).saturating_sub(EVERY)
        }
    }
}
