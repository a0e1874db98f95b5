//! A host that asks who has a VIP, and hears everybody who answers.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto,
        setsockopt, socket, sockopt,
    },
    sys::time::{TimeVal, TimeValLike as _},
};

use crate::{namespaces::Namespace, ping::EVERY};

pub(crate) type Mac = [u8; 6];

/// Who answered which question.
pub(crate) type Heard = Vec<(u32, Mac)>;

const ARP: [u8; 2] = [8, 6];
const REPLY: u8 = 2;

/// An asking socket on a device.
pub(crate) struct Asker {
    socket: OwnedFd,
    address: LinkAddr,
}

/// Questions that go out every ten milliseconds until it is stopped.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Heard>,
}

impl Asker {
    pub(crate) fn new(at: &Namespace, device: &str) -> Self {
        at.inside(|| {
            let mut devices = getifaddrs().unwrap();
            let address = devices.find_map(|it| {
                let link = it
                    .address
                    .as_ref()
                    .and_then(|it| it.as_link_addr().copied());
                link.filter(|_| it.interface_name == device)
            });
            let none = SockFlag::SOCK_CLOEXEC;
            let all = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Raw, none, all).unwrap();
            let wait = TimeVal::milliseconds(2);
            setsockopt(&socket, sockopt::ReceiveTimeout, &wait).unwrap();
            Self {
                socket,
                address: address.unwrap(),
            }
        })
    }

    /// Asks once: a probe (RFC 5227), which changes nobody's table.
    fn ask(&self, who: Ipv4Addr) {
        let mac = self.address.addr().unwrap();
        let mut frame = vec![0xff; 6];
        frame.extend(mac);
        frame.extend(ARP);
        frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend([0; 10]);
        frame.extend(who.octets());
        let fd = self.socket.as_raw_fd();
        sendto(fd, &frame, &self.address, MsgFlags::empty()).unwrap();
    }

    /// Who answers for an address, if anybody does within this time.
    pub(crate) fn owner(&self, who: Ipv4Addr, within: Duration) -> Option<Mac> {
        self.ask(who);
        let end = Instant::now() + within;
        while Instant::now() < end {
            if let Some(mac) = self.hear(who) {
                return Some(mac);
            }
        }
        None
    }

    fn hear(&self, who: Ipv4Addr) -> Option<Mac> {
        let mut frame = [0; 64];
        let length = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
        let is_reply = length >= 42 && frame[12..14] == ARP && frame[21] == REPLY;
        let is_for_us = frame[..6] == self.address.addr().unwrap();
        (is_reply && is_for_us && frame[28..32] == who.octets())
            .then(|| frame[22..28].try_into().unwrap())
    }

    /// Asks on and on.
    pub(crate) fn watch(self, who: Ipv4Addr) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut heard = Vec::new();
            let mut next = Instant::now();
            let mut asked = 0;
            while !stopped.load(Ordering::Relaxed) {
                if Instant::now() >= next {
                    self.ask(who);
                    asked += 1;
                    next += EVERY;
                }
                heard.extend(self.hear(who).map(|mac| (asked, mac)));
            }
            heard
        });
        Watch { stop, thread }
    }
}

impl Watch {
    pub(crate) fn stop(self) -> Heard {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// For how long two answered: as many questions got answers of both.
pub(crate) fn doubled(heard: &Heard) -> Duration {
    let twice = |it: &&[(u32, Mac)]| it[0].0 == it[1].0 && it[0].1 != it[1].1;
    let times = heard.windows(2).filter(twice).count();
    EVERY * u32::try_from(times).unwrap()
}
