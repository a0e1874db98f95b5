//! The program that gives connections to VIPs which are configured nowhere to the engine, in this network namespace, and what it goes by.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::File,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{LpmTrie, MapData, MapError, PerCpuArray, SockMap, lpm_trie::Key},
    programs::{ProgramError, SkLookup},
};
use lbfabric_abi::{Address, Steered, SteeredTo, SteeringEvent};
use lbfabric_model::Prefix;
use lbfabric_proxy::SteeredVip;
use tracing::info;

use crate::object;

const TCP: u8 = 6;
/// As for the programs of packets.
const LOAD_ATTEMPTS: usize = 50;
/// Whether it is there already or not: `BPF_ANY`.
const ANY: u64 = 0;

/// An entry's key, with how many bits of it count, and whether the engine gets it.
pub(super) type Entries = BTreeMap<(Steered, u32), bool>;

/// The program. Dropping it takes it away: it is of no use without the engine.
#[derive(Default)]
pub(super) struct Steering(Option<Running>);

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

/// What the program is to go by: `vips` are the engine's without a listener, `listeners` have one, and `own` are the node's own addresses.
pub(super) fn entries<'a>(
    vips: impl Iterator<Item = &'a SteeredVip>,
    listeners: impl Iterator<Item = &'a SocketAddr>,
    own: &[IpAddr],
) -> Entries {
    let mut entries = Entries::new();
    let mut prefixes = HashSet::new();
    let mut lengths = BTreeSet::new();
    for SteeredVip { vip, port } in vips {
        let port = port.map_or(0, u16::from);
        entries.insert(entry(*vip, port), true);
        prefixes.insert(*vip);
        lengths.insert(vip.bits());
    }
    let is_inside = |address: IpAddr| {
        let mut around = lengths
            .iter()
            .filter_map(|bits| Prefix::around(address, *bits));
        around.any(|it| prefixes.contains(&it))
    };
    let mut has_listener = HashSet::new();
    for at in listeners.filter(|at| is_inside(at.ip())) {
        entries.insert(entry(at.ip().into(), at.port()), false);
        has_listener.insert(at.ip());
    }
    let own = own.iter().filter(|it| !has_listener.contains(it));
    for address in own.filter(|it| is_inside(**it)) {
        // Of every port, whatever a service has there.
        entries.insert(entry((*address).into(), 0), false);
    }
    entries
}

fn entry(vip: Prefix, port: u16) -> (Steered, u32) {
    let bits = u32::from(vip.bits()) + if vip.is_ipv4() { 96 } else { 0 };
    (Steered::new(Address::from(vip.address()), port, TCP), bits)
}

// === impl Steering ===

impl Steering {
    /// Goes by these from now on, with these sockets of IPv4 and IPv6; without any entry there is no program.
    pub(super) fn follow(
        &mut self,
        wanted: &Entries,
        sockets: [Option<&TcpListener>; 2],
    ) -> Result<(), SteeringError> {
        if wanted.is_empty() {
            if self.0.take().is_some() {
                info!("connections are not given to the engine by a program any more");
            }
            return Ok(());
        }
        if wanted.len() > usize::try_from(Steered::ENTRIES_MAX).unwrap_or(usize::MAX) {
            let count = wanted.len();
            return Err(SteeringError::TooMany { count });
        }
        let running = match &mut self.0 {
            Some(running) => running,
            none => none.insert(Running::start()?),
        };
        running.hold(sockets)?;
        running.write(wanted)
    }

    pub(super) const fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// What it has counted.
    pub(super) fn counts(&self) -> Result<BTreeMap<&'static str, u64>, SteeringError> {
        let Some(running) = &self.0 else {
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

    /// Of several sockets that listen at one's address the kernel chooses by itself.
    fn hold(&mut self, sockets: [Option<&TcpListener>; 2]) -> Result<(), SteeringError> {
        for (family, socket) in sockets.into_iter().enumerate() {
            if let Some(socket) = socket {
                let place = Steered::socket(family == 0, false);
                self.sockets.set(place, socket, ANY)?;
            }
        }
        Ok(())
    }

    /// New entries come first, so that no VIP is without one that had one before.
    fn write(&mut self, wanted: &Entries) -> Result<(), SteeringError> {
        for ((whose, bits), to_engine) in wanted {
            if self.written.get(&(*whose, *bits)) == Some(to_engine) {
                continue;
            }
            let key = Key::new(Steered::PORT_BITS + bits, *whose);
            let value = SteeredTo {
                bits: *bits,
                to_engine: u32::from(*to_engine),
            };
            self.entries.insert(&key, value, ANY)?;
            self.written.insert((*whose, *bits), *to_engine);
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
        let listeners =
            ["10.9.1.1:80", "10.8.1.1:80", "[fd09::1]:443"].map(|it| it.parse().unwrap());
        let own = ["10.9.1.1", "10.9.7.7", "10.7.0.1", "fd09::9"].map(|it| it.parse().unwrap());
        let found = entries(vips.iter(), listeners.iter(), &own);
        let expected: Entries = [
            ("10.9.0.0", 16 + 96, 0, true),
            ("fd09::", 32, 443, true),
            ("10.9.1.1", 128, 80, false),
            ("fd09::1", 128, 443, false),
            ("10.9.7.7", 128, 0, false),
            ("fd09::9", 128, 0, false),
        ]
        .into_iter()
        .map(|(address, bits, port, to_engine)| {
            let address: IpAddr = address.parse().unwrap();
            ((Steered::new(address.into(), port, TCP), bits), to_engine)
        })
        .collect();
        assert_eq!(found, expected);
    }
}
