//! A client that asks who has a VIP, all the time, and notes who says so.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt,
    socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::{fixture::until, namespace::Namespace};

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(5);

pub(crate) type Mac = [u8; 6];

/// The client. It asks until it is asked what it has heard.
pub(crate) struct ArpWatch {
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Heard>>>,
    thread: JoinHandle<()>,
}

/// Answers of a new owner after which an old one would have been heard beside it: a quarter of a second.
const SETTLED: usize = 50;

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) mac: Mac,
}

impl ArpWatch {
    /// Asks on a link of a namespace, in the name of an address there, and waits until somebody answers.
    pub(crate) fn start(namespace: &Namespace, link: &str, own: Ipv4Addr, vip: Ipv4Addr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let heard = Arc::default();
        let noted = Arc::clone(&heard);
        let (door, link) = (namespace.door(), link.to_owned());
        let thread = std::thread::spawn(move || {
            door.enter();
            watch(&link, own, vip, &stopped, &noted);
        });
        let watch = Self {
            stop,
            heard,
            thread,
        };
        // Whatever happens next, happens to somebody who has answered.
        watch.until_heard(1, |_| true);
        watch
    }

    fn until_heard(&self, answers: usize, of: impl Fn(Mac) -> bool) {
        until("answers are heard", || {
            let heard = self.heard.lock().expect("the watch does not panic");
            let count = heard.iter().filter(|it| of(it.mac)).count();
            (count >= answers).then_some(())
        });
    }

    /// As [`Self::heard`], once this one has answered for a while: controllers know of a new owner before the first question reaches it.
    pub(crate) fn heard_of(self, owner: Mac) -> Vec<Heard> {
        self.until_heard(SETTLED, |mac| mac == owner);
        self.heard()
    }

    /// All answers, in their order.
    pub(crate) fn heard(self) -> Vec<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it can ask");
        std::mem::take(&mut *self.heard.lock().expect("the watch does not panic"))
    }
}

/// Each node that answered, once for each time that it began to: with the longest time without any answer before.
pub(crate) fn turns(heard: &[Heard]) -> Vec<(Mac, Duration)> {
    let mut turns: Vec<(Mac, Duration)> = Vec::new();
    let mut last = None;
    for Heard { at, mac } in heard {
        let gap = last.replace(*at).map_or(Duration::ZERO, |last| *at - last);
        match turns.last_mut() {
            Some((owner, longest)) if owner == mac => *longest = gap.max(*longest),
            _ => turns.push((*mac, gap)),
        }
    }
    turns
}

fn watch(link: &str, own: Ipv4Addr, vip: Ipv4Addr, stop: &AtomicBool, heard: &Mutex<Vec<Heard>>) {
    let there = link_address(link);
    let mac: Mac = there.addr().expect("an Ethernet link has one");
    let socket = open().expect("asking needs root");
    let question = question(mac, own, vip);
    let mut ask_at = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= ask_at {
            ask_at = Instant::now() + ASK_EVERY;
            // A link that is down is one of the things that are tried.
            let _sent = sendto(socket.as_raw_fd(), &question, &there, MsgFlags::empty());
        }
        let mut frame = [0; 128];
        let Ok(length) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) else {
            continue;
        };
        if let Some(mac) = answer(&frame[..length], mac, vip) {
            let at = Instant::now();
            let mut heard = heard.lock().expect("nobody panics with it");
            heard.push(Heard { at, mac });
        }
    }
}

fn link_address(link: &str) -> LinkAddr {
    let mut all = getifaddrs().expect("the kernel tells its links");
    let found = all.find_map(|it| {
        let address = it.address.filter(|_| it.interface_name == link)?;
        address.as_link_addr().copied()
    });
    found.expect("the link is there")
}

fn open() -> io::Result<OwnedFd> {
    let family = AddressFamily::Packet;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Raw, flags, SockProtocol::EthAll)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(1))?;
    Ok(socket)
}

/// RFC 826: who has the VIP, tell this one.
fn question(mac: Mac, own: Ipv4Addr, vip: Ipv4Addr) -> Vec<u8> {
    let head = [&[0xff; 6][..], &mac, &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]];
    let body = [&mac[..], &own.octets(), &[0; 6], &vip.octets(), &[0; 18]];
    [head.concat(), body.concat()].concat()
}

/// Who says to this host that it has the VIP. What is said to all is an announcement.
fn answer(frame: &[u8], own: Mac, vip: Ipv4Addr) -> Option<Mac> {
    let is_reply = frame.get(12..22)? == [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2];
    let is_ours = frame[..6] == own && frame.get(28..32)? == vip.octets();
    (is_reply && is_ours).then(|| frame[22..28].try_into().expect("six bytes"))
}

#[test]
fn turns_are_told_apart() {
    let start = Instant::now();
    let heard = [(0, 1), (5, 1), (30, 1), (100, 2), (105, 2), (110, 1)];
    let heard = heard.map(|(after, node)| Heard {
        at: start + Duration::from_millis(after),
        mac: [node; 6],
    });
    let told: Vec<_> = turns(&heard)
        .into_iter()
        .map(|(mac, gap)| (mac[0], gap.as_millis()))
        .collect();
    assert_eq!(told, [(1, 25), (2, 70), (1, 5)]);
}
