use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Adopted, LeasedVips, LeasedVipsError, announcer::Announcer, predecessors::Predecessors,
};

/// How leases come into force: what holds them tells this, and the programs and the neighbors follow.
pub struct VipOwner {
    vips: Arc<LeasedVips>,
    announcer: Announcer,
    predecessors: Mutex<Predecessors>,
}

impl VipOwner {
    /// Goes on with what is in the maps. Announces in the network namespace of this thread.
    ///
    /// # Errors
    /// The process may not send frames (`CAP_NET_RAW`), or no thread can be had.
    pub fn start(vips: Arc<LeasedVips>) -> io::Result<Self> {
        let announcer = Announcer::start(Arc::clone(&vips))?;
        let predecessors = Predecessors::open(Arc::clone(&vips))?;
        Ok(Self {
            vips,
            announcer,
            predecessors: Mutex::new(predecessors),
        })
    }

    /// Finds out who answers for a VIP now, as the node is to have it next: asks, and waits for nothing.
    pub fn warm(&self, vip: IpAddr) {
        self.predecessors().ask(vip, Instant::now());
    }

    /// Whether that is known, or not worth any longer wait.
    pub fn is_warm(&self, vip: IpAddr) -> bool {
        self.predecessors().is_settled(vip, Instant::now())
    }

    /// As [`LeasedVips::answer`], after the node that [`Self::warm`] has found; neighbors are told at once, and again until two seconds
    /// later, as long as the node holds the VIP and its lease lasts. So the lease's end has to be told first.
    ///
    /// # Errors
    /// The kernel does not take the entry: nobody is told.
    pub fn answer(&self, vip: IpAddr, epoch: u64) -> Result<(), LeasedVipsError> {
        let predecessor = self.predecessors().take(vip, Instant::now());
        self.vips.answer(vip, epoch, predecessor)?;
        self.announcer.take(vip);
        Ok(())
    }

    /// As [`LeasedVips::stop`]; neighbors are told nothing more.
    ///
    /// # Errors
    /// The kernel does not take the entry: what is answered ends with the lease.
    pub fn stop(&self, vip: IpAddr) -> Result<(), LeasedVipsError> {
        self.announcer.give_up(vip);
        self.vips.stop(vip)
    }

    /// As [`LeasedVips::until`].
    pub fn until(&self, end: Duration) {
        self.vips.until(end);
    }

    /// As [`LeasedVips::leased`].
    ///
    /// # Errors
    /// The kernel does not take an entry.
    pub fn leased(&self, vips: &BTreeSet<IpAddr>) -> Result<(), LeasedVipsError> {
        self.vips.leased(vips)
    }

    /// As [`LeasedVips::adopted`].
    ///
    /// # Errors
    /// The kernel does not read the map.
    pub fn adopted(&self) -> Result<Adopted, LeasedVipsError> {
        self.vips.adopted()
    }

    /// Nobody panics in the middle of a change.
    fn predecessors(&self) -> MutexGuard<'_, Predecessors> {
        let predecessors = self.predecessors.lock();
        predecessors.unwrap_or_else(PoisonError::into_inner)
    }
}
