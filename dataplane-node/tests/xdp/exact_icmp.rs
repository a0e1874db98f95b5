//! ICMP errors about flows of `l4-dnat` with exact state, in both directions and with as little quoted as may be.

use super::{
    exact_fabric::{Flow, fabric, from_servers},
    fabric::{CASES, EGRESS_MAC, Family, SERVER_MAC},
    icmp_packets::{IcmpPacket, TROUBLES, Trouble},
    kernel::{Action, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, in_network},
    packets::Packet,
};

fn quotes(about: &Packet, family: Family) -> [usize; 4] {
    let header = family.header();
    [
        header + 8,
        header + 18,
        header + 21,
        about.ip_packet().len(),
    ]
}

fn sent(frame: Vec<u8>) -> Ran {
    Ran {
        action: Action::Redirect,
        counter: Some("icmp-error"),
        frame,
    }
}

#[test]
fn row_06_an_error_about_an_answer_reaches_the_flows_server() {
    let fabric = fabric();
    for (family, protocol) in CASES {
        for (port, vip) in (4000..).zip(family.vips()) {
            let flow = Flow::new(protocol, vip, port);
            flow.assert_begins(&fabric);
            let about = flow.translated(&flow.answer());
            for trouble in TROUBLES {
                for quoted in quotes(&about, family) {
                    let error = IcmpPacket::error(trouble, family.router(), &about, quoted);
                    let mut expected =
                        IcmpPacket::error(trouble, family.router(), &flow.answer(), quoted);
                    expected = expected.macs(EGRESS_MAC, SERVER_MAC).ttl(error.ttl - 1);
                    assert_eq!(
                        fabric.lb(&error.build()),
                        sent(expected.build()),
                        "{flow:?} {trouble:?} {quoted}"
                    );
                }
            }
        }
    }
}

#[test]
fn row_05_an_error_about_a_clients_packet_names_the_vip_that_was_asked() {
    in_network(|network| {
        let fabric = fabric();
        for (family, protocol) in CASES {
            for (port, vip) in (4000..).zip(family.vips()) {
                let flow = Flow::new(protocol, vip, port);
                flow.assert_begins(&fabric);
                let on_link = flow.packet.clone().to(flow.server);
                for trouble in TROUBLES {
                    for (source, told) in [
                        (flow.server.ip(), vip.ip()),
                        (family.router(), family.router()),
                    ] {
                        for quoted in quotes(&on_link, family) {
                            let error = IcmpPacket::error(trouble, source, &on_link, quoted);
                            let expected = IcmpPacket::error(trouble, told, &flow.packet, quoted)
                                .macs(CLIENTS_MAC, NEIGHBOUR_MAC)
                                .ttl(error.ttl - 1);
                            assert_eq!(
                                from_servers(&fabric, network, &error.build()),
                                sent(expected.build()),
                                "{flow:?} {trouble:?} {quoted}"
                            );
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn errors_about_unknown_flows_go_nowhere() {
    in_network(|network| {
        let fabric = fabric();
        for (family, protocol) in CASES {
            let flow = Flow::new(protocol, family.vip(), 4000);
            let trouble = Trouble::PortUnreachable;
            let least = family.header() + 8;
            let about = flow.translated(&flow.answer());
            let error = IcmpPacket::error(trouble, family.router(), &about, least).build();
            let ran = fabric.lb(&error);
            let dropped = (Action::Drop, Some("drop-unknown-flow"));
            assert_eq!((ran.action, ran.counter), dropped);
            let on_link = flow.packet.clone().to(flow.server);
            let error = IcmpPacket::error(trouble, flow.server.ip(), &on_link, least).build();
            let ran = from_servers(&fabric, network, &error);
            let passed = (Action::Pass, Some("pass-not-vip"));
            assert_eq!((ran.action, ran.counter), passed);
            assert_eq!(ran.frame, error);
        }
    });
}
