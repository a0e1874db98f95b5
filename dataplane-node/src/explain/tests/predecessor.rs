//! Connections that are older than the node's hold on a leased VIP.

use super::*;

#[test]
fn what_has_no_session_goes_to_whoever_has_it() {
    let exact = VipService {
        flags: VipService::EXACT_STATE,
        ..service(Mode::Dnat)
    };
    let hop = NextHop {
        mac: [2, 0, 0, 0, 0, 9],
        source_mac: [2, 0, 0, 0, 0, 1],
        ifindex: 7,
    };
    let after = LeasedVip {
        predecessor: hop,
        ..LeasedVip::held(77)
    };
    // Where no server is left, the other node may still have one.
    for (service, slot) in [
        (service(Mode::Fullnat), RingSlot::steady(1)),
        (service(Mode::Fullnat), RingSlot::EMPTY),
        (exact, RingSlot::steady(1)),
        (exact, RingSlot::EMPTY),
    ] {
        let mut maps = Maps::new(service, slot);
        let told = maps.explain(true);
        assert_ne!(told.verdict, "to-predecessor", "{told:#?}");
        maps.leased = Some(after);
        let told = maps.explain(true);
        assert_eq!(told.verdict, "to-predecessor", "{told:#?}");
        assert_eq!(
            (told.next_hop.as_str(), told.server.as_str()),
            ("eth7 02:00:00:00:00:09", "")
        );
        assert_eq!(
            told.steps.last().unwrap(),
            "the node holds 203.0.113.10, and the connection began before it did: the packet goes as it is to the node that held it before"
        );
        maps.leased = Some(LeasedVip::given_up(u64::MAX));
        let told = maps.explain(true);
        assert_eq!(told.drop_reason, "drop-vip-moved", "{told:#?}");
        assert!(told.steps.last().unwrap().contains("has just given"));
        assert_eq!(told.server, "");
        for leased in [LeasedVip::given_up(1), LeasedVip::held(77)] {
            maps.leased = Some(leased);
            assert_ne!(maps.explain(true).verdict, "to-predecessor", "{leased:?}");
            assert_ne!(
                maps.explain(true).drop_reason,
                "drop-vip-moved",
                "{leased:?}"
            );
        }
        maps.leased = Some(after);
        // A connection that begins now begins here.
        assert_ne!(maps.explain(false).verdict, "to-predecessor");
    }
    for mode in [Mode::Dnat, Mode::Dsr, Mode::Tunnel] {
        let mut maps = Maps::new(service(mode), RingSlot::steady(1));
        maps.leased = Some(after);
        assert_ne!(maps.explain(true).verdict, "to-predecessor", "{mode:?}");
    }
}
