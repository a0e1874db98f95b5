use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use aya::Ebpf;
use lbfabric_abi::{FlowKey, NextHop};
use lbfabric_model::{BackendId, ObjectKey, PacketQuestion};
use lbfabric_proto::v1;

use crate::{
    explain::{Names, explain},
    maps::{AyaMaps, LbMaps as _, OpenMapsError, ReadMapError, monotonic_ns},
    plan::{Desired, Health, HealthView, Local, NatPorts, Way},
    random::random_words,
    reconciler::{PlanInputs, ReconcileError, Reconciled, Reconciler},
    snapshot::{DeltaError, DeltaOutcome, HeldSnapshot},
};

/// What writes the maps in the agent, without what feeds it: stream, probes and network. Benchmarks and tests feed it
/// themselves, and run the programs on the maps that it writes.
///
/// ```text
/// deltas ──► HeldSnapshot ──► Desired ─┐
/// probes ──► HealthView ───────────────┼──► Reconciler ──► the programs' maps
/// next hops ───────────────────────────┘
/// ```
pub struct MapKeeper {
    reconciler: Reconciler<AyaMaps>,
    held: HeldSnapshot,
    desired: Desired,
    health: HealthView,
    next_hops: BTreeMap<IpAddr, Way>,
    local: Local,
}

/// What a round of writing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How many writes it took.
    pub writes: usize,
    /// When the maps have to be written again, though nothing has happened.
    pub wake_at: Option<Instant>,
    /// What cannot be done, and why.
    pub refusals: BTreeMap<ObjectKey, String>,
}

/// The maps are not as they have to be.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct KeepError(#[from] KeepErrorKind);

#[derive(Debug, thiserror::Error)]
enum KeepErrorKind {
    #[error(transparent)]
    Open(#[from] OpenMapsError),
    #[error(transparent)]
    Delta(#[from] DeltaError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    Read(#[from] ReadMapError),
}

impl MapKeeper {
    /// Takes over the maps of a loaded object, with what they hold. `own` are the node's addresses, to send from.
    pub fn open(ebpf: &mut Ebpf, own: &[IpAddr]) -> Result<Self, KeepError> {
        let maps = AyaMaps::open(ebpf).map_err(KeepErrorKind::from)?;
        let mut local = Local {
            nat_ports: NatPorts::beside(32_768, 60_999),
            ..Local::default()
        };
        for address in own {
            match address {
                IpAddr::V4(v4) => local.sources4.push(*v4),
                IpAddr::V6(v6) => local.sources6.push(*v6),
            }
        }
        Ok(Self {
            reconciler: Reconciler::new(maps, FlowKey(random_words())),
            held: HeldSnapshot::default(),
            desired: Desired::default(),
            health: HealthView::default(),
            next_hops: BTreeMap::new(),
            local,
        })
    }

    /// Follows what a controller sends. Nothing is written yet.
    pub fn deliver(&mut self, delta: v1::Delta) -> Result<(), KeepError> {
        match self.held.apply(delta).map_err(KeepErrorKind::from)? {
            DeltaOutcome::Ignored => {}
            DeltaOutcome::Applied(changed) => self.desired.follow(&self.held, &changed),
        }
        Ok(())
    }

    /// Notes that a server's check passes, or fails since `now`.
    pub fn note_probe(&mut self, server: BackendId, passes: bool, now: Instant) {
        let health = if passes {
            Health::Up
        } else {
            Health::Down {
                reason: "refused".to_owned(),
                since: now,
            }
        };
        self.health.0.insert(server, health);
    }

    /// Notes how every server that is desired is reached.
    pub fn reach_all_by(&mut self, hop: NextHop) {
        let addresses = self.desired.backend_addresses();
        self.next_hops = addresses
            .into_iter()
            .map(|it| {
                (
                    it,
                    Way {
                        hop,
                        ..Way::default()
                    },
                )
            })
            .collect();
    }

    /// Brings the maps to what is known by `now`.
    pub fn write(&mut self, now: Instant) -> Result<Kept, KeepError> {
        let inputs = PlanInputs {
            desired: &self.desired,
            health: &self.health,
            next_hops: &self.next_hops,
            local: &self.local,
            settings_refusal: None,
            now,
        };
        let Reconciled {
            writes,
            refusals,
            panics: _,
            former: _,
            wake_at,
        } = self
            .reconciler
            .reconcile(&inputs)
            .map_err(KeepErrorKind::from)?;
        Ok(Kept {
            writes,
            wake_at,
            refusals,
        })
    }

    /// Frees entries of the flow table as the agent does from time to time, and gives the servers of the others.
    pub fn sweep(&mut self) -> BTreeSet<BackendId> {
        self.reconciler.sweep()
    }

    /// Notes how one server's address is reached.
    pub fn reach_by(&mut self, address: IpAddr, hop: NextHop, host_bits: u8) {
        let way = Way {
            hop,
            mtu: 0,
            host_bits,
        };
        self.next_hops.insert(address, way);
    }

    /// What the programs would do with a packet, as the agent answers a controller.
    pub fn explain(&self, packet: &v1::PacketQuestion) -> Result<v1::Explanation, String> {
        let packet = PacketQuestion::parse(packet, "packet").map_err(|it| format!("{it:?}"))?;
        let names = Names {
            desired: &self.desired,
            links: BTreeMap::new(),
        };
        explain(&packet, &names, self.reconciler.maps(), monotonic_ns())
    }

    /// Packets by verdict or drop reason, by name.
    pub fn counters(&self) -> Result<BTreeMap<&'static str, u64>, KeepError> {
        let counters = self.reconciler.maps().counters();
        Ok(counters.map_err(KeepErrorKind::from)?)
    }
}
