//! The thread that says what [`Announcements`] has to say.

use std::io;
use std::net::IpAddr;
use std::sync::{
    Arc,
    mpsc::{self, RecvTimeoutError, Sender},
};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::{debug, warn};

use super::{LeasedVips, announcements::Announcements, frames, socket::FrameSocket};

/// Tells neighbors of the VIPs that the node takes. Nobody waits for it: orders go to a thread.
pub(super) struct Announcer {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
enum Order {
    Take(IpAddr, Instant),
    GiveUp(IpAddr),
}

struct Teller {
    socket: FrameSocket,
    vips: Arc<LeasedVips>,
    announcements: Announcements,
}

impl Announcer {
    /// Starts the thread, in the network namespace of this one.
    pub(super) fn start(vips: Arc<LeasedVips>) -> io::Result<Self> {
        let mut teller = Teller {
            socket: FrameSocket::open()?,
            vips,
            announcements: Announcements::default(),
        };
        let (orders, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("announcer".to_owned())
            .spawn(move || teller.run(&inbox))?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// The node has taken a VIP: neighbors are told at once, and again until two seconds later.
    pub(super) fn take(&self, vip: IpAddr) {
        self.order(Order::Take(vip, Instant::now()));
    }

    /// The node does not have the VIP any more: nothing is said of it.
    pub(super) fn give_up(&self, vip: IpAddr) {
        self.order(Order::GiveUp(vip));
    }

    fn order(&self, order: Order) {
        // The thread ends after this only.
        self.orders.send(order).ok();
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        self.orders = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the announcer has panicked");
        }
    }
}

impl Teller {
    fn run(&mut self, inbox: &mpsc::Receiver<Order>) {
        loop {
            let order = match self.announcements.next() {
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => inbox
                    .recv()
                    .map_err(|_closed| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(order) => self.note(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // All that has been ordered meanwhile, before anything is said: a VIP may have gone again.
            while let Ok(order) = inbox.try_recv() {
                self.note(order);
            }
            for vip in self.announcements.due(Instant::now()) {
                self.tell(vip);
            }
        }
    }

    fn note(&mut self, order: Order) {
        match order {
            Order::Take(vip, at) => self.announcements.take(vip, at),
            Order::GiveUp(vip) => self.announcements.give_up(vip),
        }
    }

    fn tell(&self, vip: IpAddr) {
        if !self.vips.answers(vip) {
            return;
        }
        for (ifindex, mac) in self.vips.known_links() {
            for frame in frames::announcements(vip, mac) {
                match self.socket.send(ifindex, &frame) {
                    Ok(()) => debug!(%vip, ifindex, "announced"),
                    // A link that is down, or a full queue: it is said again.
                    Err(error) => warn!(%vip, ifindex, %error, "a VIP could not be announced"),
                }
            }
        }
    }
}
