//! The program that gives connections to VIPs which are configured nowhere to the engine, in this network namespace, and what it goes by.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::File,
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{LpmTrie, MapData, MapError, PerCpuArray, SockMap, lpm_trie::Key},
    programs::{ProgramError, SkLookup},
};
use lbfabric_abi::{Address, Steered, SteeredTo, SteeringEvent};
use lbfabric_model::Prefix;
use lbfabric_proxy::{ServiceKey, SteeredVip};
use tracing::info;

use crate::object;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// As for the programs of packets.
const LOAD_ATTEMPTS: usize = 50;
/// Whether it is there already or not: `BPF_ANY`.
const ANY: u64 = 0;

/// An entry's key, with how many bits of it count, and the place of the socket that gets it; none: what the kernel finds by itself.
pub(super) type Entries = BTreeMap<(Steered, u32), Option<u32>>;

/// The places of the sockets of services of datagrams.
pub(super) type Places = BTreeMap<ServiceKey, u32>;

/// What the program gives its finds to.
pub(super) struct Sockets<'a> {
    /// Of IPv4, and of IPv6.
    pub(super) listeners: [Option<&'a TcpListener>; 2],
    /// By their places.
    pub(super) datagrams: BTreeMap<u32, UdpSocket>,
}

/// The program. Dropping it takes it away: it is of no use without the engine.
#[derive(Default)]
pub(super) struct Steering {
    running: Option<Running>,
    places: Places,
}

struct Running {
    entries: LpmTrie<MapData, Steered, SteeredTo>,
    sockets: SockMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
    written: Entries,
    /// Holds the program, and its link to the namespace.
    _ebpf: Ebpf,
}

/// Connections to VIPs cannot be given to the engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SteeringError {
    /// More than [`Steered::ENTRIES_MAX`].
    #[error(
        "services that listen transparently need {count} entries on this node, {} at most: use fewer VIPs or ports",
        Steered::ENTRIES_MAX
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The kernel does not take the program.
    #[error("load the program that gives connections to the engine")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The namespace cannot be opened.
    #[error("open the network namespace")]
    Namespace(#[source] io::Error),
    /// Its maps.
    #[error("the program's maps")]
    Maps(#[from] MapError),
}

/// What the program is to go by: `vips` are for the sockets at these places, `listeners` have one of their own, and `own` are the node's addresses.
/// Each with its protocol.
pub(super) fn entries<'a>(
    vips: impl Iterator<Item = (&'a SteeredVip, u8, u32)>,
    listeners: impl Iterator<Item = (SocketAddr, u8)>,
    own: &[IpAddr],
) -> Entries {
    let mut entries = Entries::new();
    let mut prefixes = HashSet::new();
    let mut lengths = BTreeSet::new();
    for (SteeredVip { vip, port }, protocol, place) in vips {
        let port = port.map_or(0, u16::from);
        entries.insert(entry(*vip, port, protocol), Some(place));
        prefixes.insert((*vip, protocol));
        lengths.insert(vip.bits());
    }
    let is_inside = |address: IpAddr, protocol: u8| {
        let mut around = lengths
            .iter()
            .filter_map(|bits| Prefix::around(address, *bits));
        around.any(|it| prefixes.contains(&(it, protocol)))
    };
    let mut has_listener = HashSet::new();
    for (at, protocol) in listeners.filter(|(at, protocol)| is_inside(at.ip(), *protocol)) {
        entries.insert(entry(at.ip().into(), at.port(), protocol), None);
        has_listener.insert(at.ip());
    }
    for address in own.iter().filter(|it| !has_listener.contains(it)) {
        for protocol in [TCP, UDP].into_iter().filter(|it| is_inside(*address, *it)) {
            // Of every port, whatever a service has there.
            entries.insert(entry((*address).into(), 0, protocol), None);
        }
    }
    entries
}

fn entry(vip: Prefix, port: u16, protocol: u8) -> (Steered, u32) {
    let bits = u32::from(vip.bits()) + if vip.is_ipv4() { 96 } else { 0 };
    let address = Address::from(vip.address());
    (Steered::new(address, port, protocol), bits)
}

// === impl Steering ===

impl Steering {
    /// Places for the sockets of these services: those that had one keep it, and nobody gets what was another one's until now.
    pub(super) fn places<'a>(&self, services: impl Iterator<Item = &'a ServiceKey>) -> Places {
        let taken: BTreeSet<u32> = self.places.values().copied().collect();
        let mut free =
            (Steered::FIRST_OF_DATAGRAMS..Steered::SOCKETS).filter(|it| !taken.contains(it));
        let place = |key: &ServiceKey| {
            let had = self.places.get(key).copied();
            Some((*key, had.or_else(|| free.next())?))
        };
        services.filter_map(place).collect()
    }

    /// Goes by these from now on, with these sockets, some of which are at places of services; without any entry there is no program.
    pub(super) fn follow(
        &mut self,
        wanted: &Entries,
        sockets: &Sockets<'_>,
        places: Places,
    ) -> Result<(), SteeringError> {
        if wanted.is_empty() {
            self.places.clear();
            if self.running.take().is_some() {
                info!("connections are not given to the engine by a program any more");
            }
            return Ok(());
        }
        if wanted.len() > usize::try_from(Steered::ENTRIES_MAX).unwrap_or(usize::MAX) {
            let count = wanted.len();
            return Err(SteeringError::TooMany { count });
        }
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start()?),
        };
        running.hold(sockets)?;
        running.write(wanted)?;
        self.places = places;
        Ok(())
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What it has counted.
    pub(super) fn counts(&self) -> Result<BTreeMap<&'static str, u64>, SteeringError> {
        let Some(running) = &self.running else {
            return Ok(BTreeMap::new());
        };
        let count = |event: SteeringEvent| {
            let of_cpus = running.counters.get(&event.index(), 0)?;
            Ok((event.name(), of_cpus.iter().sum()))
        };
        SteeringEvent::ALL.into_iter().map(count).collect()
    }
}

// === impl Running ===

impl Running {
    /// In the calling thread's network namespace.
    fn start() -> Result<Self, SteeringError> {
        fn refused(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SteeringError {
            SteeringError::Load(error.into())
        }
        let mut ebpf = EbpfLoader::new()
            .load(object::steering())
            .map_err(refused)?;
        let namespace = File::open("/proc/thread-self/ns/net").map_err(SteeringError::Namespace)?;
        let program = ebpf.program_mut(object::STEERING);
        let program: &mut SkLookup = program
            .ok_or_else(|| refused("it is missing"))?
            .try_into()
            .map_err(refused)?;
        load(program).map_err(refused)?;
        program.attach(&namespace).map_err(refused)?;
        let mut map = |name: &'static str| {
            let map = ebpf.take_map(name);
            map.ok_or_else(|| refused(format!("there is no map {name}")))
        };
        info!("a program gives connections to the engine");
        Ok(Self {
            entries: LpmTrie::try_from(map("STEERED")?)?,
            sockets: SockMap::try_from(map("STEERING_SOCKETS")?)?,
            counters: PerCpuArray::try_from(map("STEERING_COUNTERS")?)?,
            written: Entries::new(),
            _ebpf: ebpf,
        })
    }

    /// Of several sockets that listen at one's address the kernel chooses by itself. One that has been closed is in no place any more.
    fn hold(&mut self, sockets: &Sockets<'_>) -> Result<(), SteeringError> {
        for (family, socket) in sockets.listeners.into_iter().enumerate() {
            if let Some(socket) = socket {
                let place = Steered::listeners(family == 0);
                self.sockets.set(place, socket, ANY)?;
            }
        }
        for (place, socket) in &sockets.datagrams {
            self.sockets.set(*place, socket, ANY)?;
        }
        Ok(())
    }

    /// New entries come first, so that no VIP is without one that had one before.
    fn write(&mut self, wanted: &Entries) -> Result<(), SteeringError> {
        for ((whose, bits), place) in wanted {
            if self.written.get(&(*whose, *bits)) == Some(place) {
                continue;
            }
            let key = Key::new(Steered::PORT_BITS + bits, *whose);
            let value = SteeredTo::new(*bits, *place);
            self.entries.insert(&key, value, ANY)?;
            self.written.insert((*whose, *bits), *place);
        }
        let gone: Vec<_> = self.written.keys().copied().collect();
        for (whose, bits) in gone.into_iter().filter(|it| !wanted.contains_key(it)) {
            self.entries
                .remove(&Key::new(Steered::PORT_BITS + bits, whose))?;
            self.written.remove(&(whose, bits));
        }
        Ok(())
    }
}

/// A signal that arrives while the kernel checks a program ends the check.
fn load(program: &mut SkLookup) -> Result<(), ProgramError> {
    for _ in 1..LOAD_ATTEMPTS {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
    program.load()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    #[test]
    fn what_is_somebody_elses_inside_of_a_prefix_is_left_alone() {
        let steered = |address: &str, bits, port| SteeredVip {
            vip: Prefix::new(address.parse().unwrap(), bits).unwrap(),
            port: NonZeroU16::new(port),
        };
        let vips = [steered("10.9.0.0", 16, 0), steered("fd09::", 32, 443)];
        let datagrams = steered("10.7.0.0", 16, 53);
        let listeners =
            ["10.9.1.1:80", "10.8.1.1:80", "[fd09::1]:443"].map(|it| (it.parse().unwrap(), TCP));
        let own = ["10.9.1.1", "10.9.7.7", "10.7.0.1", "fd09::9"].map(|it| it.parse().unwrap());
        let vips = vips.iter().map(|it| (it, TCP, 1));
        let found = entries(
            vips.chain([(&datagrams, UDP, 7)]),
            listeners.into_iter(),
            &own,
        );
        let expected: Entries = [
            ("10.9.0.0", 16 + 96, 0, TCP, Some(1)),
            ("fd09::", 32, 443, TCP, Some(1)),
            ("10.9.1.1", 128, 80, TCP, None),
            ("fd09::1", 128, 443, TCP, None),
            ("10.9.7.7", 128, 0, TCP, None),
            ("fd09::9", 128, 0, TCP, None),
            ("10.7.0.0", 16 + 96, 53, UDP, Some(7)),
            ("10.7.0.1", 128, 0, UDP, None),
        ]
        .into_iter()
        .map(|(address, bits, port, protocol, place)| {
            let address: IpAddr = address.parse().unwrap();
            let whose = Steered::new(address.into(), port, protocol);
            ((whose, bits), place)
        })
        .collect();
        assert_eq!(found, expected);
    }
    #[test]
    fn a_place_is_given_on_only_after_its_service_has_gone() {
        let key = |id| ServiceKey { id, part: 0 };
        let mut steering = Steering::default();
        let first = steering.places([key(1), key(2)].iter());
        assert_eq!(first, [(key(1), 2), (key(2), 3)].into());
        steering.places = first;
        let second = steering.places([key(2), key(3)].iter());
        assert_eq!(second, [(key(2), 3), (key(3), 4)].into());
        steering.places = second;
        let third = steering.places([key(2), key(3), key(4)].iter());
        assert_eq!(third, [(key(2), 3), (key(3), 4), (key(4), 2)].into());
    }
}
