//! No established flow with a living server moves, whatever the pool does: random sequences of changes and packets run
//! through the program and through a reference model, and both must choose the same server for each packet.
//!
//! The test plays the agent's part: it decides what slots hold, and writes them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use lbfabric_abi::{
    Backend, FLOW_WAYS, FlowBucket, FlowEntry, FlowEvent, Mode, Protocol, RingSlot, slot_of,
};
use lbfabric_model::maglev::{self, Entry};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    fabric::{FLOW_KEY, Fabric, Family, POOL, RING_KEY, backend, request, service, settings},
    kernel::{Action, IDS, INGRESS, Kernel, Program},
    packets::Packet,
    selection::{destination, flow},
};

/// A prime, and fewer than the test's `RINGS` has.
const SLOTS: u32 = 251;
/// How long base and cur differ at most, in steps; after as long a silence a flow may move.
const HOLD: u32 = 60;
const BUCKETS: u32 = 4096;
const FIRST_SERVERS: u32 = 6;

#[derive(Clone, Debug)]
enum Change {
    /// A server leaves the pool, and its flows live on.
    Drain(usize),
    Add,
    /// A check fails: no new flows, while old ones stay.
    Fail(usize),
    Recover(usize),
    /// A server is declared dead.
    Die(usize),
    /// The agent reads the table.
    Scan,
    Nothing,
}

#[derive(Clone, Debug)]
struct Step {
    change: Change,
    elapsed: u32,
    opened: usize,
    /// Which flows go on.
    talking: Vec<usize>,
    closed: Option<usize>,
}

/// What must have happened in some case, for the test to mean anything.
#[derive(Debug, Default)]
struct Seen {
    settled: usize,
    returned: usize,
    dead: usize,
    off_base: usize,
    off_cur: usize,
    forfeited: usize,
    unmarked: usize,
}

/// `ring_model.py` of the design.
struct Model {
    now: u32,
    pool: BTreeSet<u32>,
    failing: BTreeSet<u32>,
    alive: BTreeSet<u32>,
    next_server: u32,
    slots: Vec<Slot>,
    table: BTreeMap<u16, u32>,
    flows: BTreeMap<u16, Open>,
    next_flow: u16,
}

#[derive(Clone, Copy)]
struct Slot {
    cur: u32,
    base: u32,
    since: Option<u32>,
    marked: bool,
}

#[derive(Clone, Copy)]
struct Open {
    slot: usize,
    server: u32,
    last: u32,
}

fn ring(members: &BTreeSet<u32>) -> Vec<u32> {
    let names: Vec<String> = members.iter().map(|id| format!("s{id}")).collect();
    let entries: Vec<Entry<'_>> = members
        .iter()
        .zip(&names)
        .map(|(id, name)| Entry {
            id: *id,
            name,
            weight: 100,
        })
        .collect();
    maglev::ring(&entries, SLOTS)
}

fn pick(from: &BTreeSet<u32>, index: usize) -> Option<u32> {
    from.iter().nth(index % from.len().max(1)).copied()
}

// === impl Model ===

impl Model {
    fn new() -> Self {
        let pool: BTreeSet<u32> = (0..FIRST_SERVERS).collect();
        let steady = |server| Slot {
            cur: server,
            base: server,
            since: None,
            marked: false,
        };
        Self {
            now: 0,
            failing: BTreeSet::new(),
            alive: pool.clone(),
            next_server: FIRST_SERVERS,
            slots: ring(&pool).into_iter().map(steady).collect(),
            pool,
            table: BTreeMap::new(),
            flows: BTreeMap::new(),
            next_flow: 1024,
        }
    }

    fn change(&mut self, change: &Change, seen: &mut Seen) {
        let healthy: BTreeSet<u32> = self.pool.difference(&self.failing).copied().collect();
        let spare = healthy.len() > 2;
        match change {
            Change::Drain(index) if spare => {
                if let Some(server) = pick(&self.pool, *index) {
                    self.pool.remove(&server);
                }
            }
            Change::Add if self.next_server < IDS => {
                self.pool.insert(self.next_server);
                self.alive.insert(self.next_server);
                self.next_server += 1;
            }
            Change::Fail(index) if spare => self.failing.extend(pick(&healthy, *index)),
            Change::Recover(index) => {
                if let Some(server) = pick(&self.failing, *index) {
                    self.failing.remove(&server);
                }
            }
            Change::Die(index) if spare => {
                if let Some(server) = pick(&self.alive, *index) {
                    seen.dead += 1;
                    self.bury(server);
                    return;
                }
            }
            _ => {}
        }
        self.renew_rings(seen);
    }

    fn bury(&mut self, dead: u32) {
        for group in [&mut self.alive, &mut self.pool, &mut self.failing] {
            group.remove(&dead);
        }
        self.flows.retain(|_, flow| flow.server != dead);
        self.table.retain(|_, server| *server != dead);
        self.renew_rings(&mut Seen::default());
        for slot in &mut self.slots {
            if slot.base == dead {
                (slot.base, slot.since) = (slot.cur, None);
            }
        }
    }

    fn renew_rings(&mut self, seen: &mut Seen) {
        let healthy: BTreeSet<u32> = self.pool.difference(&self.failing).copied().collect();
        let members = if healthy.is_empty() {
            &self.pool
        } else {
            &healthy
        };
        for (slot, cur) in self.slots.iter_mut().zip(ring(members)) {
            slot.cur = cur;
            if slot.base == cur {
                seen.returned += usize::from(slot.since.take().is_some());
            } else {
                slot.marked = true;
                slot.since = slot.since.or(Some(self.now));
            }
        }
    }

    fn settle(&mut self, seen: &mut Seen) {
        for slot in &mut self.slots {
            if slot.since.is_some_and(|since| self.now - since >= HOLD) {
                (slot.base, slot.since) = (slot.cur, None);
                seen.settled += 1;
            }
        }
    }

    fn scan(&mut self, known: &BTreeMap<u16, u32>, seen: &mut Seen) {
        let disagree: BTreeSet<usize> = known
            .iter()
            .filter_map(|(port, server)| Some((self.flows.get(port)?.slot, server)))
            .filter(|(slot, server)| self.slots[*slot].base != **server)
            .map(|(slot, _)| slot)
            .collect();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let marked = slot.base != slot.cur || disagree.contains(&index);
            seen.unmarked += usize::from(slot.marked && !marked);
            slot.marked = marked;
        }
    }

    /// The server of a packet of a flow.
    fn choose(&mut self, port: u16, slot: usize, syn: bool) -> u32 {
        let Slot {
            cur,
            base,
            since: _,
            marked,
        } = self.slots[slot];
        if let Some(server) = self.table.get(&port).filter(|_| marked) {
            return *server;
        }
        let chosen = if syn { cur } else { base };
        if base != cur {
            self.table.insert(port, chosen);
        }
        chosen
    }
}

impl Slot {
    fn in_map(self) -> RingSlot {
        if self.marked {
            RingSlot::changed(self.cur, self.base)
        } else {
            assert_eq!(self.cur, self.base);
            RingSlot::steady(self.cur)
        }
    }
}

/// The program, in maps of which it is known what they hold.
struct Real {
    fabric: Fabric,
    written: Vec<RingSlot>,
}

impl Real {
    fn new() -> Self {
        let kernel = Kernel::load_with_flow_buckets(BUCKETS);
        let mut fabric = Fabric::on(kernel, Mode::Dnat);
        let mut settings = settings();
        settings.flow_mask = BUCKETS - 1;
        fabric.settings(settings);
        let mut service = service(Mode::Dnat);
        (service.ring_start, service.ring_slots) = (0, SLOTS);
        fabric.serve(Family::V4.vip(), Protocol::Tcp, service);
        Self {
            fabric,
            written: Vec::new(),
        }
    }

    /// An empty table, and all servers that a case may add.
    fn start(&mut self) {
        self.written.clear();
        for server in 0..IDS {
            self.fabric.backend(server, entry(server, true));
        }
        let mut flows = self.fabric.kernel.array::<FlowBucket>("FLOWS");
        for bucket in 0..BUCKETS {
            flows.set(bucket, FlowBucket::default(), 0).unwrap();
        }
    }

    fn follow(&mut self, model: &Model) {
        for dead in (0..model.next_server).filter(|it| !model.alive.contains(it)) {
            self.fabric.backend(dead, entry(dead, false));
        }
        let mut rings = self.fabric.kernel.array::<RingSlot>("RINGS");
        let wanted: Vec<RingSlot> = model.slots.iter().map(|it| it.in_map()).collect();
        for (index, slot) in (0..).zip(&wanted) {
            if self.written.get(index as usize) != Some(slot) {
                rings.set(index, *slot, 0).unwrap();
            }
        }
        self.written = wanted;
    }

    fn send(&self, packet: &Packet) -> u32 {
        let kernel = &self.fabric.kernel;
        let (action, frame) = kernel.run_uncounted(Program::Lb, &packet.build(), INGRESS);
        assert_eq!(action, Action::Redirect);
        let to = destination(Family::V4, &frame);
        assert_eq!(to[..3], [10, 2, 0]);
        u32::from(to[3]) - 1
    }

    /// What the table says of these flows.
    fn known(&mut self, model: &Model) -> BTreeMap<u16, u32> {
        let flows = self.fabric.kernel.array::<FlowBucket>("FLOWS");
        let server = |port: u16| {
            let place = flow(&packet(port)).place(&FLOW_KEY);
            let entries: [FlowEntry; FLOW_WAYS] =
                flows.get(&place.bucket(BUCKETS - 1), 0).unwrap().entries;
            let mut same = entries.iter().filter(|it| it.tag() == place.tag);
            let server = same.next()?.server();
            assert!(same.next().is_none(), "one entry for each flow");
            model.alive.contains(&server).then_some(server)
        };
        let ports = model.flows.keys();
        ports
            .filter_map(|port| Some((*port, server(*port)?)))
            .collect()
    }
}

fn entry(server: u32, alive: bool) -> Backend {
    let address = IpAddr::V4(Ipv4Addr::new(10, 2, 0, u8::try_from(server + 1).unwrap()));
    Backend {
        pool: POOL,
        flags: if alive { Backend::ALIVE } else { 0 },
        ..backend(address, Family::V6.server().ip())
    }
}

fn packet(port: u16) -> Packet {
    let mut packet = request(Family::V4, Protocol::Tcp);
    packet.source = SocketAddr::new(packet.source.ip(), port);
    packet
}

fn slot(port: u16) -> usize {
    slot_of(flow(&packet(port)).hash(&RING_KEY), SLOTS) as usize
}

fn open(model: &mut Model, real: &Real) -> Result<(), TestCaseError> {
    let port = model.next_flow;
    model.next_flow += 1;
    let slot = slot(port);
    let server = model.choose(port, slot, true);
    prop_assert_eq!(real.send(&packet(port)), server, "a new flow");
    model.flows.insert(
        port,
        Open {
            slot,
            server,
            last: model.now,
        },
    );
    Ok(())
}

fn talk(
    model: &mut Model,
    real: &Real,
    index: usize,
    seen: &mut Seen,
) -> Result<(), TestCaseError> {
    let Some((&port, &Open { slot, server, last })) =
        model.flows.iter().nth(index % model.flows.len().max(1))
    else {
        return Ok(());
    };
    let chosen = model.choose(port, slot, false);
    prop_assert_eq!(
        real.send(&packet(port).established()),
        chosen,
        "a known flow"
    );
    if chosen == server {
        let Slot { cur, base, .. } = model.slots[slot];
        seen.off_base += usize::from(chosen != base);
        seen.off_cur += usize::from(chosen != cur);
        model.flows.insert(
            port,
            Open {
                slot,
                server,
                last: model.now,
            },
        );
    } else {
        prop_assert!(model.now - last >= HOLD, "an established flow has moved");
        seen.forfeited += 1;
        model.flows.remove(&port);
    }
    Ok(())
}

fn run(real: &mut Real, steps: &[Step], seen: &mut Seen) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    real.start();
    for step in steps {
        let Step {
            change,
            elapsed,
            opened,
            talking,
            closed,
        } = step;
        model.now += elapsed;
        model.change(change, seen);
        model.settle(seen);
        if let Change::Scan = change {
            let known = real.known(&model);
            for (port, server) in &known {
                prop_assert_eq!(model.table.get(port), Some(server));
            }
            model.scan(&known, seen);
        }
        real.follow(&model);
        for _ in 0..*opened {
            open(&mut model, real)?;
        }
        for index in talking {
            talk(&mut model, real, *index, seen)?;
        }
        if let Some(index) = closed
            && let Some(port) = model.flows.keys().nth(index % model.flows.len().max(1))
        {
            let port = *port;
            model.flows.remove(&port);
        }
    }
    Ok(())
}

fn step() -> impl Strategy<Value = Step> {
    let index = || 0..usize::from(u16::MAX);
    let change = prop_oneof![
        1 => index().prop_map(Change::Drain),
        2 => Just(Change::Add),
        3 => index().prop_map(Change::Fail),
        3 => index().prop_map(Change::Recover),
        1 => index().prop_map(Change::Die),
        2 => Just(Change::Scan),
        8 => Just(Change::Nothing),
    ];
    let elapsed = prop_oneof![8 => 0u32..5, 1 => 5..HOLD];
    let talking = vec(index(), 0..12);
    let closed = proptest::option::weighted(0.3, index());
    (change, elapsed, 0usize..4, talking, closed).prop_map(
        |(change, elapsed, opened, talking, closed)| Step {
            change,
            elapsed,
            opened,
            talking,
            closed,
        },
    )
}

#[test]
fn no_established_flow_with_a_living_server_moves() {
    let seen = RefCell::new(Seen::default());
    let real = RefCell::new(Real::new());
    let mut runner = TestRunner::new(Config {
        cases: 40,
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&vec(step(), 50..200), |steps| {
            run(&mut real.borrow_mut(), &steps, &mut seen.borrow_mut())
        })
        .unwrap();
    let Seen {
        settled,
        returned,
        dead,
        off_base,
        off_cur,
        forfeited,
        unmarked,
    } = seen.into_inner();
    let seen = [
        settled, returned, dead, off_base, off_cur, forfeited, unmarked,
    ];
    assert!(seen.iter().all(|it| *it > 0), "{seen:?}");
    let [_, _, inserted, evicted] = real.borrow().fabric.kernel.flow_events();
    assert!(inserted > 0);
    assert_eq!(evicted, 0, "{}", FlowEvent::EvictLive.name());
}
