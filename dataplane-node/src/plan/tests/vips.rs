//! VIPs that are prefixes, any port and any protocol, and servers by their QUIC IDs.

use lbfabric_abi::{
    Address, EndpointPrefix, FilterRegion, QuicServer, VipFlags, VipPrefix, VipService,
};
use lbfabric_model::QuicServerId;

use super::*;

fn position(ops: &[MapOp], wanted: fn(&MapOp) -> bool) -> usize {
    ops.iter().position(wanted).unwrap()
}

#[test]
fn a_prefix_is_found_only_while_its_entries_are_there() {
    let mut web = service(Mode::Dsr, &["203.0.113.0/24", "2001:db8::/32"], &[(80, 80)]);
    web.ports = Ports::Any;
    let mut case = Case::new(&[(1, pool(&[1]))], &[(7, web)]);
    let ops = case.run().ops;
    let filter = position(&ops, |op| matches!(op, MapOp::PutFilterWord(..)));
    let range = position(&ops, |op| matches!(op, MapOp::PutVipRange(..)));
    let prefix = position(&ops, |op| matches!(op, MapOp::PutVipPrefix(..)));
    assert!(filter < range && range < prefix);
    assert_eq!(case.plan().ops, []);
    let v4 = Address::from_ipv4([203, 0, 113, 0]);
    let key = case
        .observed
        .vip_ranges
        .keys()
        .find(|it| it.data.address == v4)
        .unwrap();
    assert_eq!(
        (key.data.vip_bits, key.bits),
        (120, EndpointPrefix::PORT_AT)
    );
    let v6: IpAddr = "2001:db8::".parse().unwrap();
    let wanted = [(v4, 120), (v6.into(), 32)].map(|(address, bits)| {
        (
            VipPrefix { address, bits },
            VipFlags::KNOWN | VipFlags::ECHO,
        )
    });
    assert_eq!(case.observed.vip_prefixes, wanted.into());
    assert!(case.observed.vip_addresses.is_empty() && case.observed.vip_ports.is_empty());

    case.desired.services.clear();
    let ops = case.run().ops;
    let range = position(&ops, |op| matches!(op, MapOp::RemoveVipRange(_)));
    let prefix = position(&ops, |op| matches!(op, MapOp::RemoveVipPrefix(_)));
    let filter = position(&ops, |op| matches!(op, MapOp::PutFilterWord(..)));
    assert!(range < prefix && prefix < filter);
    let words = FilterRegion::prefix_words();
    assert!(
        case.observed
            .filter
            .keys()
            .all(|word| !words.contains(word))
    );
}

#[test]
fn single_ports_of_a_prefix_are_ranges_of_one() {
    let web = service(
        Mode::Tunnel,
        &["203.0.113.0/24", "203.0.113.1"],
        &[(80, 80), (90, 91)],
    );
    let mut case = Case::new(&[(1, pool(&[1]))], &[(7, web)]);
    assert!(case.run().refusals.is_empty());
    assert_eq!(case.observed.vip_ports.len(), 1);
    let of = |bits| {
        let keys = case.observed.vip_ranges.keys();
        keys.filter(move |it| it.data.vip_bits == bits).count()
    };
    assert_eq!((of(0), of(120)), (1, 2));
}

#[test]
fn any_protocol_is_written_as_no_protocol() {
    let mut web = service(Mode::Dsr, &["203.0.113.1"], &[(80, 80)]);
    (web.ports, web.protocol) = (Ports::Any, Protocol::Any);
    let mut case = Case::new(&[(1, pool(&[1]))], &[(7, web)]);
    assert!(case.run().refusals.is_empty());
    let keys: Vec<_> = case.observed.vip_ranges.keys().collect();
    assert_eq!((keys.len(), keys[0].data.protocol), (1, 0));
}

#[test]
fn nested_prefixes_of_services_stand_side_by_side() {
    let wide = service(Mode::Dsr, &["203.0.113.0/24"], &[(80, 80)]);
    let narrow = service(Mode::Dsr, &["203.0.113.0/25"], &[(80, 80)]);
    let same = service(Mode::Dsr, &["203.0.113.0/24"], &[(80, 80)]);
    let mut case = Case::new(&[(1, pool(&[1]))], &[(1, wide), (2, narrow), (3, same)]);
    let plan = case.run();
    assert_eq!(refusal(&plan, ObjectKind::Service, 2), "");
    assert!(refusal(&plan, ObjectKind::Service, 3).contains("another service"));
    assert_eq!(case.observed.vip_prefixes.len(), 2);
}

fn with_quic_ids(ids: &[u32]) -> NodePool {
    let mut pool = pool_with_check(ids);
    for backend in &mut pool.backends {
        let id = u8::try_from(backend.id.0).unwrap();
        backend.quic_server_id = QuicServerId::new(&[0xaa, id]);
    }
    pool
}

#[test]
fn quic_ids_lead_to_their_servers_also_after_these_left() {
    let mut quic = service(Mode::Dsr, &["203.0.113.1"], &[(443, 443)]);
    (quic.protocol, quic.affinity) = (Protocol::Udp, Affinity::QuicCid);
    let mut case = Case::new(&[(1, with_quic_ids(&[1, 2]))], &[(7, quic)]);
    for id in [1, 2] {
        case.set_health(id, Health::Up);
    }
    let ops = case.run().ops;
    let server = position(&ops, |op| matches!(op, MapOp::PutBackend(..)));
    let named = position(&ops, |op| matches!(op, MapOp::PutQuicServer(..)));
    let vip = position(&ops, |op| matches!(op, MapOp::PutVipPort(..)));
    assert!(server < named && named < vip);
    let entry = *case.observed.vip_ports.values().next().unwrap();
    assert_eq!(entry.flags, VipService::QUIC);
    assert_eq!(entry.quic_id_length, 2);
    let key = |id| QuicServer {
        id: [0xaa, id, 0, 0, 0, 0, 0, 0],
        pool: 1,
        length: 2,
    };
    let named = BTreeMap::from([(key(1), BackendId(1)), (key(2), BackendId(2))]);
    assert_eq!(case.observed.quic_servers, named);

    // Flows are on it.
    case.in_table = Some(ids(&[2]));
    case.desired.pools.insert(PoolId(1), with_quic_ids(&[1]));
    case.run();
    assert!(case.observed.backends.contains_key(&BackendId(2)));
    assert_eq!(case.observed.quic_servers, named);

    case.desired.services.clear();
    case.desired.pools.clear();
    case.run();
    case.run();
    assert!(case.observed.quic_servers.is_empty());
}
