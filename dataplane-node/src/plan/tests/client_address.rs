use lbfabric_abi::{PoolRing, VipService};

use super::*;
use crate::plan::service::ServiceEntries;

#[test]
fn clients_are_told_only_by_nodes_that_servers_know() {
    let mut service = service(Mode::Fullnat, &["198.51.100.1", "2001:db8::9"], &[(80, 80)]);
    let pool = pool(&[1]);
    let ring = PoolRing::default();
    let mut entries = |told: bool, is_known6: bool| {
        service.client_address_option = told;
        let local = Local {
            is_known6,
            ..able()
        };
        ServiceEntries::new(ServiceId(1), &service, &pool, ring, &local)
    };
    let flags = |entries: ServiceEntries| entries.vip_ports[0].1.flags;
    let telling = VipService::CLIENT_ADDRESS_OPTION;
    assert_eq!(flags(entries(true, true).unwrap()), telling);
    assert_eq!(flags(entries(false, false).unwrap()), 0);
    let reason = entries(true, false).unwrap_err();
    assert!(
        reason.contains("IPv6 address in source_addresses"),
        "{reason}"
    );
}
