//! What must hold of the maps, read directly from the desired state.

use lbfabric_abi::{FilterRegion, Reverse, SourcePrefix, VipPrefix};

use super::*;

/// What must hold after every single write.
pub(super) fn check_always(content: &Content) {
    let entries: Vec<&VipService> = content
        .vip_ports
        .values()
        .chain(content.vip_ranges.values())
        .collect();
    for entry in &entries {
        assert!(entry.ring_slots > 0);
        assert!(
            entry.flags & VipService::GUARDED == 0
                || content.guards.contains_key(&ServiceId(entry.guard)),
            "a VIP entry leads to a guard that is not written"
        );
        for index in entry.ring_start..entry.ring_start + entry.ring_slots {
            let slot = content
                .written(index)
                .expect("a VIP entry leads to an unwritten slot");
            for server in [slot.cur, slot.base_id()] {
                assert!(
                    server == RingSlot::NONE || content.backends.contains_key(&BackendId(server)),
                    "a VIP entry leads to server {server}, which is not written"
                );
            }
        }
        for other in &entries {
            let same = (entry.ring_start, entry.ring_slots) == (other.ring_start, other.ring_slots);
            let apart = entry.ring_start + entry.ring_slots <= other.ring_start
                || other.ring_start + other.ring_slots <= entry.ring_start;
            assert!(same || apart, "two rings overlap: {entry:?} {other:?}");
        }
    }
}

/// While a service stays on its pool with destination NAT, every server of its ring has its answers rewritten. `kept` is
/// such a service, by id, with its pool.
pub(super) fn check_answers(content: &Content, kept: Option<(ServiceId, PoolId)>) {
    let Some((service, pool)) = kept else { return };
    let Some(ring) = content.pools.get(&pool) else {
        return;
    };
    let entries = content
        .vip_ports
        .values()
        .chain(content.vip_ranges.values());
    let mut of_service = entries.filter(|entry| entry.service == service.0);
    if !of_service.any(|e| e.ring_start == ring.start && e.mode == Mode::Dnat as u8) {
        return;
    }
    for server in content.servers_of(*ring) {
        let address = Address::from_ipv4(content.backends[&server].ipv4);
        let ports = content.reverse_ports.keys().map(|key| key.address);
        let ranges = content.reverse_ranges.keys().map(|key| key.data.address);
        assert!(
            ports.chain(ranges).any(|answered| answered == address),
            "nobody rewrites the answers of server {server}"
        );
    }
}

/// From one state at rest to the next: a server that may be alive and that flows are on is still there, as are the flows of
/// a steady slot. `flows` are the servers that the flow table named, `failed` those that ever failed a check.
pub(super) fn check_flows(
    before: &Content,
    after: &Content,
    flows: &BTreeSet<BackendId>,
    failed: &BTreeSet<BackendId>,
) {
    if let (Some(before), Some(after)) = (before.settings, after.settings) {
        assert_eq!(before.flow_key, after.flow_key);
    }
    for (id, old) in &before.backends {
        let pool = PoolId(old.pool);
        let same_ring = before.pools.get(&pool) == after.pools.get(&pool);
        if same_ring && old.is_alive() && flows.contains(id) && !failed.contains(id) {
            let new = after.backends.get(id).expect("it has flows");
            assert!(new.keeps_flows_of(old.pool));
        }
    }
    for (id, ring) in &after.pools {
        if before.pools.get(id) != Some(ring) {
            continue;
        }
        for index in ring.start..ring.start + ring.slots {
            let (old, new) = (before.slot(index), after.slot(index));
            let base = after.backends.get(&BackendId(old.base_id()));
            if !old.is_changed() && base.is_some_and(Backend::is_alive) {
                assert_eq!(old.base_id(), new.base_id(), "slot {index}");
            }
        }
    }
}

/// The one service with destination NAT, if there is exactly one: then no other contends for its servers' answers.
pub(super) fn only_dnat(desired: &Desired) -> Option<(ServiceId, PoolId)> {
    let mut dnat = desired
        .services
        .iter()
        .filter(|(_, service)| service.mode == Mode::Dnat);
    let (id, service) = dnat.next()?;
    dnat.next().is_none().then_some((*id, service.pool))
}

/// The service that the program would find for a VIP, an address or a prefix with its length in the maps: the exact port
/// first, then the longest prefix of ports.
fn lookup(content: &Content, vip: IpAddr, vip_bits: u8, port: u16) -> Option<VipService> {
    let address = Address::from(vip);
    if vip_bits == 0
        && let Some(entry) = content.vip_ports.get(&Endpoint::new(address, port, 6))
    {
        return Some(*entry);
    }
    let matches = content.vip_ranges.iter().filter(|(key, _)| {
        let bits = key.bits - EndpointPrefix::PORT_AT;
        let mask = u16::MAX.checked_shl(16 - bits).unwrap_or(0);
        let base = u16::from_be_bytes(key.data.port_be);
        let EndpointPrefix {
            address: vip,
            protocol,
            vip_bits: bits,
            port_be: _,
        } = key.data;
        (vip, protocol, bits) == (address, 6, vip_bits) && base & mask == port & mask
    });
    matches
        .max_by_key(|(key, _)| key.bits)
        .map(|(_, entry)| *entry)
}

fn expected_ring(pool: &NodePool, health: &HealthView, before: &BTreeSet<BackendId>) -> Vec<u32> {
    let is_up = |id: BackendId| match &health.0[&id] {
        Health::Up => true,
        Health::Down { .. } => false,
        Health::Unknown => before.contains(&id),
    };
    let weighted: Vec<_> = pool.backends.iter().filter(|b| b.weight > 0).collect();
    let up: Vec<_> = weighted.iter().copied().filter(|b| is_up(b.id)).collect();
    let members = if up.is_empty() { weighted } else { up };
    let entries: Vec<Entry<'_>> = members
        .iter()
        .map(|b| Entry {
            id: b.id.0,
            name: &b.name,
            weight: b.weight,
        })
        .collect();
    maglev::ring(&entries, pool.slots)
}

fn check_entry(
    content: &Observed,
    found: Option<VipService>,
    expected: Option<&NodeService>,
    id: u32,
) {
    assert_eq!(found.map(|f| f.service), expected.map(|_| id));
    if let (Some(found), Some(expected)) = (found, expected) {
        let ring = content.pools[&expected.pool];
        assert_eq!(
            (found.ring_start, found.ring_slots),
            (ring.start, ring.slots)
        );
        assert_eq!(found.mode, expected.mode as u8);
        let is_exact = found.flags & VipService::EXACT_STATE != 0;
        assert_eq!(is_exact, expected.exact_state);
    }
}

/// The guard of a service and its rules, and nothing left of those of others.
fn check_protection(content: &Observed, wanted: Option<&NodeService>, id: u32) {
    let protected = wanted.filter(|it| !it.limits.is_empty() || !it.source_rules.is_empty());
    let guard = content.guards.get(&ServiceId(id));
    assert_eq!(guard.is_some(), protected.is_some());
    if let (Some(guard), Some(service)) = (guard, protected) {
        assert_eq!(guard.flows.is_set(), service.limits.new_flows.is_some());
        let denies = guard.others == SourcePrefix::DENIED;
        assert_eq!(denies, !service.source_rules.allow.is_empty());
    }
    let rules = content.source_rules.iter();
    let rules = rules.filter(|(key, _)| key.data.guard & !SourcePrefix::IPV4 == id);
    assert_eq!(
        rules.count(),
        protected.map_or(0, |it| it.source_rules.len())
    );
}

/// The maps against the desired state.
pub(super) fn check_final(content: &Content, step: &Step, outcome: &Reconciled) {
    let refused = |kind, id| outcome.refusals.contains_key(&ObjectKey { kind, id });
    for id in 0..4u32 {
        let vip: IpAddr = format!("203.0.113.{id}").parse().unwrap();
        let wanted = step
            .desired
            .services
            .get(&ServiceId(id))
            .filter(|_| !refused(ObjectKind::Service, id));
        let network: IpAddr = format!("198.18.{id}.0").parse().unwrap();
        let is_wide = wanted.is_some_and(|service| service.vips.len() > 1);
        for port in 1..=100u16 {
            let serves = |range: &PortRange| (range.first..=range.last).contains(&port);
            let expected = wanted.filter(|service| service.ports.ranges().iter().any(serves));
            check_entry(content, lookup(content, vip, 0, port), expected, id);
            let expected = expected.filter(|_| is_wide);
            check_entry(content, lookup(content, network, 120, port), expected, id);
        }
        assert_eq!(
            content.vip_addresses.contains_key(&Address::from(vip)),
            wanted.is_some()
        );
        let address = Address::from(network);
        let prefix = VipPrefix { address, bits: 120 };
        assert_eq!(content.vip_prefixes.contains_key(&prefix), is_wide);
        let bit = FilterRegion::Prefix.bit_of(address);
        let word = content.filter.get(&bit.word).copied().unwrap_or_default();
        assert!(
            !is_wide || bit.is_in(word),
            "the filter keeps the prefix away"
        );
        check_protection(content, wanted, id);
    }
    let mut servers = BTreeSet::new();
    for (id, pool) in &step.desired.pools {
        if refused(ObjectKind::Pool, id.0) {
            assert!(!content.pools.contains_key(id));
            continue;
        }
        let ring = content.pools[id];
        let slots: Vec<u32> = (ring.start..ring.start + ring.slots)
            .map(|index| content.slot(index).cur)
            .collect();
        // What unprobed servers count as depends on the ring before; the ring itself must be a fixed point of the rule.
        assert_eq!(
            slots,
            expected_ring(pool, &step.health, &content.servers_of(ring))
        );
        servers.extend(pool.backends.iter().map(|backend| backend.id));
    }
    for (id, entry) in &content.backends {
        // Who left stays only for flows, and only while the pool is there.
        let stays = entry.is_alive() && content.pools.contains_key(&PoolId(entry.pool));
        assert!(servers.contains(id) || stays, "server {id} is left over");
    }
    assert!(servers.iter().all(|id| content.backends.contains_key(id)));
    let dnat = |service: u32| {
        step.desired
            .services
            .get(&ServiceId(service))
            .is_some_and(|s| s.mode == Mode::Dnat)
            && !refused(ObjectKind::Service, service)
    };
    let answers = content
        .reverse_ports
        .values()
        .chain(content.reverse_ranges.values());
    assert!(
        answers
            .into_iter()
            .all(|it| it.flags & Reverse::EXACT != 0 || dnat(it.service))
    );
}
