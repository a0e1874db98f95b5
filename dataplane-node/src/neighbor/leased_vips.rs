//! The maps by which the programs know what to answer for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError},
};
use lbfabric_abi::{Address, ClaimsSeen, LeasedVip, LinkAddress, NextHop, VipClaim};

use super::{
    Mac,
    rivals::{Rival, Rivals},
};
use crate::maps::{SharedWords, boot_clock};

/// What the programs answer for. Any thread may use it; renewing the lease waits for none of the others.
pub struct LeasedVips {
    /// The end of the lease, in nanoseconds of `CLOCK_BOOTTIME`: the program reads it for every question.
    end: SharedWords,
    tables: Mutex<Tables>,
}

struct Tables {
    vips: HashMap<MapData, Address, LeasedVip>,
    links: HashMap<MapData, u32, LinkAddress>,
    claims: HashMap<MapData, VipClaim, ClaimsSeen>,
    /// As in `LINKS`.
    known_links: BTreeMap<u32, Mac>,
    rivals: Rivals,
}

/// What a former agent has left in the maps: the programs go on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// All leased VIPs; those that are held, with the epochs of their assignments.
    pub vips: BTreeMap<IpAddr, Option<u64>>,
    /// The lease's end, of `CLOCK_BOOTTIME`; zero if there never was one.
    pub until: Duration,
}

/// A map of leases could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LeasedVipsError {
    /// The object is another one's.
    #[error("the eBPF object has no map {map} of the expected shape")]
    Missing {
        /// Its name.
        map: &'static str,
    },
    /// It cannot be mapped.
    #[error("map {map} cannot be shared with the agent")]
    Mapping {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel does not read it.
    #[error("read map {map}")]
    Read {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// The kernel does not take an entry.
    #[error("write map {map}")]
    Write {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

/// After so long no neighbor takes the node for a VIP's owner any more: the next one has announced itself five times by then.
const SETTLING: Duration = Duration::from_secs(3);

const VIPS: &str = "LEASED_VIPS";
const END: &str = "LEASE";
const LINKS: &str = "LINKS";
const CLAIMS: &str = "VIP_CLAIMS";

impl LeasedVips {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    /// A map is missing, or cannot be mapped.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, LeasedVipsError> {
        let Some(Map::Array(end)) = ebpf.map(END) else {
            return Err(LeasedVipsError::Missing { map: END });
        };
        let end = SharedWords::new(end, 1)
            .map_err(|source| LeasedVipsError::Mapping { map: END, source })?;
        let tables = Tables {
            vips: take(ebpf, VIPS)?,
            links: take(ebpf, LINKS)?,
            claims: take(ebpf, CLAIMS)?,
            known_links: BTreeMap::new(),
            rivals: Rivals::default(),
        };
        Ok(Self {
            end,
            tables: Mutex::new(tables),
        })
    }

    /// Answers for all VIPs that are held until that moment of `CLOCK_BOOTTIME`. One store, no call of the kernel.
    pub fn until(&self, end: Duration) {
        let nanoseconds = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
        self.end.words()[0].store(nanoseconds, Ordering::Release);
    }

    /// Answers for a VIP from now on, while the lease lasts; what belongs to older connections goes on to `predecessor`. One that is held
    /// already keeps its own.
    ///
    /// # Errors
    /// The kernel does not read or take the entry.
    pub fn answer(
        &self,
        vip: IpAddr,
        epoch: u64,
        predecessor: Option<NextHop>,
    ) -> Result<(), LeasedVipsError> {
        let mut tables = self.tables();
        let before = tables
            .get(&vip.into())
            .map_err(|source| LeasedVipsError::Read { map: VIPS, source })?
            .filter(LeasedVip::is_held)
            .map(|it| it.predecessor);
        let predecessor = before.or(predecessor).unwrap_or_default();
        let held = LeasedVip {
            predecessor,
            ..LeasedVip::held(epoch)
        };
        tables.put(vip, held)?;
        tables.rivals.take(vip, boot_clock());
        Ok(())
    }

    /// Leaves a VIP to others: nobody on this node answers for it when this returns. A question that a program has begun to look at
    /// may still be answered, microseconds later.
    ///
    /// # Errors
    /// The kernel does not take the entry.
    pub fn stop(&self, vip: IpAddr) -> Result<(), LeasedVipsError> {
        let mut tables = self.tables();
        tables.rivals.give_up(vip);
        let settles_at = (boot_clock() + SETTLING).as_nanos();
        let settles_at = u64::try_from(settles_at).unwrap_or(u64::MAX);
        tables.put(vip, LeasedVip::given_up(settles_at))
    }

    /// A VIP as the programs see it now, and the end of the lease; none if it is not leased.
    ///
    /// # Errors
    /// The kernel does not read the map.
    pub fn look_up(&self, vip: &Address) -> Result<Option<(LeasedVip, Duration)>, MapError> {
        let found = self.tables().get(vip)?;
        Ok(found.map(|it| (it, self.end())))
    }

    /// Whether the programs answer for a VIP now.
    pub(super) fn answers(&self, vip: IpAddr) -> bool {
        self.tables().is_held(&vip.into()) && boot_clock() < self.end()
    }

    fn end(&self) -> Duration {
        Duration::from_nanos(self.end.words()[0].load(Ordering::Acquire))
    }

    /// These are the VIPs that one node at a time answers for; what is new among them is not held. Of others, the kernel decides.
    ///
    /// # Errors
    /// The kernel does not take an entry.
    pub fn leased(&self, vips: &BTreeSet<IpAddr>) -> Result<(), LeasedVipsError> {
        let mut tables = self.tables();
        let there = tables.vips()?;
        for vip in vips.iter().filter(|vip| !there.contains_key(vip)) {
            tables.put(*vip, LeasedVip::default())?;
        }
        for vip in there.keys().filter(|vip| !vips.contains(vip)) {
            tables.rivals.give_up(*vip);
            tables
                .vips
                .remove(&Address::from(*vip))
                .map_err(|source| LeasedVipsError::Write { map: VIPS, source })?;
        }
        Ok(())
    }

    /// What the maps hold: of a former agent, after a start.
    ///
    /// # Errors
    /// The kernel does not read the map.
    pub fn adopted(&self) -> Result<Adopted, LeasedVipsError> {
        let vips = self.tables().vips()?;
        Ok(Adopted {
            vips: vips
                .into_iter()
                .map(|(vip, lease)| (vip, lease.is_held().then_some(lease.epoch)))
                .collect(),
            until: self.end(),
        })
    }

    /// The interfaces that carry the program, with their own addresses.
    ///
    /// # Errors
    /// The kernel does not take an entry.
    pub fn links(&self, links: &BTreeMap<u32, Mac>) -> Result<(), LeasedVipsError> {
        let failed = |source| LeasedVipsError::Write { map: LINKS, source };
        let mut tables = self.tables();
        if tables.known_links == *links {
            return Ok(());
        }
        let there: Vec<u32> = tables.links.keys().filter_map(Result::ok).collect();
        for (ifindex, mac) in links {
            let link = LinkAddress {
                mac: *mac,
                zero: [0; 2],
            };
            tables.links.insert(ifindex, link, 0).map_err(failed)?;
        }
        for ifindex in there.iter().filter(|it| !links.contains_key(it)) {
            tables.links.remove(ifindex).map_err(failed)?;
        }
        tables.known_links.clone_from(links);
        Ok(())
    }

    pub(super) fn known_links(&self) -> BTreeMap<u32, Mac> {
        self.tables().known_links.clone()
    }

    /// Looks for others who take themselves for the owner of a VIP that the node holds, `own` being the addresses of all of its interfaces;
    /// gives those that were not there the last time.
    ///
    /// # Errors
    /// The kernel does not read the map.
    pub fn look_for_rivals(&self, own: &BTreeSet<Mac>) -> Result<Vec<Rival>, LeasedVipsError> {
        let mut tables = self.tables();
        let mut claims = tables.claims()?;
        claims.retain(|(claim, _)| tables.is_held(&claim.vip));
        Ok(tables.rivals.look(&claims, own, boot_clock()))
    }

    /// Those that have been found within the last minute.
    pub fn rivals(&self) -> Vec<Rival> {
        self.tables().rivals.all().cloned().collect()
    }

    /// Nobody panics in the middle of a change that matters: each is one call of the kernel.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn put(&mut self, vip: IpAddr, lease: LeasedVip) -> Result<(), LeasedVipsError> {
        self.vips
            .insert(Address::from(vip), lease, 0)
            .map_err(|source| LeasedVipsError::Write { map: VIPS, source })
    }

    fn get(&self, vip: &Address) -> Result<Option<LeasedVip>, MapError> {
        match self.vips.get(vip, 0) {
            Ok(vip) => Ok(Some(vip)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_held(&self, vip: &Address) -> bool {
        let found = self.get(vip);
        found.is_ok_and(|it| it.is_some_and(|it| it.is_held()))
    }

    fn claims(&self) -> Result<Vec<(VipClaim, ClaimsSeen)>, LeasedVipsError> {
        let entries = self.claims.iter();
        entries
            // One that is evicted while they are read.
            .filter(|entry| !matches!(entry, Err(MapError::KeyNotFound)))
            .collect::<Result<_, _>>()
            .map_err(|source| LeasedVipsError::Read {
                map: CLAIMS,
                source,
            })
    }

    fn vips(&self) -> Result<BTreeMap<IpAddr, LeasedVip>, LeasedVipsError> {
        let entries = self.vips.iter();
        entries
            .map(|entry| entry.map(|(vip, lease)| (vip.into(), lease)))
            .collect::<Result<_, _>>()
            .map_err(|source| LeasedVipsError::Read { map: VIPS, source })
    }
}

fn take<T>(ebpf: &mut Ebpf, map: &'static str) -> Result<T, LeasedVipsError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let missing = || LeasedVipsError::Missing { map };
    let taken = ebpf.take_map(map).ok_or_else(missing)?;
    T::try_from(taken).map_err(|_shape| missing())
}
