//! Destination NAT whose answers do not tell the VIP.

use lbfabric_abi::{Address, Endpoint};

use super::*;

const VIP: &str = "203.0.113.1";
const OTHER_VIP: &str = "203.0.113.2";

fn exact(vips: &[&str], ports: &[(u16, u16)]) -> NodeService {
    NodeService {
        exact_state: true,
        ..service(Mode::Dnat, vips, ports)
    }
}

fn to_port(port: u16, service: NodeService) -> NodeService {
    NodeService {
        backend_port: NonZeroU16::new(port),
        ..service
    }
}

/// The endpoint of server 1 in TCP.
fn endpoint(port: u16) -> Endpoint {
    let server: IpAddr = "10.0.0.1".parse().unwrap();
    Endpoint::new(server.into(), port, Protocol::Tcp as u8)
}

#[test]
fn several_vips_and_prefixes_are_carried_with_one_entry_for_each_endpoint() {
    let several = exact(&[VIP, OTHER_VIP, "198.18.7.0/24"], &[(80, 80)]);
    let mut case = Case::new(&[(1, pool(&[1, 2]))], &[(1, several)]);
    let plan = case.run();
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    let entries = case.observed.vip_ports.values();
    let all = entries.chain(case.observed.vip_ranges.values());
    let flags: Vec<u32> = all.map(|it| it.flags).collect();
    assert_eq!(flags, [VipService::EXACT_STATE; 3]);
    assert_ne!(VipService::EXACT_STATE & VipService::GENERAL, 0);
    let reverse = &case.observed.reverse_ports;
    assert_eq!(reverse.len(), 2);
    assert!(reverse.values().all(|it| *it == Reverse::BY_SESSION));
}

/// In whatever order, at single ports and in ranges, also where one of them clamps.
#[test]
fn services_share_a_servers_ports_if_sessions_tell_them_apart() {
    let first = to_port(85, exact(&[VIP], &[(443, 443)]));
    let second = NodeService {
        clamp_mss: true,
        ..exact(&[OTHER_VIP], &[(80, 95)])
    };
    let third = to_port(85, exact(&["203.0.113.3"], &[(8443, 8443)]));
    let mut case = Case::new(&[(1, pool(&[1]))], &[(1, first), (2, second), (3, third)]);
    let plan = case.run();
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    let ports: Vec<_> = case.observed.reverse_ports.iter().collect();
    assert_eq!(ports, [(&endpoint(85), &Reverse::BY_SESSION)]);
    let mut ranges = case.observed.reverse_ranges.values();
    assert!(ranges.all(|it| *it == Reverse::BY_SESSION));
    // One of them goes, and the others' answers are still theirs.
    case.desired.services.remove(&ServiceId(1));
    case.run();
    assert_eq!(case.observed.reverse_ports.len(), 1);
}

#[test]
fn a_service_without_sessions_shares_nothing() {
    let alone = service(Mode::Dnat, &[VIP], &[(80, 90)]);
    let sharing = to_port(85, exact(&[OTHER_VIP], &[(443, 443)]));
    for (first, second) in [(alone.clone(), sharing.clone()), (sharing, alone)] {
        let mut case = Case::new(&[(1, pool(&[1]))], &[(1, first), (2, second)]);
        let plan = case.run();
        assert_eq!(refusal(&plan, ObjectKind::Service, 1), "");
        let reason = refusal(&plan, ObjectKind::Service, 2);
        assert!(reason.contains("belong to service id 1"), "{reason}");
    }
}

/// Flows from before have no session until their client's next packet; what the server sends meanwhile is still the VIP's.
#[test]
fn flows_from_before_are_answered_as_they_were() {
    let before = to_port(8080, service(Mode::Dnat, &[VIP], &[(80, 80)]));
    let after = to_port(8080, exact(&[OTHER_VIP, VIP], &[(80, 80)]));
    let mut case = Case::new(&[(1, pool(&[1]))], &[(1, before)]);
    case.run();
    let old = case.observed.reverse_ports[&endpoint(8080)];
    case.desired.services.insert(ServiceId(1), after.clone());
    case.run();
    let new = case.observed.reverse_ports[&endpoint(8080)];
    let expected = Reverse {
        vip: old.vip,
        vip_port_be: old.vip_port_be,
        ..Reverse::BY_SESSION
    };
    assert_eq!(new, expected);
    assert!(new.has_vip() && !Reverse::BY_SESSION.has_vip());
    assert_eq!(case.run().ops, []);
    // Without that VIP there are none.
    let vips = vec![prefix(OTHER_VIP), prefix("203.0.113.3")];
    let without = NodeService { vips, ..after };
    case.desired.services.insert(ServiceId(1), without);
    case.run();
    let new = case.observed.reverse_ports[&endpoint(8080)];
    assert_eq!(new, Reverse::BY_SESSION);
}

/// A server that left its pool has its answers translated while it has flows.
#[test]
fn answers_of_a_former_server_go_by_sessions_still() {
    let mut case = Case::new(
        &[(1, pool(&[1, 2]))],
        &[(1, exact(&[VIP, OTHER_VIP], &[(80, 80)]))],
    );
    case.run();
    case.in_table = Some(ids(&[1]));
    case.desired.pools.insert(PoolId(1), pool(&[2]));
    case.run();
    assert!(case.observed.backends.contains_key(&BackendId(1)));
    assert_eq!(
        case.observed.reverse_ports[&endpoint(80)],
        Reverse::BY_SESSION
    );
    // Also if the service has only one VIP by now.
    let one = service(Mode::Dnat, &[VIP], &[(80, 80)]);
    case.desired.services.insert(ServiceId(1), one);
    case.run();
    assert_eq!(
        case.observed.reverse_ports[&endpoint(80)],
        Reverse::BY_SESSION
    );
    let other = Address::from("10.0.0.2".parse::<IpAddr>().unwrap());
    let other = Endpoint::new(other, 80, Protocol::Tcp as u8);
    assert_eq!(case.observed.reverse_ports[&other].flags, 0);
    case.desired.services.clear();
    case.run();
    assert!(case.observed.reverse_ports.is_empty());
}

/// What one service has no more, another one may still have: a server of two pools leaves one of them.
#[test]
fn a_shared_entry_stays_while_anybody_has_it() {
    let mut shared = pool(&[3]);
    shared.backends[0].ipv4 = pool(&[1]).backends[0].ipv4;
    let first = exact(&[VIP], &[(80, 80)]);
    let second = NodeService {
        pool: PoolId(2),
        ..exact(&[OTHER_VIP], &[(80, 80)])
    };
    let pools = [(1, pool(&[1, 2])), (2, shared)];
    let mut case = Case::new(&pools, &[(1, first), (2, second)]);
    case.run();
    case.run();
    case.desired.pools.insert(PoolId(1), pool(&[2]));
    for secs in [0, 1000, 2000] {
        case.secs = secs;
        case.in_table = Some(BTreeSet::new());
        case.run();
        let held = case.observed.reverse_ports.get(&endpoint(80));
        assert_eq!(held, Some(&Reverse::BY_SESSION), "after {secs} s");
    }
    case.desired.services.remove(&ServiceId(2));
    case.run();
    assert_eq!(case.observed.reverse_ports.get(&endpoint(80)), None);
}
