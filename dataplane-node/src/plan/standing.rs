//! A plan that begins with the one before it: what nobody has changed is not looked at again.
//!
//! A change of a pool, of health or of a way concerns some pools, whose servers and slots are planned as if nothing were known, and the
//! services that use them. Whatever concerns more (objects that come or go, services, settings, a pool that is served no
//! more) is planned from scratch: that is the rule, and this is its short cut.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lbfabric_abi::QuicServer;
use lbfabric_model::{BackendId, ObjectKind, PoolId, snapshot::NodePool};

use super::{
    Inputs, Memory,
    known::{Known, News},
    pools::HoldTimes,
    quic,
    ring::RingMembers,
    scope::{Part, Scope},
    service::ServiceEntries,
    target::{self, Target},
};

/// The last plan's target, and what it was made from.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) target: Target,
    pub(crate) scope: Scope,
    holds: HoldTimes,
    known: Known,
    /// Pools that a plan with the same inputs may have more to do for.
    unsettled: BTreeSet<PoolId>,
    /// Pools with slots that read the flow table.
    in_table: BTreeSet<PoolId>,
    /// Everything was looked at, and not all was as it has to be: what the writes free may be of use to anybody.
    is_rough: bool,
    /// The inputs are still those.
    pub(super) same_inputs: bool,
    /// The maps hold what the target says.
    pub(super) carried_out: bool,
}

impl Standing {
    /// The plan from scratch.
    pub(crate) fn build(inputs: &Inputs<'_>, memory: &mut Memory, known: Option<Known>) -> Self {
        let holds = HoldTimes::of(inputs.desired);
        Self {
            target: Target::build(inputs, memory, &holds),
            scope: Scope::All,
            holds,
            known: known.unwrap_or_else(|| Known::of(inputs)),
            unsettled: BTreeSet::new(),
            in_table: BTreeSet::new(),
            is_rough: true,
            same_inputs: false,
            carried_out: false,
        }
    }

    /// The next plan; from scratch where it has to be.
    pub(crate) fn next(mut self, inputs: &Inputs<'_>, memory: &mut Memory) -> Self {
        let is_known = self.same_inputs;
        if self.carried_out && !self.is_rough && self.advance(inputs, memory).is_some() {
            return self;
        }
        let known = is_known.then_some(self.known);
        Self::build(inputs, memory, known)
    }

    /// Notes what the plan came to.
    pub(crate) fn conclude(&mut self, has_writes: bool, memory: &Memory) {
        let wakes = &self.target.wakes;
        let reads_table = |id: &PoolId| memory.rings.get(id).is_some_and(|it| !it.slots.is_empty());
        match &self.scope {
            Scope::All => {
                let slots = memory.rings.keys().copied().filter(reads_table);
                self.in_table = slots.collect();
                self.unsettled = BTreeSet::new();
            }
            Scope::Part(part) => {
                let (reading, steady): (Vec<_>, Vec<_>) =
                    part.pools.iter().copied().partition(reads_table);
                for id in steady {
                    self.in_table.remove(&id);
                }
                self.in_table.extend(reading);
                self.unsettled = if has_writes {
                    part.pools.clone()
                } else {
                    BTreeSet::new()
                };
            }
        }
        self.unsettled.extend(&self.in_table);
        self.unsettled.extend(wakes.keys());
        self.is_rough = matches!(self.scope, Scope::All) && has_writes;
        self.same_inputs = true;
        self.carried_out = false;
    }

    /// Whether reading the flow table may end something.
    pub(crate) fn is_table_in_use(&self) -> bool {
        !self.target.former.is_empty() || !self.in_table.is_empty()
    }

    /// Takes the target to what the inputs want now; `None` if that takes a look at everything. Nothing but the target has changed
    /// then, which is of no use any more.
    fn advance(&mut self, inputs: &Inputs<'_>, memory: &mut Memory) -> Option<()> {
        let news = if self.same_inputs {
            News::default()
        } else {
            self.known.follow(inputs)?
        };
        let pools = self.concerned(&news, inputs);
        let is_placed = |id: &PoolId| {
            let placed = self.target.pools.get(id);
            placed.is_some_and(|it| it.place.slots == inputs.desired.pools[id].slots)
        };
        if !pools.iter().all(is_placed) || !self.is_served_as_before(&pools, inputs, memory) {
            return None;
        }
        let mut part = Part::default();
        self.forget_kept_answers(&mut part);
        self.replace_entries(&news.pools, &mut part, inputs)?;
        let desired = &inputs.desired.pools;
        let changed = news.pools.keys();
        self.holds
            .set(changed.filter_map(|id| desired.get_key_value(id)));
        let own = self.target.settings;
        self.target.settings = target::settings(inputs, self.holds.longest());
        part.filter = own.source4 != self.target.settings.source4
            || own.source6 != self.target.settings.source6;
        self.replace_servers(pools, &news.pools, &mut part, inputs, memory);
        self.replace_rest(&mut part, &news, inputs);
        self.scope = Scope::Part(part);
        Some(())
    }

    /// The pools that the news concern, and those that are on their way anyhow.
    fn concerned(&self, news: &News, inputs: &Inputs<'_>) -> BTreeSet<PoolId> {
        let desired = &inputs.desired.pools;
        let pool_of = |id: &BackendId| self.target.backends.get(id).map(|it| PoolId(it.pool));
        let health = news.health.iter().filter_map(pool_of);
        let unsettled = self.unsettled.iter().copied();
        let mut pools: BTreeSet<PoolId> = news.pools.keys().copied().chain(health).collect();
        pools.extend(unsettled);
        pools.retain(|id| desired.contains_key(id));
        if !news.ways.is_empty() {
            let ways: BTreeSet<IpAddr> = news.ways.iter().copied().collect();
            let is_new = |it: Option<IpAddr>| it.is_some_and(|it| ways.contains(&it));
            let moved = desired.iter().filter(|(_, pool)| {
                let mut servers = pool.backends.iter();
                servers.any(|it| is_new(it.ipv4.map(IpAddr::V4)) || is_new(it.ipv6.map(IpAddr::V6)))
            });
            pools.extend(moved.map(|(id, _)| *id));
        }
        pools
    }

    /// Whether VIPs answer as before: each pool has a server for new flows, or has none, as it did.
    fn is_served_as_before(
        &self,
        pools: &BTreeSet<PoolId>,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) -> bool {
        pools.iter().all(|id| {
            let placed = &self.target.pools[id];
            let ring = memory.rings.entry(*id).or_default();
            let chosen = RingMembers::choose(&inputs.desired.pools[id], inputs.health, |server| {
                ring.servers(placed.place, inputs.rings).contains(&server)
            });
            placed.is_served == (!chosen.panic && !chosen.members.is_empty())
        })
    }

    /// Takes the entries away that only servers that left need: which of them are to stay is said anew.
    fn forget_kept_answers(&mut self, part: &mut Part) {
        let target = &mut self.target;
        for key in std::mem::take(&mut target.kept_ports) {
            target.reverse_ports.remove(&key);
            part.reverse_ports.insert(key);
        }
        for key in std::mem::take(&mut target.kept_ranges) {
            target.reverse_ranges.remove(&key);
            part.reverse_ranges.insert(key);
        }
    }

    /// Brings the entries for answers up to date of services whose pool has changed; `None` if others would have to be.
    fn replace_entries(
        &mut self,
        changed: &BTreeMap<PoolId, NodePool>,
        part: &mut Part,
        inputs: &Inputs<'_>,
    ) -> Option<()> {
        if changed.is_empty() {
            return Some(());
        }
        let refusals = self.target.refusals.keys();
        let refused: BTreeSet<u32> = refusals
            .filter(|key| matches!(key.kind, ObjectKind::Service))
            .map(|key| key.id)
            .collect();
        for (id, service) in &inputs.desired.services {
            let Some(old_pool) = changed.get(&service.pool) else {
                continue;
            };
            if refused.contains(&id.0) {
                return None;
            }
            let place = self.target.pools[&service.pool].place;
            let entries = |pool| ServiceEntries::new(*id, service, pool, place, inputs.local).ok();
            let old = entries(old_pool)?;
            let new = entries(&inputs.desired.pools[&service.pool])?;
            if old == new {
                continue;
            }
            // Another service may be refused for what this one has, or has no more; or have the same entries.
            if service.exact_state || !refused.is_empty() || !differ_in_answers_alone(&old, &new) {
                return None;
            }
            let ports = old.reverse_ports.iter().chain(&new.reverse_ports);
            part.reverse_ports.extend(ports.map(|(key, _)| *key));
            let ranges = old.reverse_ranges.iter().chain(&new.reverse_ranges);
            part.reverse_ranges.extend(ranges.map(|(key, _)| *key));
            self.target.replace_answers(*id, &old, new).ok()?;
        }
        Some(())
    }

    /// Plans servers and slots of these pools, and servers that left any.
    fn replace_servers(
        &mut self,
        pools: BTreeSet<PoolId>,
        changed: &BTreeMap<PoolId, NodePool>,
        part: &mut Part,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) {
        let target = &mut self.target;
        let mut former = std::mem::take(&mut target.former);
        for old in changed.values() {
            former.extend(old.backends.iter().map(|it| it.id));
        }
        for id in &former {
            target.backends.remove(id);
        }
        part.backends.clone_from(&former);
        let mut placed = Vec::with_capacity(pools.len());
        for id in &pools {
            let pool = &inputs.desired.pools[id];
            part.backends.extend(pool.backends.iter().map(|it| it.id));
            target.wakes.remove(id);
            target.panics.remove(id);
            let place = target.pools[id].place;
            placed.push(target.take_servers((*id, pool), place, true, inputs, memory));
        }
        let bases = target.take_slots(placed, &self.holds, inputs, memory);
        target.keep_former(former, &bases, inputs, memory);
        part.pools = pools;
    }

    /// What depends on all servers: QUIC's, the answers of those that left, and the filter.
    fn replace_rest(&mut self, part: &mut Part, news: &News, inputs: &Inputs<'_>) {
        let target = &mut self.target;
        target.keep_answers_of_former(inputs);
        part.reverse_ports.extend(&target.kept_ports);
        part.reverse_ranges.extend(&target.kept_ranges);
        let names = |pool: &NodePool| pool.backends.iter().any(|it| it.quic_server_id.is_some());
        let has_quic = !target.quic_servers.is_empty()
            || !inputs.observed.quic_servers.is_empty()
            || news.pools.keys().any(|id| names(&inputs.desired.pools[id]));
        if has_quic {
            let new = quic::servers(inputs, &target.backends);
            let old = std::mem::replace(&mut target.quic_servers, new);
            let keys = old.keys().chain(target.quic_servers.keys());
            part.quic_servers = keys.copied().collect::<BTreeSet<QuicServer>>();
        }
        // The maps hold what the target said before.
        let observed = inputs.observed;
        part.filter |= part.reverse_ports.iter().any(|key| {
            observed.reverse_ports.contains_key(key) != target.reverse_ports.contains_key(key)
        }) || part.reverse_ranges.iter().any(|key| {
            observed.reverse_ranges.contains_key(key) != target.reverse_ranges.contains_key(key)
        });
        if part.filter {
            target.filter = target.addresses_that_concern();
        }
    }
}

/// Whether only entries for servers' answers are not the same.
fn differ_in_answers_alone(old: &ServiceEntries, new: &ServiceEntries) -> bool {
    let without = |entries: &ServiceEntries| {
        let mut entries = entries.clone();
        entries.reverse_ports.clear();
        entries.reverse_ranges.clear();
        entries.answers.clear();
        entries
    };
    without(old) == without(new)
}
