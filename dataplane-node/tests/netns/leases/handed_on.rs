//! Connections by full NAT, whose sessions stand on the node where they began, through planned moves there and back.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, PerCpuArray};
use lbfabric_abi::{LAYOUT_VERSION, Verdict};
use lbfabric_proto::v1::{self, change_vip_request::Change};

use super::{LINK, PORT, SERVER, Site, VIP};
use crate::{
    fixture::{DEADLINE, until},
    namespace::{Namespace, run},
};

/// How long connections are watched after a move: longer than TCP takes to repeat what was lost.
const AFTER: Duration = Duration::from_millis(700);
/// What a server sends at a time, its number in front.
const PIECE: usize = 1000;

/// A server that says back what it hears, or numbers pieces without an end, as its client asks for.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A client that talks until it is told to stop.
struct Client {
    stop: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<Duration>>,
}

#[derive(Clone, Copy)]
enum Talk {
    Echo,
    Download,
}

impl Server {
    fn start(namespace: &Namespace) -> Self {
        let listener = namespace.within(|| TcpListener::bind((SERVER, PORT)));
        let listener = listener.expect("the port is free");
        listener
            .set_nonblocking(true)
            .expect("every listener can be");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut talks = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => talks.push(thread::spawn(move || serve(&stream))),
                    Err(_none) => thread::sleep(Duration::from_millis(5)),
                }
            }
            for talk in talks {
                // It ends with its client, which tells of it.
                let _ended = talk.join().expect("it does not panic");
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn serve(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut word = [0; 8];
    stream.read_exact(&mut word)?;
    let is_download = word == *b"download";
    let mut number = 0_u64;
    loop {
        if is_download {
            let mut piece = [0; PIECE];
            piece[..8].copy_from_slice(&number.to_be_bytes());
            stream.write_all(&piece)?;
            number += 1;
            // As fast as a bridge on a busy machine can take it, and no faster.
            thread::sleep(Duration::from_micros(500));
        } else {
            stream.write_all(&word)?;
            stream.read_exact(&mut word)?;
        }
    }
}

impl Client {
    fn start(site: &Site, talk: Talk) -> Self {
        let stream = site.client.within(|| {
            until("the service answers", || {
                let address = SocketAddr::new(VIP.into(), PORT);
                TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
            })
        });
        let (stop, heard) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&heard));
        let thread = thread::spawn(move || talk.run(&stream, &stopped, &count));
        let client = Self {
            stop,
            heard,
            thread,
        };
        client.hears();
        client
    }

    /// Waits until it has heard something new.
    fn hears(&self) {
        let before = self.heard.load(Ordering::Relaxed);
        until("the connection goes on", || {
            (self.heard.load(Ordering::Relaxed) > before).then_some(())
        });
    }

    /// Its longest wait for the server.
    fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.join().expect("it does not panic");
        outcome.expect("the connection lives")
    }
}

impl Talk {
    fn run(
        self,
        mut stream: &TcpStream,
        stop: &AtomicBool,
        heard: &AtomicU64,
    ) -> io::Result<Duration> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut longest = Duration::ZERO;
        let mut number = 0_u64;
        if matches!(self, Self::Download) {
            stream.write_all(b"download")?;
        }
        while !stop.load(Ordering::Relaxed) {
            let before = Instant::now();
            match self {
                Self::Echo => {
                    let mut word = [0; 8];
                    stream.write_all(&number.to_be_bytes())?;
                    stream.read_exact(&mut word)?;
                    assert_eq!(u64::from_be_bytes(word), number);
                }
                Self::Download => {
                    let mut piece = [0; PIECE];
                    stream.read_exact(&mut piece)?;
                    assert_eq!(piece[..8], number.to_be_bytes());
                }
            }
            longest = longest.max(before.elapsed());
            number += 1;
            heard.store(number, Ordering::Relaxed);
            if matches!(self, Self::Echo) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(longest)
    }
}

impl Site {
    /// How many packets a node has sent on to the VIP's owner before it.
    fn handed_on(&self, node: &str) -> u64 {
        let pins = &self.nodes[node].pin_dir;
        let counters = pins.join(format!("v{LAYOUT_VERSION}")).join("COUNTERS");
        let map = MapData::from_pin(counters).expect("it is pinned");
        let map = PerCpuArray::<_, u64>::try_from(Map::PerCpuArray(map)).expect("its shape");
        let counts = map.get(&Verdict::ToPredecessor.index(), 0);
        counts.expect("it is readable").iter().sum()
    }

    /// Moves the VIP, and watches what goes on for a while.
    fn move_to(&self, node: &str) {
        self.change(Change::MoveTo(node.to_owned()));
        self.until_owner(node);
        thread::sleep(AFTER);
    }
}

#[test]
fn planned_moves_there_and_back_cost_no_connection_of_full_nat() {
    let site = Site::serving(v1::Mode::L4Fullnat);
    for host in [&site.client, &site.server] {
        // What XDP rewrites has to have its checksum.
        host.within(|| run("ethtool", &["-K", LINK, "tx", "off"]));
    }
    for node in site.nodes.values() {
        // The kernel forwards the answers of whom it has to find first.
        let forward = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
        node.namespace.within(forward).expect("it is root");
    }
    let _server = Server::start(&site.server);
    let (first, second) = site.settled();
    let mut clients = vec![
        Client::start(&site, Talk::Echo),
        Client::start(&site, Talk::Download),
    ];
    assert_eq!((site.handed_on(first), site.handed_on(second)), (0, 0));

    let watch = site.watch();
    site.move_to(second);
    let gap = site.assert_moved(watch, first, second);
    clients.iter().for_each(Client::hears);
    let there = site.handed_on(second);
    assert!(there > 0, "the new owner has sent nothing on");
    assert_eq!(site.handed_on(first), 0);

    // What begins at the new owner is its own, and goes back to it when it is the former one.
    clients.push(Client::start(&site, Talk::Echo));
    clients.push(Client::start(&site, Talk::Download));
    site.move_to(first);
    clients.iter().for_each(Client::hears);
    let back = site.handed_on(first);
    assert!(back > 0, "the first owner has sent nothing on");

    let waits: Vec<_> = clients.into_iter().map(Client::end).collect();
    eprintln!(
        "a planned move: nobody answered for {gap:?}; {there} and {back} packets were sent on; the longest waits: {waits:?}"
    );
}
