//! Random packets: the program updates checksums by difference, these tests compute them from scratch.

use std::net::{IpAddr, SocketAddr};

use lbfabric_abi::{Backend, Mode, Protocol};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    fabric::{EGRESS_MAC, Fabric, Family, SERVER, SERVER_MAC, backend, octets4, octets6, service},
    kernel::Action,
    packets::{Packet, l4_start},
    sessions,
    tunnel::tunnelled,
};

/// What a case varies.
#[derive(Clone, Debug)]
struct Case {
    protocol: Protocol,
    client: SocketAddr,
    vip: SocketAddr,
    server: IpAddr,
    backend_port: u16,
    ttl: u8,
    traffic_class: u8,
    payload: Vec<u8>,
    ip_options: Vec<u8>,
}

/// Words that one's-complement sums trip over, among others.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![2 => any::<u16>(), 1 => Just(0), 1 => Just(0xffff), 1 => Just(0xfffe), 1 => Just(1)]
}

fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => (word(), word())
            .prop_map(|(a, b)| IpAddr::from([a.to_be_bytes(), b.to_be_bytes()].concat_array()))
            .boxed(),
        // `::ffff:0:0/96` is how the maps write IPv4, which is never on the wire.
        Family::V6 => prop::array::uniform8(word())
            .prop_map(|mut words| {
                words[0] |= 0x2000;
                IpAddr::from(words)
            })
            .boxed(),
    }
}

/// Clients are not VIPs, nor martians: those are not served.
fn apart(ip: IpAddr, is_client: bool) -> IpAddr {
    let first = |octet: u8| if is_client { 0x2a } else { octet & !0x0a };
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [first(a), b, c, d].into()
        }
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[0] = first(octets[0]);
            octets.into()
        }
    }
}

trait ConcatArray {
    fn concat_array(self) -> [u8; 4];
}

impl ConcatArray for [[u8; 2]; 2] {
    fn concat_array(self) -> [u8; 4] {
        let [[a, b], [c, d]] = self;
        [a, b, c, d]
    }
}

fn case() -> impl Strategy<Value = Case> {
    prop_oneof![Just(Family::V4), Just(Family::V6)].prop_flat_map(|family| {
        let options = match family {
            Family::V4 => 0..=10usize,
            Family::V6 => 0..=0,
        };
        (
            prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
            (address(family), word()).prop_map(|(ip, port)| (apart(ip, true), port).into()),
            (address(family), word()).prop_map(|(ip, port)| (apart(ip, false), port).into()),
            address(family),
            word(),
            2..=255u8,
            any::<u8>(),
            prop::collection::vec(word().prop_map(|w| w.to_be_bytes()[0]), 0..200),
            prop::collection::vec(any::<[u8; 4]>(), options),
        )
            .prop_map(
                |(
                    protocol,
                    client,
                    vip,
                    server,
                    backend_port,
                    ttl,
                    traffic_class,
                    payload,
                    options,
                )| Case {
                    protocol,
                    client,
                    vip,
                    server,
                    backend_port,
                    ttl,
                    traffic_class,
                    payload,
                    ip_options: options.concat(),
                },
            )
    })
}

impl Case {
    fn family(&self) -> Family {
        if self.client.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }

    fn request(&self) -> Packet {
        let mut packet = Packet::new(self.protocol, self.client, self.vip).ttl(self.ttl);
        packet.traffic_class = self.traffic_class;
        packet.payload.clone_from(&self.payload);
        packet.ip_options.clone_from(&self.ip_options);
        packet
    }

    /// The server's endpoint: its own port, or else the client's choice.
    fn server(&self) -> SocketAddr {
        let port = if self.backend_port == 0 {
            self.vip.port()
        } else {
            self.backend_port
        };
        SocketAddr::new(self.server, port)
    }

    fn set_up(&self, fabric: &mut Fabric, mode: Mode) {
        let mut service = service(mode);
        service.backend_port_be = self.backend_port.to_be_bytes();
        fabric.serve(self.vip, self.protocol, service);
        let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
        let server = match self.server {
            IpAddr::V4(_) => Backend {
                ipv4: octets4(self.server),
                ..whole
            },
            IpAddr::V6(_) => Backend {
                ipv6: octets6(self.server),
                ..whole
            },
        };
        fabric.backend(SERVER, server);
    }

    /// Zero is how the maps write "no address".
    fn has_server(&self) -> bool {
        !self.server.is_unspecified()
    }
}

fn check(mode: Mode, property: impl Fn(&mut Fabric, &Case) -> Result<(), TestCaseError>) {
    let fabric = std::cell::RefCell::new(Fabric::new(mode));
    let mut runner = TestRunner::new(Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&case().prop_filter("no server", Case::has_server), |case| {
            let mut fabric = fabric.borrow_mut();
            case.set_up(&mut fabric, mode);
            property(&mut fabric, &case)
        })
        .unwrap();
}

#[test]
fn row_03_dnat_leaves_every_checksum_right() {
    check(Mode::Dnat, |fabric, case| {
        let request = case.request();
        let ran = fabric.lb(&request.build());
        let expected = request
            .clone()
            .macs(EGRESS_MAC, SERVER_MAC)
            .to(case.server())
            .ttl(case.ttl - 1);
        prop_assert_eq!(ran.action, Action::Redirect);
        prop_assert_eq!(ran.frame, expected.build());
        Ok(())
    });
}

#[test]
fn row_03_full_nat_leaves_every_checksum_right() {
    check(Mode::Fullnat, |fabric, case| {
        let request = case.request();
        // Cases share the tables, and corner values come often: an earlier case may have had this flow with another server port.
        sessions::forget_all(fabric);
        let ran = fabric.lb(&request.build());
        prop_assert_eq!(ran.action, Action::Redirect);
        let at = l4_start(&request);
        let port = u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]]);
        let node = SocketAddr::new(case.family().node(), port);
        let expected = request
            .clone()
            .macs(EGRESS_MAC, SERVER_MAC)
            .from(node)
            .to(case.server())
            .ttl(case.ttl - 1);
        prop_assert_eq!(ran.frame, expected.build());
        Ok(())
    });
}

/// Every traffic class and length makes another outer header.
#[test]
fn row_02_tunnel_headers_have_the_right_checksum() {
    check(Mode::Tunnel, |fabric, case| {
        let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
        for outer in [Family::V4, Family::V6] {
            let server = match outer {
                Family::V4 => Backend {
                    ipv6: [0; 16],
                    ..whole
                },
                Family::V6 => Backend {
                    ipv4: [0; 4],
                    ..whole
                },
            };
            fabric.backend(SERVER, server);
            let request = case.request();
            let ran = fabric.lb(&request.build());
            prop_assert_eq!(ran.action, Action::Redirect);
            prop_assert_eq!(ran.frame, tunnelled(&request, outer));
        }
        Ok(())
    });
}

/// Payloads made so that the checksum over the new addresses is each corner value in turn.
#[test]
fn corner_values_of_the_checksum_itself() {
    for (family, protocol) in super::fabric::CASES {
        let fabric = Fabric::new(Mode::Dnat);
        let at_of = |packet: &Packet| {
            l4_start(packet)
                + match protocol {
                    Protocol::Tcp => 16,
                    Protocol::Udp => 6,
                    Protocol::Any => unreachable!("packets are of a protocol"),
                }
        };
        let mut seen = std::collections::HashSet::new();
        for filling in 0..=u16::MAX {
            // Most sums are of no interest; those near zero, before or after, are.
            let mut request = super::fabric::request(family, protocol);
            request.payload = filling.to_be_bytes().to_vec();
            let frame = request.build();
            let expected = request
                .clone()
                .macs(EGRESS_MAC, SERVER_MAC)
                .to(family.server())
                .ttl(request.ttl - 1)
                .build();
            let at = at_of(&request);
            let field = |frame: &[u8]| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let (before, after) = (field(&frame), field(&expected));
            let near = |it: u16| it <= 1 || it >= 0xfffe;
            if !near(before) && !near(after) {
                continue;
            }
            seen.extend([before, after].into_iter().filter(|it| near(*it)));
            assert_eq!(
                fabric.lb(&frame).frame,
                expected,
                "{family:?} {protocol:?} {before:#x}"
            );
        }
        // TCP: zero, and 0xffff never. UDP: 0xffff instead of zero.
        let zero = match protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => 0xffff,
            Protocol::Any => unreachable!("packets are of a protocol"),
        };
        assert!(
            seen.is_superset(&[zero, 1, 0xfffe].into()),
            "{family:?} {protocol:?} {seen:?}"
        );
    }
}
