//! What changes of a pool, failures and deaths do to established flows.

use super::*;

impl Case {
    /// As [`Self::run`] at a time, with what the flow table names if it is read.
    fn run_at(&mut self, secs: u64, in_table: Option<&[u32]>) -> Plan {
        self.secs = secs;
        self.in_table = in_table.map(ids);
        self.run()
    }

    /// The servers that unknown flows of pool 1 belong to.
    fn bases(&self) -> BTreeSet<u32> {
        let ring = self.observed.pools[&PoolId(1)];
        (ring.start..ring.start + ring.slots)
            .map(|index| self.observed.slot(index).base_id())
            .collect()
    }

    fn entry(&self, id: u32) -> Option<Backend> {
        self.observed.backends.get(&BackendId(id)).copied()
    }
}

/// Pool 1 with three probed servers, all up, and a service.
fn three_up(mode: Mode) -> Case {
    let web = service(mode, &["203.0.113.1"], &[(80, 80)]);
    let mut case = Case::new(&[(1, pool_with_check(&[1, 2, 3]))], &[(7, web)]);
    for id in 1..=3 {
        case.set_health(id, Health::Up);
    }
    case.run();
    case
}

fn leave(case: &mut Case, id: u32) {
    let backends = &mut case.desired.pools.get_mut(&PoolId(1)).unwrap().backends;
    backends.retain(|backend| backend.id.0 != id);
}

#[test]
fn a_failed_server_keeps_its_flows_until_it_is_declared_dead() {
    let mut case = three_up(Mode::Dsr);
    case.secs = 100;
    case.fail(2);
    let plan = case.run();
    assert_eq!(plan.wake_at, Some(case.start + Duration::from_secs(110)));
    assert_eq!(
        (case.ring(), case.bases()),
        (ids(&[1, 3]), [1, 2, 3].into())
    );
    assert!(case.entry(2).unwrap().is_alive());
    case.run_at(109, None);
    assert_eq!(case.bases(), [1, 2, 3].into());
    let plan = case.run_at(110, None);
    assert_eq!(case.bases(), [1, 3].into());
    assert!(!case.entry(2).unwrap().is_alive());
    // The entry is told first: what the table says of the server does not count any more.
    assert!(matches!(plan.ops[0], MapOp::PutBackend(BackendId(2), _)));
    // After a restart it is dead still, until its check passes.
    case.memory = Memory::default();
    case.health = HealthView::default();
    assert_eq!(case.run().ops, []);
    case.fail(2);
    assert_eq!(case.run().ops, []);
    case.set_health(2, Health::Up);
    case.run();
    assert!(case.entry(2).unwrap().is_alive());
    assert_eq!(case.ring(), ids(&[1, 2, 3]));
}

#[test]
fn row_28_a_server_that_fails_and_comes_back_in_time_loses_nothing() {
    let mut case = three_up(Mode::Dsr);
    let before = case.observed.slots.clone();
    case.fail(2);
    case.run();
    case.set_health(2, Health::Up);
    case.run_at(5, None);
    let bases = |slots: &[Option<RingSlot>]| -> Vec<u32> {
        slots.iter().flatten().map(|slot| slot.base_id()).collect()
    };
    assert_eq!(bases(&case.observed.slots), bases(&before));
    assert_eq!(case.run_at(9, None).wake_at, None);
    // The flows that came meanwhile stand in the table: it is read until they have ended.
    case.run_at(10, Some(&[1, 3]));
    assert_ne!(case.observed.slots, before);
    let plan = case.run_at(20, Some(&[]));
    assert_eq!(case.observed.slots, before);
    assert!(!plan.table_in_use);
}

#[test]
fn a_server_that_left_stays_while_flows_may_be_on_it() {
    let mut case = three_up(Mode::Dsr);
    leave(&mut case, 2);
    case.run();
    assert_eq!(
        (case.ring(), case.bases()),
        (ids(&[1, 3]), [1, 2, 3].into())
    );
    let plan = case.run_at(899, Some(&[]));
    assert!(case.entry(2).unwrap().is_alive() && plan.table_in_use);
    assert_eq!(plan.former.len(), 2);
    assert_eq!(plan.wake_at, Some(case.start + Duration::from_mins(15)));
    // Its slots settle; then it depends on the table, which counts only when it is read afterwards.
    case.run_at(900, None);
    assert_eq!(case.bases(), [1, 3].into());
    case.run_at(910, None);
    assert!(case.entry(2).unwrap().is_alive());
    case.run_at(920, Some(&[1, 2]));
    assert!(case.entry(2).unwrap().is_alive());
    let plan = case.run_at(930, Some(&[1]));
    assert_eq!(case.entry(2), None);
    assert!(plan.former.is_empty());
}

/// Full NAT's flows stand in sessions alone, whose connections may be silent for hours.
#[test]
fn a_server_that_left_stays_while_sessions_are_on_it() {
    let mut case = three_up(Mode::Fullnat);
    leave(&mut case, 2);
    case.run();
    case.in_sessions = ids(&[1, 2]);
    for secs in [900, 930, 9_000] {
        case.run_at(secs, Some(&[]));
        assert_eq!(case.bases(), [1, 3].into());
        assert!(case.entry(2).is_some_and(|it| it.is_alive()), "{secs}");
    }
    case.in_sessions = ids(&[1]);
    let plan = case.run_at(9_010, Some(&[]));
    assert_eq!(case.entry(2), None);
    assert!(plan.former.is_empty());
}

#[test]
fn a_server_that_left_may_die() {
    let mut case = three_up(Mode::Dsr);
    case.fail(2);
    case.run();
    leave(&mut case, 2);
    case.health.0.remove(&BackendId(2));
    let plan = case.run_at(9, None);
    assert!(case.entry(2).unwrap().is_alive());
    assert_eq!(plan.wake_at, Some(case.start + Duration::from_secs(10)));
    case.run_at(10, None);
    assert_eq!((case.entry(2), case.bases()), (None, [1, 3].into()));
}

#[test]
fn a_pool_that_goes_takes_its_former_servers_along() {
    let mut case = three_up(Mode::Dsr);
    leave(&mut case, 2);
    case.run();
    case.desired.services.clear();
    case.desired.pools.clear();
    let plan = case.run();
    assert!(case.observed.backends.is_empty() && !plan.table_in_use);
    assert_eq!(plan.wake_at, None);
}

#[test]
fn answers_of_a_former_server_are_translated_on() {
    let mut case = three_up(Mode::Dnat);
    leave(&mut case, 2);
    case.run();
    assert_eq!(case.observed.reverse_ports.len(), 3);
    case.run_at(900, None);
    case.run_at(910, Some(&[]));
    assert_eq!(case.observed.reverse_ports.len(), 2);
    // Not for a service that has another mode now.
    let mut case = three_up(Mode::Dnat);
    leave(&mut case, 2);
    case.desired.services.get_mut(&ServiceId(7)).unwrap().mode = Mode::Dsr;
    case.run();
    assert!(case.observed.reverse_ports.is_empty());
}

#[test]
fn pools_of_udp_services_alone_settle_early() {
    let mut case = three_up(Mode::Dsr);
    let mut dns = service(Mode::Dsr, &["203.0.113.2"], &[(53, 53)]);
    dns.protocol = Protocol::Udp;
    case.desired.services = BTreeMap::from([(ServiceId(8), dns)]);
    leave(&mut case, 2);
    case.run();
    let settings = case.observed.settings.unwrap();
    assert_eq!(settings.flow_idle_ticks, FlowTick::idle_of_ms(30_000));
    case.run_at(29, None);
    assert_eq!(case.bases(), [1, 2, 3].into());
    case.run_at(30, None);
    assert_eq!(case.bases(), [1, 3].into());
}

#[test]
fn the_flow_key_lives_as_long_as_the_maps() {
    let mut case = three_up(Mode::Dsr);
    let settings = case.observed.settings.as_mut().unwrap();
    assert_eq!(
        (settings.flow_key, settings.flow_mask),
        (FlowKey([1, 2, 3, 4, 5]), 7)
    );
    assert_eq!(settings.flow_idle_ticks, FlowTick::idle_of_ms(900_000));
    settings.flow_key = FlowKey([9; 5]);
    assert_eq!(case.run().ops, []);
}

/// Row 34 of the checklist: an id that another server had, of which this node was not told that it is gone.
#[test]
fn row_34_a_reused_id_takes_over_no_flows() {
    let moved = |pool: &mut NodePool, id: u32| {
        let backends = &mut pool.backends;
        let server = backends.iter_mut().find(|it| it.id.0 == id).unwrap();
        server.ipv4 = Some("10.9.9.9".parse().unwrap());
        server.name = "another".to_owned();
    };
    for to_pool in [0u32, 1, 2] {
        let mut case = three_up(Mode::Dsr);
        case.fail(2);
        case.run();
        assert_eq!(case.bases(), [1, 2, 3].into());
        case.set_health(2, Health::Up);
        if to_pool == 1 {
            moved(case.desired.pools.get_mut(&PoolId(1)).unwrap(), 2);
        } else {
            leave(&mut case, 2);
            case.desired
                .pools
                .insert(PoolId(to_pool), pool_with_check(&[2]));
            moved(case.desired.pools.get_mut(&PoolId(to_pool)).unwrap(), 2);
        }
        // Write by write: nobody's flows are sent to the new server by what was known of the old one.
        let old = case.entry(2).unwrap();
        let mut rounds = Vec::new();
        while rounds.last() != Some(&0) {
            let ops = case.plan().ops;
            rounds.push(ops.len());
            for op in ops {
                case.observed.apply(&op, |_| {});
                let entry = case.entry(2).unwrap();
                assert!(entry.ipv4 == old.ipv4 || !has_claims_on(&case, 2), "{op:?}");
                if entry.ipv4 == old.ipv4 {
                    let dead_or_untouched = entry == old || !entry.is_alive();
                    assert!(dead_or_untouched, "{op:?}");
                }
            }
        }
        let entry = case.entry(2).unwrap();
        assert_eq!((entry.ipv4, entry.pool), ([10, 9, 9, 9], to_pool));
        assert!(entry.is_alive() && rounds.len() < 5);
    }
}

/// Whether unknown flows of a changed slot of pool 1 go to a server.
fn has_claims_on(case: &Case, id: u32) -> bool {
    let ring = case.observed.pools[&PoolId(1)];
    (ring.start..ring.start + ring.slots)
        .map(|index| case.observed.slot(index))
        .any(|slot| slot.is_changed() && slot.base_id() == id)
}
