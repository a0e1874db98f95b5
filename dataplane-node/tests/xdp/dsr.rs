//! `l4-dsr`: the packet stays, the link-layer addresses change.

use lbfabric_abi::{Mode, NextHop};

use super::{
    fabric::{CASES, EGRESS_MAC, Fabric, Family, SERVER, SERVER_MAC, backend, request},
    kernel::{Action, Ran},
};

#[test]
fn row_22_only_the_macs_change() {
    let fabric = Fabric::new(Mode::Dsr);
    for (family, protocol) in CASES {
        for ttl in [1, 64] {
            let request = request(family, protocol).ttl(ttl);
            let expected = Ran {
                action: Action::Redirect,
                counter: Some("l4-dsr"),
                frame: request.clone().macs(EGRESS_MAC, SERVER_MAC).build(),
            };
            assert_eq!(
                fabric.lb(&request.build()),
                expected,
                "{family:?} {protocol:?}"
            );
        }
    }
}

#[test]
fn the_other_familys_next_hop_will_do() {
    let mut fabric = Fabric::new(Mode::Dsr);
    let mut server = backend(Family::V4.server().ip(), Family::V6.server().ip());
    for (family, protocol) in CASES {
        let own = match family {
            Family::V4 => &mut server.hop4,
            Family::V6 => &mut server.hop6,
        };
        let resolved = *own;
        *own = NextHop::default();
        fabric.backend(SERVER, server);
        let ran = fabric.lb(&request(family, protocol).build());
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Redirect, Some("l4-dsr"))
        );
        (server.hop4, server.hop6) = (resolved, resolved);
    }
    (server.hop4, server.hop6) = (NextHop::default(), NextHop::default());
    fabric.backend(SERVER, server);
    for (family, protocol) in CASES {
        let ran = fabric.lb(&request(family, protocol).build());
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Drop, Some("drop-next-hop-unresolved"))
        );
    }
}

#[test]
fn each_family_goes_by_its_own_next_hop_first() {
    let mut fabric = Fabric::new(Mode::Dsr);
    let mut server = backend(Family::V4.server().ip(), Family::V6.server().ip());
    server.hop6.mac = [0x02, 0, 0, 0, 0, 0x66];
    fabric.backend(SERVER, server);
    for (family, protocol) in CASES {
        let mac = match family {
            Family::V4 => SERVER_MAC,
            Family::V6 => [0x02, 0, 0, 0, 0, 0x66],
        };
        let ran = fabric.lb(&request(family, protocol).build());
        assert_eq!(
            ran.frame,
            request(family, protocol).macs(EGRESS_MAC, mac).build()
        );
    }
}
