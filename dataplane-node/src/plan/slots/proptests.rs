//! The slots against `ring_model.py`, the executable form of the rules, in Rust: the same slots at any time, and no
//! established flow with a living server moves. The flow table is played here, as the program would keep it.

use std::collections::BTreeMap;

use lbfabric_model::maglev::{self, Entry};
use proptest::prelude::*;

use super::*;

const SLOTS: usize = 101;
const HOLD: u64 = 200;
const STEPS: u64 = 1500;
const SCAN_EVERY: u64 = 50;

/// Marsaglia's xorshift64: what happens depends on the seed alone.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one_of(&mut self, servers: &BTreeSet<u32>) -> u32 {
        *servers.iter().nth(self.below(servers.len())).unwrap()
    }
}

/// The rules as the model states them.
struct Model {
    cur: Vec<u32>,
    base: Vec<u32>,
    since: Vec<Option<u64>>,
    consult: Vec<bool>,
}

impl Model {
    fn pool_changed(&mut self, now: u64, cur: Vec<u32>) {
        self.cur = cur;
        for s in 0..SLOTS {
            if self.base[s] == self.cur[s] {
                self.since[s] = None;
            } else {
                self.consult[s] = true;
                self.since[s] = self.since[s].or(Some(now));
            }
        }
    }

    fn died(&mut self, dead: u32) {
        for s in 0..SLOTS {
            if self.base[s] == dead {
                (self.base[s], self.since[s]) = (self.cur[s], None);
            }
        }
    }

    fn settle(&mut self, now: u64) {
        for s in 0..SLOTS {
            if self.since[s].is_some_and(|since| now - since >= HOLD) {
                (self.base[s], self.since[s]) = (self.cur[s], None);
            }
        }
    }

    fn restart(&mut self, now: u64) {
        self.since
            .iter_mut()
            .flatten()
            .for_each(|since| *since = now);
    }

    fn scan(&mut self, disagree: &BTreeSet<usize>) {
        for s in 0..SLOTS {
            self.consult[s] = self.base[s] != self.cur[s] || disagree.contains(&s);
        }
    }
}

/// The servers, and what the agent and the program have of them.
struct World {
    random: Random,
    start: Instant,
    pool: BTreeSet<u32>,
    unhealthy: BTreeSet<u32>,
    alive: BTreeSet<u32>,
    next_server: u32,
    model: Model,
    slots: Vec<RingSlot>,
    memory: SlotMemory,
    /// By flow: slot, server, and when it was last seen.
    flows: BTreeMap<u32, (usize, u32, u64)>,
    table: BTreeMap<u32, u32>,
    next_flow: u32,
    moved: u32,
    marked: u32,
}

fn ring(servers: &BTreeSet<u32>) -> Vec<u32> {
    let names: Vec<(u32, String)> = servers.iter().map(|id| (*id, format!("s{id}"))).collect();
    let entries = names.iter().map(|(id, name)| Entry {
        id: *id,
        name,
        weight: 1,
    });
    maglev::ring(&entries.collect::<Vec<_>>(), u32::try_from(SLOTS).unwrap())
}

impl World {
    fn new(seed: u64) -> Self {
        let pool: BTreeSet<u32> = (0..8).collect();
        let cur = ring(&pool);
        Self {
            random: Random(seed),
            start: Instant::now(),
            unhealthy: BTreeSet::new(),
            alive: pool.clone(),
            next_server: 8,
            slots: cur.iter().map(|id| RingSlot::steady(*id)).collect(),
            model: Model {
                base: cur.clone(),
                cur,
                since: vec![None; SLOTS],
                consult: vec![false; SLOTS],
            },
            memory: SlotMemory::default(),
            pool,
            flows: BTreeMap::new(),
            table: BTreeMap::new(),
            next_flow: 0,
            moved: 0,
            marked: 0,
        }
    }

    fn pool_changed(&mut self, now: u64) {
        let healthy: BTreeSet<u32> = self.pool.difference(&self.unhealthy).copied().collect();
        let members = if healthy.is_empty() {
            &self.pool
        } else {
            &healthy
        };
        self.model.pool_changed(now, ring(members));
    }

    fn event(&mut self, now: u64) {
        let event = self.random.below(1000);
        let spare = self.pool.difference(&self.unhealthy).count() > 2;
        match event {
            0..10 if spare => {
                let drained = self.random.one_of(&self.pool);
                self.pool.remove(&drained);
                self.unhealthy.remove(&drained);
            }
            10..20 => {
                self.pool.insert(self.next_server);
                self.alive.insert(self.next_server);
                self.next_server += 1;
            }
            20..30 if spare => {
                self.unhealthy.insert(self.random.one_of(&self.pool));
            }
            30..45 if !self.unhealthy.is_empty() => {
                let healed = self.random.one_of(&self.unhealthy);
                self.unhealthy.remove(&healed);
            }
            45..50 if spare => return self.death(now),
            50..53 => {
                self.memory = SlotMemory::default();
                self.model.restart(now);
                return;
            }
            _ => return,
        }
        self.pool_changed(now);
    }

    fn death(&mut self, now: u64) {
        let dead = self.random.one_of(&self.alive);
        for group in [&mut self.alive, &mut self.pool, &mut self.unhealthy] {
            group.remove(&dead);
        }
        self.flows.retain(|_, (_, server, _)| *server != dead);
        self.table.retain(|_, server| *server != dead);
        self.pool_changed(now);
        self.model.died(dead);
    }

    fn plan(&mut self, now: u64, in_table: Option<&BTreeSet<u32>>) {
        let rules = SlotRules {
            now: self.start + Duration::from_secs(now),
            hold: Duration::from_secs(HOLD),
            is_alive: &|id| self.alive.contains(&id),
            in_table,
        };
        for (index, (slot, cur)) in (0..).zip(self.slots.iter_mut().zip(&self.model.cur)) {
            *slot = self.memory.next(index, *slot, *cur, &rules).0;
        }
    }

    fn scan(&mut self, now: u64) {
        let disagree = self.table.iter().filter_map(|(flow, server)| {
            let (slot, ..) = self.flows.get(flow)?;
            (*server != self.model.base[*slot]).then_some(*slot)
        });
        let disagree = disagree.collect();
        self.model.scan(&disagree);
        let in_table: BTreeSet<u32> = self.table.values().copied().collect();
        self.plan(now, Some(&in_table));
        for (slot, needed) in self.slots.iter().zip(&self.model.consult) {
            assert!(slot.consult() || !needed, "the table is not read: {slot:?}");
            self.marked += u32::from(slot.consult() && !slot.is_changed());
        }
    }

    fn syn(&mut self, now: u64) {
        self.next_flow += 1;
        let at = self.random.below(SLOTS);
        let slot = self.slots[at];
        self.flows.insert(self.next_flow, (at, slot.cur, now));
        if slot.is_changed() {
            self.table.insert(self.next_flow, slot.cur);
        }
    }

    fn packet(&mut self, now: u64, flow: u32) {
        let (at, server, seen) = self.flows[&flow];
        let slot = self.slots[at];
        let known = self.table.get(&flow).copied();
        let claim = known.filter(|server| slot.consult() && self.alive.contains(server));
        let chosen = claim.unwrap_or_else(|| slot.base_id());
        if claim.is_none() && slot.is_changed() {
            self.table.insert(flow, chosen);
        }
        if chosen == server {
            self.flows.insert(flow, (at, server, now));
        } else {
            self.moved += u32::from(now - seen < HOLD);
            self.flows.remove(&flow);
        }
    }

    fn step(&mut self, now: u64) {
        self.event(now);
        self.model.settle(now);
        self.plan(now, None);
        if now.is_multiple_of(SCAN_EVERY) {
            self.scan(now);
        }
        for (s, slot) in self.slots.iter().enumerate() {
            let model = (self.model.cur[s], self.model.base[s]);
            assert_eq!((slot.cur, slot.base_id()), model, "slot {s} at {now}");
        }
        for _ in 0..3 {
            self.syn(now);
        }
        let mut live: Vec<u32> = self.flows.keys().copied().collect();
        for _ in 0..40.min(live.len()) {
            let flow = live.swap_remove(self.random.below(live.len()));
            self.packet(now, flow);
        }
        let live: Vec<u32> = self.flows.keys().copied().collect();
        for _ in 0..2 {
            let ended = live[self.random.below(live.len())];
            self.flows.remove(&ended);
            self.table.remove(&ended);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_established_flow_moves(seed in 1u64..) {
        let mut world = World::new(seed);
        for now in 0..STEPS {
            world.step(now);
        }
        prop_assert_eq!(world.moved, 0);
        prop_assert!(world.marked > 0 && !world.table.is_empty(), "nothing has happened");
    }
}
