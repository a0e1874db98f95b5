//! Changes of a pool with 65,537 slots and 500 servers: from what the agent hears to the last slot written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use aya::Ebpf;
use lbfabric_abi::{FLOW_WAYS, FlowBucket, FlowEntry, FlowTick, NextHop};
use lbfabric_model::{
    BackendId, maglev,
    snapshot::{SnapshotBody, SnapshotObject},
};
use lbfabric_node::MapKeeper;
use lbfabric_proto::v1;
use nix::{sys::time::TimeSpec, time::ClockId};

use crate::{
    clock::own_time,
    fabric::{Fabric, LARGE, LARGE_SERVERS, large_server},
    kernel,
    report::Row,
};

/// A prime above 128 slots for each of 512 servers.
pub(crate) const LARGE_SLOTS: u32 = 65_537;
const LIMIT: Duration = Duration::from_millis(10);
/// The default hold time, and the time until a server that fails is declared dead.
const HOLD: Duration = Duration::from_mins(15);
/// Until a sweep is due in any case.
const SWEEP: Duration = Duration::from_mins(10);
/// The node's address, for modes that send from it.
const OWN: &str = "10.255.0.1";
/// How all servers are reached.
const HOP: NextHop = NextHop {
    ifindex: 1,
    source_mac: [2, 0, 0, 0, 0, 1],
    mac: [2, 0, 0, 0, 0, 2],
};
/// The server that things happen to, by number, and another one that comes and goes.
const VICTIM: usize = 137;
const NEWCOMER: usize = LARGE_SERVERS;

/// The agent's writer over maps, and the time as it is told.
pub(crate) struct World {
    pub(crate) ebpf: Ebpf,
    fabric: Fabric,
    keeper: MapKeeper,
    now: Instant,
    /// The large pool's servers with their ids, and which of them are to be on its ring.
    ids: BTreeMap<String, BackendId>,
    members: BTreeSet<usize>,
}

/// One kind of change: what it is called, and how it comes about.
type Change = (&'static str, fn(&mut World) -> Duration);

const CHANGES: [Change; 5] = [
    ("fails its check", World::fail),
    ("passes its check again", World::pass),
    ("is added", World::add),
    ("is drained", World::drain),
    ("is removed", World::remove),
];

/// The changes with no other pool in the fabric, and the reading of a full flow table.
pub(crate) fn alone(rounds: u32) -> Vec<Row> {
    let pins = kernel::Pins::new();
    let (mut world, _) = World::load(pins.load(LARGE_SLOTS), Fabric::new(0));
    world.probe_all();
    let mut rows = changes(&mut world, rounds, "");
    rows.push(world.sweeps(rounds));
    rows
}

/// One row for each kind of change.
pub(crate) fn changes(world: &mut World, rounds: u32, beside: &str) -> Vec<Row> {
    let row = |(what, _): &Change| {
        let what = format!("a server of 500 {what}{beside}");
        Row::new(what, Some(LIMIT))
    };
    let mut rows: Vec<Row> = CHANGES.iter().map(row).collect();
    for round in 0..=rounds {
        for (row, (_, change)) in rows.iter_mut().zip(CHANGES) {
            let took = change(world);
            world.check_ring();
            // Caches warm in a round that does not count.
            if round > 0 {
                row.times.push(took);
            }
        }
        world.undrain();
        world.rest();
    }
    rows
}

impl World {
    /// Loads a fabric into empty maps, and says how long that took.
    pub(crate) fn load(mut ebpf: Ebpf, mut fabric: Fabric) -> (Self, Duration) {
        let keeper = MapKeeper::open(&mut ebpf, &[OWN.parse().unwrap()]).unwrap();
        let delta = fabric.delta();
        let mut world = Self {
            ebpf,
            fabric,
            keeper,
            now: Instant::now(),
            ids: ids_of(&delta),
            members: (0..LARGE_SERVERS).collect(),
        };
        let start = own_time();
        world.keeper.deliver(delta).unwrap();
        world.keeper.reach_all_by(HOP);
        world.write();
        (world, since(start))
    }

    fn write(&mut self) {
        let kept = self.keeper.write(self.now).unwrap();
        assert!(kept.refusals.is_empty(), "{:?}", kept.refusals);
    }

    /// A new agent takes over what stands in the maps; how long that takes.
    pub(crate) fn take_over(self, mut ebpf: Ebpf) -> Duration {
        let Self {
            mut fabric, now, ..
        } = self;
        let delta = fabric.whole();
        let start = own_time();
        let mut keeper = MapKeeper::open(&mut ebpf, &[OWN.parse().unwrap()]).unwrap();
        keeper.deliver(delta).unwrap();
        keeper.reach_all_by(HOP);
        let kept = keeper.write(now).unwrap();
        let took = since(start);
        assert_eq!(kept.writes, 0, "the maps were as they had to be");
        took
    }

    /// All servers of the large pool pass their check.
    pub(crate) fn probe_all(&mut self) {
        for n in 0..LARGE_SERVERS {
            self.probe(n, true);
        }
        self.write();
        self.rest();
        self.check_ring();
    }

    fn probe(&mut self, server: usize, passes: bool) {
        let id = self.ids[&name(server)];
        self.keeper.note_probe(id, passes, self.now);
    }

    /// Lets hold times pass, and sweeps find nothing, until no slot is marked any more.
    fn rest(&mut self) {
        for wait in [HOLD, SWEEP, SWEEP] {
            self.now += wait + Duration::from_secs(1);
            self.write();
        }
    }

    fn timed(&mut self, input: impl FnOnce(&mut Self)) -> Duration {
        self.now += Duration::from_millis(1);
        let start = own_time();
        input(self);
        self.write();
        since(start)
    }

    fn configured(
        &mut self,
        change: impl FnOnce(&mut Vec<v1::BackendSpec>),
        passes: Option<usize>,
    ) -> Duration {
        self.fabric.change_large(change);
        let delta = self.fabric.delta();
        self.ids = ids_of(&delta);
        self.timed(|world| {
            world.keeper.deliver(delta).unwrap();
            if let Some(server) = passes {
                world.probe(server, true);
            }
        })
    }

    fn fail(&mut self) -> Duration {
        self.members.remove(&VICTIM);
        self.timed(|world| world.probe(VICTIM, false))
    }

    fn pass(&mut self) -> Duration {
        self.members.insert(VICTIM);
        self.timed(|world| world.probe(VICTIM, true))
    }

    /// It stands on the ring when its first probe has passed.
    fn add(&mut self) -> Duration {
        self.members.insert(NEWCOMER);
        self.configured(
            |servers| servers.push(large_server(NEWCOMER)),
            Some(NEWCOMER),
        )
    }

    fn remove(&mut self) -> Duration {
        self.members.remove(&NEWCOMER);
        self.configured(|servers| servers.truncate(NEWCOMER), None)
    }

    fn drain(&mut self) -> Duration {
        self.members.remove(&VICTIM);
        self.configured(|servers| servers[VICTIM].weight = Some(0), None)
    }

    fn undrain(&mut self) {
        self.members.insert(VICTIM);
        self.configured(|servers| servers[VICTIM].weight = None, None);
    }

    /// New flows go where they have to, in every slot.
    fn check_ring(&mut self) {
        let names: Vec<String> = self.members.iter().map(|n| name(*n)).collect();
        let entries = names.iter().map(|name| maglev::Entry {
            id: self.ids[name].0,
            name,
            weight: 100,
        });
        let wanted = maglev::ring(&entries.collect::<Vec<_>>(), LARGE_SLOTS);
        // The first pool of the first delta is placed first.
        assert!(kernel::ring(&mut self.ebpf, 0, LARGE_SLOTS) == wanted);
    }

    /// Reads a flow table in which a million live flows stand.
    fn sweeps(&mut self, rounds: u32) -> Row {
        let servers: Vec<u32> = self.ids.values().map(|id| id.0).collect();
        let limit = Duration::from_millis(50);
        let mut row = Row::new(
            "the flow table is swept, 1 Mi flows".to_owned(),
            Some(limit),
        );
        let tick = FlowTick::at(monotonic_ns());
        kernel::fill_flows(&mut self.ebpf, |bucket| {
            let mut entries = [FlowEntry::FREE; FLOW_WAYS];
            for (tag, entry) in (1..).zip(&mut entries) {
                let server = servers[(bucket as usize + tag as usize) % servers.len()];
                *entry = FlowEntry::new(tag, server, tick, false);
            }
            FlowBucket { entries }
        });
        for _ in 0..rounds {
            let start = own_time();
            let named = self.keeper.sweep();
            row.times.push(since(start));
            assert_eq!(named.len(), servers.len());
        }
        row
    }
}

fn name(server: usize) -> String {
    format!("s{server}")
}

/// The ids of the large pool's servers.
fn ids_of(delta: &v1::Delta) -> BTreeMap<String, BackendId> {
    let objects = delta.upserts.iter();
    let objects = objects.map(|it| SnapshotObject::decode(&it.object).unwrap());
    let pool = objects.into_iter().find_map(|object| match object.body {
        SnapshotBody::Pool(pool) if object.name == LARGE => Some(pool),
        _ => None,
    });
    let servers = pool.into_iter().flat_map(|pool| pool.backends);
    servers.map(|it| (it.name, it.id)).collect()
}

/// The writer waits for nothing, so that on a core of its own this is the time that passes.
fn since(start: TimeSpec) -> Duration {
    (own_time() - start).into()
}

fn monotonic_ns() -> u64 {
    let now = ClockId::CLOCK_MONOTONIC.now().unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}
