use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{fixture::DEADLINE, namespace::Namespace};

/// Each flow sends a request this often.
const PACE: Duration = Duration::from_millis(10);
/// How long answers may be on their way at the end.
const LAST_ANSWER: Duration = Duration::from_secs(3);

/// Servers that answer every datagram with its content and their own number.
pub(crate) struct EchoServers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _probed: std::net::TcpListener,
}

impl EchoServers {
    /// One for each address, in a namespace where they are; with a listener for health checks.
    pub(crate) fn start(namespace: &Namespace, addresses: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (threads, probed) = namespace.within(|| {
            let servers = (0..).zip(addresses).map(|(number, address)| {
                let socket = UdpSocket::bind((*address, 7)).expect("the address is there");
                let stop = stop.clone();
                thread::spawn(move || answer(&socket, number, &stop))
            });
            let probed = std::net::TcpListener::bind("0.0.0.0:80").expect("port 80 is free");
            (servers.collect(), probed)
        });
        Self {
            stop,
            threads,
            _probed: probed,
        }
    }
}

fn answer(socket: &UdpSocket, number: u8, stop: &AtomicBool) {
    let timeout = Some(Duration::from_millis(50));
    socket.set_read_timeout(timeout).expect("a timeout");
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        // Nothing for a while is as good as a refusal of an earlier answer, which is reported here.
        if let Ok((length, client)) = socket.recv_from(&mut buffer) {
            buffer[length] = number;
            let _sent = socket.send_to(&buffer[..=length], client);
        }
    }
}

impl Drop for EchoServers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _joined = thread.join();
        }
    }
}

/// Clients that send requests at a steady pace, whatever happens.
pub(crate) struct Flows {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Flow>>,
}

/// What became of a client's requests.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) sent: u64,
    pub(crate) answered: BTreeSet<u64>,
    /// The numbers of the servers that answered.
    pub(crate) servers: BTreeSet<u8>,
}

impl Flow {
    pub(crate) fn lost(&self) -> u64 {
        self.sent - u64::try_from(self.answered.len()).expect("a count")
    }
}

impl Flows {
    /// Starts clients with ports of their own. Each begins to count once it was answered.
    pub(crate) fn start(namespace: &Namespace, target: &str, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let threads = namespace.within(|| {
            let sockets = (0..count).map(|_| {
                let socket = UdpSocket::bind("10.88.0.2:0").expect("the client's address");
                socket.connect(target).expect("there is a route");
                let (stop, answered) = (stop.clone(), answered.clone());
                thread::spawn(move || Flow::run(&socket, &stop, &answered))
            });
            sockets.collect()
        });
        Self {
            stop,
            answered,
            threads,
        }
    }

    /// Requests that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Some when so many more than `before` were answered.
    pub(crate) fn more_than(&self, before: u64, more: u64) -> Option<()> {
        (self.answered() >= before + more).then_some(())
    }

    /// Ends them, and waits for the last answers.
    pub(crate) fn stop(mut self) -> Vec<Flow> {
        self.stop.store(true, Ordering::Relaxed);
        let flows = std::mem::take(&mut self.threads).into_iter();
        flows
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    }
}

impl Drop for Flows {
    /// Before the network that they use goes.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _joined = thread.join();
        }
    }
}

impl Flow {
    fn run(socket: &UdpSocket, stop: &AtomicBool, answered: &AtomicU64) -> Self {
        let begin = Instant::now();
        let mut first = Self::default();
        while first.answered.is_empty() {
            assert!(begin.elapsed() < DEADLINE, "never answered");
            // An address that is not resolved yet may be reported here.
            let _sent = socket.send(&u64::MAX.to_be_bytes());
            first.receive(socket, Instant::now() + PACE);
        }
        let mut flow = Self::default();
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            socket
                .send(&flow.sent.to_be_bytes())
                .expect("the link is there");
            flow.sent += 1;
            next += PACE;
            let news = flow.receive(socket, next);
            answered.fetch_add(news, Ordering::Relaxed);
        }
        let end = Instant::now() + LAST_ANSWER;
        while flow.lost() > 0 && Instant::now() < end {
            flow.receive(socket, Instant::now() + PACE);
        }
        flow
    }

    /// Takes in answers until a point in time, and says how many were new.
    fn receive(&mut self, socket: &UdpSocket, until: Instant) -> u64 {
        let mut new = 0;
        let mut buffer = [0; 64];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return new;
            }
            let timeout = Some(left.max(Duration::from_micros(1)));
            socket.set_read_timeout(timeout).expect("a timeout");
            let Ok(length) = socket.recv(&mut buffer) else {
                continue;
            };
            let (content, server) = buffer[..length].split_at(8);
            let request = u64::from_be_bytes(content.try_into().expect("eight bytes"));
            if request != u64::MAX || self.sent == 0 {
                new += u64::from(self.answered.insert(request));
                self.servers.insert(server[0]);
            }
        }
    }
}
