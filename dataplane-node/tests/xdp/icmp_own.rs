//! ICMP errors of the node's own: what is too big for the way to its server, and what has no hop left.

use std::net::IpAddr;

use lbfabric_abi::{Backend, Mode, VipService};

use super::{
    fabric::{CASES, Fabric, Family, SERVER, backend, request, service, settings},
    gue::GUE_PORT,
    icmp_packets::{IcmpPacket, QUOTE_MAX, Trouble},
    kernel::{Action, Program, Ran},
    network::in_network,
    packets::{NODE_MAC, Packet, ROUTER_MAC},
};

/// The server, behind a link of that size.
pub(crate) fn behind(mtu: u16) -> Backend {
    Backend {
        mtu4: mtu,
        mtu6: mtu,
        ..backend(Family::V4.server().ip(), Family::V6.server().ip())
    }
}

/// Every mode in which packets may not fit, with what it adds to a packet of each family.
const LIMITED: [(Mode, u32, [u16; 2]); 4] = [
    (Mode::Dnat, 0, [0, 0]),
    (Mode::Fullnat, 0, [0, 0]),
    (Mode::Tunnel, 0, [20, 40]),
    (Mode::Tunnel, VipService::GUE, [20 + 12, 40 + 12]),
];

/// A fabric of such a mode, with its server behind a link of that size.
fn limited(mode: Mode, flags: u32, mtu: u16) -> Fabric {
    let mut fabric = Fabric::new(mode);
    fabric.backend(SERVER, behind(mtu));
    for (family, protocol) in CASES {
        let service = VipService {
            flags,
            gue_port_be: GUE_PORT.to_be_bytes(),
            ..service(mode)
        };
        fabric.serve(family.vip(), protocol, service);
    }
    fabric
}

/// A packet of as many bytes from the IP header on.
pub(crate) fn of_length(mut packet: Packet, length: u16) -> Packet {
    packet.payload.clear();
    let headers = packet.ip_packet().len();
    packet.payload = vec![0xa5; usize::from(length) - headers];
    packet
}

/// What the client is told of its packet.
fn told(trouble: Trouble, source: IpAddr, about: &Packet) -> Ran {
    let most = match about.source {
        std::net::SocketAddr::V4(_) => QUOTE_MAX[0],
        std::net::SocketAddr::V6(_) => QUOTE_MAX[1],
    };
    let frame = IcmpPacket::error(trouble, source, about, most)
        .macs(NODE_MAC, ROUTER_MAC)
        .ttl(64)
        .build();
    Ran {
        action: Action::Tx,
        counter: Some(match trouble {
            Trouble::TooBig(_) => "icmp-too-big",
            _ => "icmp-time-exceeded",
        }),
        frame,
    }
}

#[test]
fn row_07_row_09_what_does_not_fit_is_told_how_much_does() {
    for (mode, flags, overheads) in LIMITED {
        let fabric = limited(mode, flags, 1400);
        for (family, protocol) in CASES {
            let room = 1400 - overheads[usize::from(family == Family::V6)];
            for length in [room - 1, room, room + 1, 1461, 1500, 9000] {
                for padding in [0, 5] {
                    let mut sent = of_length(request(family, protocol), length);
                    sent.padding = padding;
                    let ran = fabric.lb(&sent.build());
                    let what = format!("{mode:?} {family:?} {protocol:?} {length}");
                    if length <= room {
                        assert_eq!(ran.action, Action::Redirect, "{what}");
                    } else {
                        let expected = told(Trouble::TooBig(room), family.vip().ip(), &sent);
                        assert_eq!(ran, expected, "{what}");
                    }
                }
            }
        }
    }
}

/// What is longer than the link that it came over was put together from several packets, each of which may fit.
#[test]
fn row_44_what_was_put_together_is_not_too_big() {
    in_network(|network| {
        for (mode, flags, _) in LIMITED {
            let fabric = limited(mode, flags, 1400);
            for (family, protocol) in CASES {
                for (length, action) in [(1500, Action::Tx), (1501, Action::Redirect)] {
                    let frame = of_length(request(family, protocol), length).build();
                    let ran = fabric.kernel.run_from(Program::Lb, &frame, network.servers);
                    assert_eq!(ran.action, action, "{mode:?} {family:?} {length}");
                }
            }
        }
    });
}

#[test]
fn row_07_unknown_sizes_and_the_servers_own_link_take_everything() {
    for (mode, mtu) in [
        (Mode::Dnat, 0),
        (Mode::Fullnat, 0),
        (Mode::Tunnel, 0),
        (Mode::Dsr, 1280),
    ] {
        let mut fabric = Fabric::new(mode);
        fabric.backend(SERVER, behind(mtu));
        for (family, protocol) in CASES {
            let sent = of_length(request(family, protocol), 3000);
            assert_eq!(
                fabric.lb(&sent.build()).action,
                Action::Redirect,
                "{mode:?}"
            );
        }
    }
}

/// No sender of IPv6 goes below 1280 bytes.
#[test]
fn row_09_a_way_below_the_least_of_ipv6() {
    let mut fabric = Fabric::new(Mode::Tunnel);
    fabric.backend(SERVER, behind(1300));
    for (family, protocol) in CASES {
        if family == Family::V4 {
            continue;
        }
        let sent = of_length(request(family, protocol), 1281);
        let expected = told(Trouble::TooBig(1280), family.vip().ip(), &sent);
        assert_eq!(fabric.lb(&sent.build()), expected);
        let frame = of_length(request(family, protocol), 1280).build();
        let expected = Ran {
            action: Action::Drop,
            counter: Some("drop-too-big"),
            frame: frame.clone(),
        };
        assert_eq!(fabric.lb(&frame), expected);
    }
}

#[test]
fn row_14_the_node_is_a_hop_where_it_routes() {
    for mode in [Mode::Dnat, Mode::Fullnat] {
        let fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            for ttl in [0, 1] {
                for size in [0, 1, 2, 3, 7, 1400] {
                    let mut sent = request(family, protocol).ttl(ttl);
                    sent.payload = vec![0x3c; size];
                    let expected = told(Trouble::TimeExceeded, family.node(), &sent);
                    assert_eq!(fabric.lb(&sent.build()), expected, "{mode:?} {family:?}");
                }
            }
            let passed = fabric.lb(&request(family, protocol).ttl(2).build());
            assert_eq!(passed.action, Action::Redirect);
        }
    }
}

/// Where the server is on the node's own link, or a tunnel's end is the next hop, the client's packet stays as it is.
#[test]
fn row_14_the_node_is_no_hop_elsewhere() {
    for (mode, counter) in [(Mode::Dsr, "l4-dsr"), (Mode::Tunnel, "l4-tunnel")] {
        let fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            let sent = request(family, protocol).ttl(1);
            let ran = fabric.lb(&sent.build());
            assert_eq!((ran.action, ran.counter), (Action::Redirect, Some(counter)));
            assert!(ran.frame.ends_with(&sent.ip_packet()), "{mode:?}");
        }
    }
}

#[test]
fn row_14_without_an_address_the_node_says_nothing() {
    let mut fabric = Fabric::new(Mode::Dnat);
    let mut nameless = settings();
    (nameless.source4_count, nameless.source6_count) = (0, 0);
    fabric.settings(nameless);
    for (family, protocol) in CASES {
        let frame = request(family, protocol).ttl(1).build();
        let ran = fabric.lb(&frame);
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Drop, Some("drop-ttl-expired"))
        );
        assert_eq!(ran.frame, frame);
    }
}

#[test]
fn row_09_errors_are_limited() {
    let fabric = Fabric::new(Mode::Dnat);
    let (family, protocol) = CASES[1];
    let frame = request(family, protocol).ttl(1).build();
    let mut told = 0;
    // Each CPU that the thread may be moved to has a budget, and a second's worth comes back in a second.
    let ran = loop {
        let ran = fabric.lb(&frame);
        if ran.counter != Some("icmp-time-exceeded") {
            break ran;
        }
        told += 1;
        assert!(told < 10_000, "no limit");
    };
    assert!(told >= 100, "{told}");
    assert_eq!(
        (ran.action, ran.counter),
        (Action::Drop, Some("drop-icmp-rate-limit"))
    );
    assert_eq!(ran.frame, frame);
}
