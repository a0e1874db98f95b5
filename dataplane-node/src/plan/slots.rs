//! How the slots of a ring follow a change of the pool or of its health without moving established flows.
//!
//! ```text
//!             cur differs                    hold time over, or base is dead: base = cur
//!  steady ───────────────────► changed ──────────────────────────────────────────────────► steady, marked
//!    ▲                            └──── cur is base again ─────────────────────────────────►     │
//!    └──── no live entry of the flow table names another server that the slot once had ─────────┘
//! ```
//!
//! In a changed slot the program writes every flow that it sees into the flow table, so that after the hold time whoever was
//! active on base stands there. A marked slot reads the table and writes nothing.

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use lbfabric_abi::RingSlot;

/// What the agent remembers of a ring's changed and marked slots beside what the maps say, by index. It is lost with the
/// agent: then slots count as changed since they were found so, and may have had any server.
#[derive(Debug, Default)]
pub(crate) struct SlotMemory(HashMap<u32, Remembered>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Remembered {
    /// When base and cur began to differ; `None` while they do not.
    since: Option<Instant>,
    /// The servers that the table may name in this slot.
    servers: Servers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Servers {
    /// An earlier agent knew.
    Any,
    These(Vec<u32>),
}

/// What the slots of one pool depend on, now.
#[derive(Clone, Copy)]
pub(crate) struct SlotRules<'a> {
    pub(crate) now: Instant,
    /// How long base and cur differ at most.
    pub(crate) hold: Duration,
    /// Whether flows may stay on a server, which is one of the pool or was.
    pub(crate) is_alive: &'a dyn Fn(u32) -> bool,
    /// The pool's servers that live entries of the flow table name, just read; `None` if it was not read.
    pub(crate) in_table: Option<&'a BTreeSet<u32>>,
}

// === impl SlotMemory ===

impl SlotMemory {
    /// What a slot has to hold whose new flows go to `cur`, and when that changes by itself. `observed` is what it holds.
    pub(crate) fn next(
        &mut self,
        index: u32,
        observed: RingSlot,
        cur: u32,
        rules: &SlotRules<'_>,
    ) -> (RingSlot, Option<Instant>) {
        if observed == RingSlot::steady(cur) {
            // Nearly always nothing of a ring is remembered, or little.
            if !self.0.is_empty() {
                self.0.remove(&index);
            }
            return (observed, None);
        }
        let entry = self.0.entry(index);
        let known = entry.or_insert_with(|| Remembered::of(observed));
        let base = observed.base_id();
        // A write that failed may have left the slot as it was: the time counts from when the maps have it.
        let since = known.since.filter(|_| observed.is_changed());
        let since = since.unwrap_or(rules.now);
        let settles_at = since + rules.hold;
        let base_is_lost = base == RingSlot::NONE || !(rules.is_alive)(base);
        if base != cur && !base_is_lost && rules.now < settles_at {
            known.since = Some(since);
            known.servers.add(base);
            known.servers.add(cur);
            return (RingSlot::changed(cur, base), Some(settles_at));
        }
        known.since = None;
        let keep_mark = observed.consult() && known.may_disagree(observed, cur, rules);
        if keep_mark {
            return (RingSlot::changed(cur, cur), None);
        }
        self.0.remove(&index);
        (RingSlot::steady(cur), None)
    }

    /// Whether no slot is changed or marked.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slots that are changed or marked, or were when they were last looked at.
    pub(crate) fn indices(&self) -> Vec<u32> {
        let mut indices: Vec<u32> = self.0.keys().copied().collect();
        indices.sort_unstable();
        indices
    }
}

// === impl Remembered ===

impl Remembered {
    /// Of a slot that nothing is remembered of.
    fn of(observed: RingSlot) -> Self {
        let servers = if observed.consult() {
            Servers::Any
        } else {
            Servers::These(Vec::new())
        };
        Self {
            since: None,
            servers,
        }
    }

    /// Whether the table may hold a flow of the slot on another server than `base`, which the slot is to settle on.
    fn may_disagree(&self, observed: RingSlot, base: u32, rules: &SlotRules<'_>) -> bool {
        // Until this moment the program has written into the table, for all that is known.
        let Some(in_table) = rules.in_table.filter(|_| !observed.is_changed()) else {
            return true;
        };
        match &self.servers {
            Servers::Any => in_table.iter().any(|server| *server != base),
            Servers::These(servers) => servers
                .iter()
                .any(|server| *server != base && in_table.contains(server)),
        }
    }
}

// === impl Servers ===

impl Servers {
    fn add(&mut self, server: u32) {
        match self {
            Self::These(servers) if server != RingSlot::NONE && !servers.contains(&server) => {
                servers.push(server);
            }
            Self::These(_) | Self::Any => {}
        }
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}
