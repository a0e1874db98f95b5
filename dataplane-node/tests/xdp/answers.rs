//! What servers answer, in `l4-dnat` and `l4-fullnat`: it gets the VIP as its source, and goes where the kernel's routing
//! table says.

use std::net::SocketAddr;

use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{CASES, Fabric, Family, request, reverse},
    kernel::{Action, Program, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Network, Route, SERVERS_MAC, forward, in_network},
    packets::{Packet, l4_start},
};

const ROUTES: [Route; 7] = [
    Route::Known,
    Route::SameInterface,
    Route::NoNeighbour,
    Route::Blackhole,
    Route::Unreachable,
    Route::Prohibit,
    Route::None,
];

/// A server's answer and what the client shall get, at the same time to live.
struct Answer {
    sent: Packet,
    translated: Packet,
    verdict: &'static str,
}

impl Answer {
    fn dnat(family: Family, protocol: Protocol, client: SocketAddr) -> Self {
        Self {
            sent: Packet::new(protocol, family.server(), client),
            translated: Packet::new(protocol, family.vip(), client),
            verdict: "l4-dnat-answer",
        }
    }

    /// The answer to a request that goes through the program first, which notes the flow.
    fn fullnat(fabric: &Fabric, family: Family, protocol: Protocol, client: SocketAddr) -> Self {
        let request = request(family, protocol).from(client);
        let ran = fabric.lb(&request.build());
        assert_eq!(ran.counter, Some("l4-fullnat"));
        let at = l4_start(&request);
        let port = u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]]);
        let node = SocketAddr::new(family.node(), port);
        Self {
            sent: Packet::new(protocol, family.server(), node),
            translated: Packet::new(protocol, family.vip(), client),
            verdict: "l4-fullnat-answer",
        }
    }

    /// What comes of it by the route that it takes.
    fn expected(&self, route: Route) -> Ran {
        let hop = |mac| {
            let packet = self.translated.clone().ttl(self.translated.ttl - 1);
            packet.macs(mac, NEIGHBOUR_MAC).build()
        };
        let (action, counter, frame) = match route {
            Route::Known => (Action::Redirect, self.verdict, hop(CLIENTS_MAC)),
            Route::SameInterface => (Action::Tx, self.verdict, hop(SERVERS_MAC)),
            // The kernel forwards it: the time to live and the link-layer addresses are left to it.
            Route::NoNeighbour | Route::None => {
                (Action::Pass, "pass-to-route", self.translated.build())
            }
            Route::Blackhole | Route::Unreachable | Route::Prohibit => {
                (Action::Drop, "drop-no-route", self.sent.build())
            }
        };
        Ran {
            action,
            counter: Some(counter),
            frame,
        }
    }

    fn run(&self, fabric: &Fabric, network: &Network) -> Ran {
        let frame = self.sent.build();
        fabric.kernel.run_from(Program::Lb, &frame, network.servers)
    }
}

fn dnat_fabric() -> Fabric {
    let mut fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        fabric.reverse(family.server(), protocol, reverse(family.vip(), false));
    }
    fabric
}

#[test]
fn dnat_answers_take_every_kind_of_route() {
    in_network(|network| {
        let fabric = dnat_fabric();
        for (family, protocol) in CASES {
            for route in ROUTES {
                let client = route.client(family == Family::V4);
                let answer = Answer::dnat(family, protocol, client);
                let expected = answer.expected(route);
                assert_eq!(
                    answer.run(&fabric, network),
                    expected,
                    "{protocol:?} {route:?}"
                );
            }
        }
    });
}

#[test]
fn fullnat_answers_take_every_kind_of_route() {
    in_network(|network| {
        let fabric = Fabric::new(Mode::Fullnat);
        for (family, protocol) in CASES {
            for route in ROUTES {
                let client = route.client(family == Family::V4);
                let answer = Answer::fullnat(&fabric, family, protocol, client);
                let expected = answer.expected(route);
                assert_eq!(
                    answer.run(&fabric, network),
                    expected,
                    "{protocol:?} {route:?}"
                );
            }
        }
    });
}

/// A node that does not forward leaves the answer to the kernel, which says so in its own counters.
#[test]
fn without_forwarding_the_kernel_gets_the_answer() {
    in_network(|network| {
        forward(false);
        let fabric = dnat_fabric();
        for (family, protocol) in CASES {
            let answer = Answer::dnat(family, protocol, Route::Known.client(family == Family::V4));
            let expected = answer.expected(Route::None);
            assert_eq!(answer.run(&fabric, network), expected);
        }
    });
}

/// The kernel fragments it, or tells the server to.
#[test]
fn an_answer_above_the_mtu_goes_to_the_kernel() {
    in_network(|network| {
        let fabric = dnat_fabric();
        for (family, protocol) in CASES {
            let client = Route::Known.client(family == Family::V4);
            for (excess, route) in [(0, Route::Known), (1, Route::None)] {
                let mut answer = Answer::dnat(family, protocol, client);
                let headers = answer.sent.ip_packet().len() - answer.sent.payload.len();
                answer.sent.payload = vec![0x5a; 1500 + excess - headers];
                answer.translated.payload = answer.sent.payload.clone();
                let expected = answer.expected(route);
                assert_eq!(
                    answer.run(&fabric, network),
                    expected,
                    "{family:?} {excess}"
                );
            }
        }
    });
}

#[test]
fn an_expiring_answer_is_dropped_as_it_came() {
    in_network(|network| {
        for mode in [Mode::Dnat, Mode::Fullnat] {
            let fabric = match mode {
                Mode::Dnat => dnat_fabric(),
                _ => Fabric::new(mode),
            };
            for (family, protocol) in CASES {
                let client = Route::Known.client(family == Family::V4);
                let mut answer = match mode {
                    Mode::Dnat => Answer::dnat(family, protocol, client),
                    _ => Answer::fullnat(&fabric, family, protocol, client),
                };
                answer.sent.ttl = 1;
                let expected = Ran {
                    action: Action::Drop,
                    counter: Some("drop-ttl-expired"),
                    frame: answer.sent.build(),
                };
                assert_eq!(
                    answer.run(&fabric, network),
                    expected,
                    "{mode:?} {family:?}"
                );
            }
        }
    });
}

/// A mapped port is mapped back, a kept one kept; single ports come before ranges.
#[test]
fn the_answers_port_is_the_vips() {
    in_network(|network| {
        let mut fabric = Fabric::new(Mode::Dnat);
        for (family, protocol) in CASES {
            let mut mapped = family.server();
            mapped.set_port(8080);
            fabric.reverse(mapped, protocol, reverse(family.vip(), false));
            // 8080 to 8087, of another VIP.
            let other_vip = SocketAddr::new(family.other_server().ip(), 1);
            fabric.reverse_range(mapped, 13, protocol, reverse(other_vip, true));
            let client = Route::Known.client(family == Family::V4);
            for port in 8078..8090 {
                let mut server = family.server();
                server.set_port(port);
                let mut answer = Answer::dnat(family, protocol, client);
                answer.sent = answer.sent.from(server);
                let expected = match port {
                    8080 => answer.expected(Route::Known),
                    8081..=8087 => {
                        let vip = SocketAddr::new(other_vip.ip(), port);
                        answer.translated = answer.translated.clone().from(vip);
                        answer.expected(Route::Known)
                    }
                    _ => Ran {
                        action: Action::Pass,
                        counter: Some("pass-not-vip"),
                        frame: answer.sent.build(),
                    },
                };
                assert_eq!(answer.run(&fabric, network), expected, "{family:?} {port}");
            }
        }
    });
}

/// A packet to the node that belongs to no flow is the node's own, also where the node's address is a VIP.
#[test]
fn only_flows_are_translated_back() {
    in_network(|network| {
        let mut fabric = Fabric::new(Mode::Fullnat);
        for (family, protocol) in CASES {
            let client = Route::Known.client(family == Family::V4);
            for otherwise in ["pass-not-vip", "pass-not-served"] {
                let answer = Answer::fullnat(&fabric, family, protocol, client);
                let expected = answer.expected(Route::Known);
                assert_eq!(answer.run(&fabric, network), expected);

                for stranger in [
                    answer.sent.clone().from(family.other_server()),
                    answer.sent.clone().to(SocketAddr::new(family.node(), 22)),
                ] {
                    let frame = stranger.build();
                    let ran = fabric.kernel.run_from(Program::Lb, &frame, network.servers);
                    assert_eq!((ran.action, ran.counter), (Action::Pass, Some(otherwise)));
                    assert_eq!(ran.frame, frame);
                }
                fabric.vip_address(family.node());
            }
            fabric.forget_vip_address(family.node());
        }
    });
}

#[test]
fn row_04_no_udp_checksum_stays_none() {
    in_network(|network| {
        let fabric = dnat_fabric();
        for family in [Family::V4, Family::V6] {
            let client = Route::Known.client(family == Family::V4);
            let mut answer = Answer::dnat(family, Protocol::Udp, client);
            answer.sent.unchecked = true;
            answer.translated.unchecked = true;
            let expected = answer.expected(Route::Known);
            assert_eq!(answer.run(&fabric, network), expected);
        }
    });
}
