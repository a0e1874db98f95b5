//! What must hold of the maps, read directly from the desired state.

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

/// The service that the program would find: the exact port first, then the longest prefix.
fn lookup(content: &Content, vip: IpAddr, port: u16) -> Option<VipService> {
    let address = Address::from(vip);
    if let Some(entry) = content.vip_ports.get(&Endpoint::new(address, port, 6)) {
        return Some(*entry);
    }
    let matches = content.vip_ranges.iter().filter(|(key, _)| {
        let bits = key.bits - EndpointPrefix::PORT_AT;
        let mask = u16::MAX.checked_shl(16 - bits).unwrap_or(0);
        let base = u16::from_be_bytes(key.data.port_be);
        key.data.address == address && key.data.protocol == 6 && base & mask == port & mask
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
        for port in 1..=100u16 {
            let found = lookup(content, vip, port);
            let serves = |range: &PortRange| (range.first..=range.last).contains(&port);
            let expected = wanted.filter(|service| service.ports.ranges().iter().any(serves));
            assert_eq!(
                found.map(|f| f.service),
                expected.map(|_| id),
                "port {port}"
            );
            if let (Some(found), Some(expected)) = (found, expected) {
                let ring = content.pools[&expected.pool];
                assert_eq!(
                    (found.ring_start, found.ring_slots),
                    (ring.start, ring.slots)
                );
                assert_eq!(found.mode, expected.mode as u8);
            }
        }
        assert_eq!(
            content.vip_addresses.contains(&Address::from(vip)),
            wanted.is_some()
        );
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
    assert!(answers.into_iter().all(|reverse| dnat(reverse.service)));
}
