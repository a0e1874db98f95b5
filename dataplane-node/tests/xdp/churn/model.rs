//! `ring_model.py` of the design, for the servers of one pool and for any number of nodes.

use std::collections::{BTreeMap, BTreeSet};

use lbfabric_abi::RingSlot;
use lbfabric_model::maglev::{self, Entry};

use super::Seen;
use crate::xdp::kernel::IDS;

/// A prime, and fewer than the test's `RINGS` has.
pub(super) const SLOTS: u32 = 251;
/// How long base and cur differ at most, in steps; after as long a silence a flow may move.
pub(super) const HOLD: u32 = 60;
const FIRST_SERVERS: u32 = 6;

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A server leaves the pool, and its flows live on.
    Drain(usize),
    Add,
    /// A check fails: no new flows, while old ones stay.
    Fail(usize),
    Recover(usize),
    /// A server is declared dead.
    Die(usize),
    /// The agents read their tables.
    Scan,
    Nothing,
}

/// The pool and its health, of which all nodes have the same view.
#[derive(Clone)]
pub(super) struct Servers {
    pool: BTreeSet<u32>,
    failing: BTreeSet<u32>,
    pub(super) alive: BTreeSet<u32>,
    pub(super) next: u32,
}

/// What one node decides.
pub(super) struct Node {
    pub(super) slots: Vec<Slot>,
    pub(super) table: BTreeMap<u16, u32>,
}

#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) cur: u32,
    pub(super) base: u32,
    since: Option<u32>,
    /// The table is read.
    pub(super) marked: bool,
}

// === impl Servers ===

impl Servers {
    pub(super) fn new() -> Self {
        let pool: BTreeSet<u32> = (0..FIRST_SERVERS).collect();
        Self {
            failing: BTreeSet::new(),
            alive: pool.clone(),
            next: FIRST_SERVERS,
            pool,
        }
    }

    /// The server that died of it.
    pub(super) fn change(&mut self, change: &Change) -> Option<u32> {
        let healthy: BTreeSet<u32> = self.pool.difference(&self.failing).copied().collect();
        let spare = healthy.len() > 2;
        match change {
            Change::Drain(index) if spare => {
                if let Some(server) = pick(&self.pool, *index) {
                    self.pool.remove(&server);
                }
            }
            Change::Add if self.next < IDS => {
                self.pool.insert(self.next);
                self.alive.insert(self.next);
                self.next += 1;
            }
            Change::Fail(index) if spare => self.failing.extend(pick(&healthy, *index)),
            Change::Recover(index) => {
                if let Some(server) = pick(&self.failing, *index) {
                    self.failing.remove(&server);
                }
            }
            Change::Die(index) if spare => {
                let dead = pick(&self.alive, *index)?;
                for group in [&mut self.alive, &mut self.pool, &mut self.failing] {
                    group.remove(&dead);
                }
                return Some(dead);
            }
            _ => {}
        }
        None
    }

    fn ring(&self) -> Vec<u32> {
        let healthy: BTreeSet<u32> = self.pool.difference(&self.failing).copied().collect();
        let members = if healthy.is_empty() {
            &self.pool
        } else {
            &healthy
        };
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
}

fn pick(from: &BTreeSet<u32>, index: usize) -> Option<u32> {
    from.iter().nth(index % from.len().max(1)).copied()
}

// === impl Node ===

impl Node {
    /// Begins with empty maps.
    pub(super) fn new(servers: &Servers) -> Self {
        let steady = |server| Slot {
            cur: server,
            base: server,
            since: None,
            marked: false,
        };
        Self {
            slots: servers.ring().into_iter().map(steady).collect(),
            table: BTreeMap::new(),
        }
    }

    pub(super) fn renew_ring(&mut self, servers: &Servers, now: u32, seen: &mut Seen) {
        for (slot, cur) in self.slots.iter_mut().zip(servers.ring()) {
            slot.cur = cur;
            if slot.base == cur {
                seen.returned += usize::from(slot.since.take().is_some());
            } else {
                slot.marked = true;
                slot.since = slot.since.or(Some(now));
            }
        }
    }

    /// After the ring is renewed without it.
    pub(super) fn bury(&mut self, dead: u32) {
        self.table.retain(|_, server| *server != dead);
        for slot in &mut self.slots {
            if slot.base == dead {
                (slot.base, slot.since) = (slot.cur, None);
            }
        }
    }

    pub(super) fn settle(&mut self, now: u32, seen: &mut Seen) {
        for slot in &mut self.slots {
            if slot.since.is_some_and(|since| now - since >= HOLD) {
                (slot.base, slot.since) = (slot.cur, None);
                seen.settled += 1;
            }
        }
    }

    /// `known`: what the table says of flows that live, by slot.
    pub(super) fn scan(&mut self, known: impl IntoIterator<Item = (usize, u32)>, seen: &mut Seen) {
        let disagree: BTreeSet<usize> = known
            .into_iter()
            .filter(|(slot, server)| self.slots[*slot].base != *server)
            .map(|(slot, _)| slot)
            .collect();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let marked = slot.base != slot.cur || disagree.contains(&index);
            seen.unmarked += usize::from(slot.marked && !marked);
            slot.marked = marked;
        }
    }

    /// The server of a packet of a flow.
    pub(super) fn choose(&mut self, port: u16, slot: usize, syn: bool) -> u32 {
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

// === impl Slot ===

impl Slot {
    pub(super) fn in_map(self) -> RingSlot {
        if self.marked {
            RingSlot::changed(self.cur, self.base)
        } else {
            assert_eq!(self.cur, self.base);
            RingSlot::steady(self.cur)
        }
    }
}
