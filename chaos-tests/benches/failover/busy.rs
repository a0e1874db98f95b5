//! Nothing happens, and all cores have other things to do: nothing may be taken for an event.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    bird::{self, Bird},
    fabric::{Fabric, Programs},
    flat::{self, Network},
    routed::{self, ROUTER},
};

/// What was taken for an event.
pub(crate) struct Calm {
    pub(crate) seconds: u64,
    /// How often another node answered for the VIP with a lease.
    pub(crate) take_overs: usize,
    /// How often a route of the router changed.
    pub(crate) route_changes: usize,
}

impl Calm {
    pub(crate) fn is_calm(&self) -> bool {
        self.take_overs == 0 && self.route_changes == 0
    }
}

/// Leases and BFD for so many seconds.
pub(crate) fn measure(programs: &Programs, seconds: u64) -> Calm {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new();
    let document = Fabric::document_of_both();
    let fabric = Fabric::on(programs, &network, folder.path(), &document);
    // Else it goes home once that node has been there for long enough, if the other one was there first.
    fabric.move_vip(&network.controllers, flat::VIP, 0);
    let settings = bird::router(&routed::NODES, true);
    let router = Bird::start(&network.router, folder.path(), "router", ROUTER, &settings);
    routed::settle(&network.router, &router, true);
    network.settled_owner();
    let changes = routed::route_changes(&network.router);
    let watch = network.asker().watch(flat::VIP);
    let load = Load::on_all_cores();
    thread::sleep(Duration::from_secs(seconds));
    load.stop();
    let heard = watch.stop();
    Calm {
        seconds,
        take_overs: heard.windows(2).filter(|it| it[0].1 != it[1].1).count(),
        route_changes: changes.try_iter().count(),
    }
}

/// Threads that never wait, two for each core.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    fn on_all_cores() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().unwrap().get();
        let threads = (0..2 * cores).map(|_| {
            let stopped = Arc::clone(&stop);
            thread::spawn(move || {
                let mut work = 0u64;
                while !stopped.load(Ordering::Relaxed) {
                    work = work.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                }
                work
            })
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
