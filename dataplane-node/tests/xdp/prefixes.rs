//! VIPs that are whole prefixes, with any port and any protocol: row 23 of the checklist.

use std::net::{IpAddr, SocketAddr};

use aya::maps::lpm_trie::Key;
use etherparse::{EtherType, IpNumber};
use lbfabric_abi::{
    Address, EndpointPrefix, FilterRegion, Mode, Protocol, Traffic, VipFlags, VipNetwork,
    VipPrefix, VipService,
};

use super::{
    fabric::{
        EGRESS_MAC, Fabric, Family, RING_KEY, RING_SLOTS, RING_START, SERVER, SERVER_MAC, octets4,
        octets6, request, service,
    },
    icmp_packets::IcmpPacket,
    kernel::{Action, IDS},
    packets::{ETHERNET, NODE_MAC, Packet, ROUTER_MAC, ethernet, ipv4, ipv6},
};

const GRE: u8 = 47;
const ESP: u8 = 50;
const SCTP: u8 = 132;
const ANY: u8 = Protocol::Any as u8;
const TCP: u8 = Protocol::Tcp as u8;
const UDP: u8 = Protocol::Udp as u8;

/// An address, or a prefix with its length in the family's own bits, and what is served there.
#[derive(Clone, Copy, Debug)]
struct Entry {
    vip: &'static str,
    bits: u8,
    protocol: u8,
    /// A port and how many of its first bits count.
    port: (u16, u32),
}

impl Entry {
    fn any_port(vip: &'static str, bits: u8, protocol: u8) -> Self {
        Self {
            vip,
            bits,
            protocol,
            port: (0, 0),
        }
    }

    fn address(self) -> IpAddr {
        self.vip.parse().unwrap()
    }

    fn bits_in_maps(self) -> u32 {
        u32::from(self.bits) + if self.address().is_ipv4() { 96 } else { 0 }
    }

    fn prefix(self) -> VipPrefix {
        VipPrefix {
            address: self.address().into(),
            bits: self.bits_in_maps(),
        }
    }

    fn is_single(self) -> bool {
        self.bits_in_maps() == 128
    }

    fn has(self, address: IpAddr, port: u16, protocol: u8) -> bool {
        let number = |it: IpAddr| u128::from_be_bytes(Address::from(it).0);
        let differing = (number(address) ^ number(self.address())).leading_zeros();
        let ports = (port ^ self.port.0).leading_zeros();
        differing >= self.bits_in_maps()
            && ports >= self.port.1
            && (self.protocol == protocol || self.protocol == ANY)
    }
}

impl Fabric {
    pub(crate) fn vip_prefix(&mut self, prefix: VipPrefix, flags: u32) {
        let key = Key::new(prefix.bits, prefix.address);
        self.kernel
            .trie::<Address, VipNetwork>("VIP_PREFIXES")
            .insert(&key, VipNetwork { prefix, flags }, 0)
            .unwrap();
    }

    fn serve_entry(&mut self, entry: Entry, service: VipService) {
        let (address, bits) = (Address::from(entry.address()), entry.bits_in_maps());
        let single = entry.is_single();
        if single {
            self.vip_address(entry.address());
        } else {
            self.pass_prefix(entry);
            self.vip_prefix(entry.prefix(), VipFlags::KNOWN | VipFlags::ECHO);
        }
        let (port, port_bits) = entry.port;
        if single && port_bits == 16 {
            let protocol = if entry.protocol == TCP {
                Protocol::Tcp
            } else {
                Protocol::Udp
            };
            self.serve(SocketAddr::new(entry.address(), port), protocol, service);
            return;
        }
        let key = EndpointPrefix {
            address,
            protocol: entry.protocol,
            vip_bits: if single {
                0
            } else {
                u8::try_from(bits).unwrap()
            },
            port_be: port.to_be_bytes(),
        };
        let key = Key::new(EndpointPrefix::PORT_AT + port_bits, key);
        let mut ranges = self.kernel.trie::<EndpointPrefix, VipService>("VIP_RANGES");
        ranges.insert(&key, service, 0).unwrap();
    }

    fn pass_prefix(&mut self, entry: Entry) {
        let first = u128::from_be_bytes(Address::from(entry.address()).0);
        let counts = if entry.address().is_ipv4() { 112 } else { 32 };
        for n in 0..1u128 << u32::saturating_sub(counts, entry.bits_in_maps()).min(8) {
            let address = Address((first | n << (128 - counts)).to_be_bytes());
            self.pass_filter(FilterRegion::Prefix, address.into());
        }
    }

    /// The service that counted the frame, if any did.
    fn service_of(&self, frame: &[u8]) -> Option<u32> {
        let packets = |id| {
            let counts = self.kernel.per_cpu::<Traffic>("SERVICE_COUNTERS", id);
            counts.iter().map(|it| it.packets).sum::<u64>()
        };
        let before: Vec<u64> = (0..IDS).map(packets).collect();
        self.kernel
            .run_uncounted(super::kernel::Program::Lb, frame, super::kernel::INGRESS);
        let mut moved = (0..IDS).filter(|id| packets(*id) != before[*id as usize]);
        let service = moved.next();
        assert_eq!(moved.next(), None, "counted for two services");
        service
    }
}

/// A packet of a protocol without ports, whose payload is as short as may be.
fn other_protocol(family: Family, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let client = family.client().ip();
    let number = IpNumber(protocol);
    let (kind, header) = match family {
        Family::V4 => {
            let mut ip = ipv4(number, octets4(client), octets4(to), payload.len());
            ip.header_checksum = ip.calc_header_checksum();
            (EtherType::IPV4, ip.to_bytes().to_vec())
        }
        Family::V6 => {
            let ip = ipv6(number, octets6(client), octets6(to), payload.len());
            (EtherType::IPV6, ip.to_bytes().to_vec())
        }
    };
    [
        ethernet(ROUTER_MAC, NODE_MAC, kind),
        header,
        payload.to_vec(),
    ]
    .concat()
}

fn to(family: Family, protocol: Protocol, address: &str, port: u16) -> Packet {
    request(family, protocol).to(SocketAddr::new(address.parse().unwrap(), port))
}

#[test]
fn row_23_every_address_and_port_of_a_prefix_is_served_and_nothing_else() {
    for mode in [Mode::Dsr, Mode::Tunnel, Mode::Fullnat] {
        let mut fabric = Fabric::new(mode);
        let (v4, v6) = ("198.18.16.0", "2001:db8:4000::");
        fabric.serve_entry(Entry::any_port(v4, 20, TCP), service(mode));
        fabric.serve_entry(Entry::any_port(v6, 34, TCP), service(mode));
        let inside = [
            (Family::V4, "198.18.16.0"),
            (Family::V4, "198.18.31.255"),
            (Family::V6, "2001:db8:4000::"),
            (Family::V6, "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"),
        ];
        let outside = [
            (Family::V4, "198.18.15.255"),
            (Family::V4, "198.18.32.0"),
            (Family::V6, "2001:db8:3fff:ffff:ffff:ffff:ffff:ffff"),
            (Family::V6, "2001:db8:8000::"),
        ];
        for port in [1, 80, 443, u16::MAX] {
            for (family, address) in inside {
                let frame = to(family, Protocol::Tcp, address, port).build();
                let ran = fabric.lb(&frame);
                assert_eq!(ran.action, Action::Redirect, "{mode:?} {address} {ran:?}");
                // Another protocol of it is not served, and goes to the kernel as it is.
                let frame = to(family, Protocol::Udp, address, port).build();
                let ran = fabric.lb(&frame);
                assert_eq!(
                    (ran.action, ran.counter, ran.frame),
                    (Action::Pass, Some("pass-not-served"), frame)
                );
            }
            for (family, address) in outside {
                let frame = to(family, Protocol::Tcp, address, port).build();
                let ran = fabric.lb(&frame);
                assert_eq!(
                    (ran.action, ran.counter),
                    (Action::Pass, Some("pass-not-vip"))
                );
            }
        }
    }
}

#[test]
fn row_23_ports_of_a_prefix_that_nobody_owns_pass() {
    let mut fabric = Fabric::new(Mode::Dsr);
    let entry = Entry {
        port: (443, 16),
        ..Entry::any_port("198.18.0.0", 15, TCP)
    };
    fabric.serve_entry(entry, service(Mode::Dsr));
    let served = to(Family::V4, Protocol::Tcp, "198.19.255.1", 443).build();
    assert_eq!(fabric.lb(&served).counter, Some("l4-dsr"));
    let frame = to(Family::V4, Protocol::Tcp, "198.18.255.1", 444).build();
    assert_eq!(fabric.lb(&frame).counter, Some("pass-not-served"));
    // Cut short, it is a VIP's all the same.
    let ran = fabric.lb(&frame[..frame.len() - 1]);
    assert_eq!(ran.counter, Some("drop-bad-length"));
}

/// The longest VIP that has the address says whether there is a healthy server; the node's own addresses are in none.
#[test]
fn row_11_addresses_of_a_prefix_answer_echo_while_it_is_served() {
    const SERVED: u32 = VipFlags::KNOWN | VipFlags::ECHO;
    let wide = Entry::any_port("10.0.0.0", 8, ANY);
    let narrow = Entry::any_port("10.2.0.0", 16, ANY);
    let ping = |fabric: &Fabric, to: &str| {
        let client = Family::V4.client().ip();
        let ping = IcmpPacket::ping(Family::V4, client, to.parse().unwrap(), 8);
        fabric.lb(&ping.build()).counter.unwrap()
    };
    let mut fabric = Fabric::new(Mode::Dsr);
    for entry in [wide, narrow] {
        fabric.serve_entry(entry, service(Mode::Dsr));
    }
    let node = Family::V4.node().to_string();
    for (inside, beside) in [
        (SERVED, SERVED),
        (SERVED, VipFlags::KNOWN),
        (VipFlags::KNOWN, SERVED),
    ] {
        fabric.vip_prefix(narrow.prefix(), inside);
        fabric.vip_prefix(wide.prefix(), beside);
        for (to, flags) in [("10.2.3.4", inside), ("10.3.0.0", beside)] {
            let expected = if flags == SERVED {
                "icmp-echo-reply"
            } else {
                "drop-echo-unserved"
            };
            assert_eq!(ping(&fabric, to), expected, "{to}");
        }
        assert_eq!(ping(&fabric, &node), "pass-not-vip");
        assert_eq!(ping(&fabric, "11.0.0.1"), "pass-not-vip");
    }
}

#[test]
fn the_nodes_own_address_is_in_no_prefix() {
    let mut fabric = Fabric::new(Mode::Dsr);
    fabric.serve_entry(Entry::any_port("10.0.0.0", 8, ANY), service(Mode::Dsr));
    fabric.serve_entry(Entry::any_port("fd00::", 16, ANY), service(Mode::Dsr));
    for family in [Family::V4, Family::V6] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let to = |address| request(family, protocol).to(SocketAddr::new(address, 179));
            let own = to(family.node()).build();
            let ran = fabric.lb(&own);
            assert_eq!((ran.counter, ran.frame), (Some("pass-not-vip"), own));
            // Beside it, all of the prefix is served.
            let served = to(family.second_node()).build();
            assert_eq!(fabric.lb(&served).counter, Some("l4-dsr"));
        }
    }
}

/// Every entry against every packet, compared with the rule: the longest prefix, then the packet's own protocol, then the
/// narrowest ports.
#[test]
fn the_narrowest_entry_wins() {
    let e = |vip, bits, protocol, port| Entry {
        vip,
        bits,
        protocol,
        port,
    };
    let entries = [
        e("198.18.0.0", 15, ANY, (0, 0)),
        e("198.18.0.0", 16, TCP, (0, 0)),
        e("198.18.7.0", 24, TCP, (80, 16)),
        e("198.18.7.0", 24, TCP, (64, 10)),
        e("198.18.7.0", 24, UDP, (0, 0)),
        e("198.18.7.128", 25, ANY, (0, 0)),
        e("198.18.7.200", 32, TCP, (80, 16)),
        e("198.18.7.200", 32, UDP, (4096, 4)),
        e("198.18.7.201", 32, ANY, (0, 0)),
        e("198.18.7.201", 32, TCP, (8080, 16)),
        e("2001:db8::", 32, ANY, (0, 0)),
        e("2001:db8:7::", 48, TCP, (443, 16)),
        e("2001:db8:7::1", 128, TCP, (0, 0)),
        e("2001:db8:7::2", 127, UDP, (53, 16)),
    ];
    let mut fabric = Fabric::new(Mode::Dsr);
    for (id, entry) in (10..).zip(entries) {
        let service = VipService {
            service: id,
            ..service(Mode::Dsr)
        };
        fabric.serve_entry(entry, service);
    }
    let addresses = [
        "198.18.7.1",
        "198.18.7.130",
        "198.18.7.200",
        "198.18.7.201",
        "198.18.8.1",
        "198.19.0.1",
        "198.20.0.1",
        "2001:db8::1",
        "2001:db8:7::1",
        "2001:db8:7::2",
        "2001:db8:7::3",
        "2001:db8:7::9",
        "2001:db9::1",
    ];
    for address in addresses {
        let ip: IpAddr = address.parse().unwrap();
        let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        for protocol in [TCP, UDP, GRE] {
            for port in [53, 80, 81, 443, 4097, 8080] {
                let (port, frame) = match protocol {
                    TCP => (port, to(family, Protocol::Tcp, address, port).build()),
                    UDP => (port, to(family, Protocol::Udp, address, port).build()),
                    _ => (0, other_protocol(family, ip, GRE, b"")),
                };
                let matching = (10..)
                    .zip(entries)
                    .filter(|(_, it)| it.has(ip, port, protocol));
                let best = matching
                    .max_by_key(|(_, it)| (it.bits_in_maps(), it.protocol != ANY, it.port.1));
                assert_eq!(
                    fabric.service_of(&frame),
                    best.map(|(id, _)| id),
                    "{address} {protocol} {port}"
                );
            }
        }
    }
}

/// As deep as prefixes can lie in one another.
#[test]
fn prefixes_within_prefixes() {
    let mut fabric = Fabric::new(Mode::Dsr);
    // As many as there may be. None but the shortest has the port.
    for bits in [16, 32, 100, 127] {
        let port = if bits == 16 { 443 } else { 80 };
        let entry = Entry {
            port: (port, 16),
            ..Entry::any_port("2001::", bits, TCP)
        };
        fabric.serve_entry(entry, service(Mode::Dsr));
    }
    let frame = to(Family::V6, Protocol::Tcp, "2001::", 443).build();
    assert_eq!(fabric.lb(&frame).counter, Some("l4-dsr"));
}

#[test]
fn any_protocol_goes_to_its_server_as_it_is() {
    for (family, vip, bits) in [
        (Family::V4, "198.18.0.0", 16),
        (Family::V4, "198.18.3.4", 32),
        (Family::V6, "2001:db8:9::", 48),
        (Family::V6, "2001:db8:9::4", 128),
    ] {
        let mut fabric = Fabric::new(Mode::Dsr);
        for is_served in [false, true] {
            if is_served {
                fabric.serve_entry(Entry::any_port(vip, bits, ANY), service(Mode::Dsr));
            }
            for protocol in [GRE, ESP, SCTP, 0xfd] {
                for payload in [&b""[..], b"1", b"a payload of odd length"] {
                    let frame = other_protocol(family, vip.parse().unwrap(), protocol, payload);
                    let ran = fabric.lb(&frame);
                    if is_served {
                        let way = (ran.action, ran.counter);
                        assert_eq!(way, (Action::Redirect, Some("l4-dsr")));
                        assert_eq!(ran.frame[..12], [SERVER_MAC, EGRESS_MAC].concat());
                        assert_eq!(ran.frame[12..], frame[12..]);
                    } else {
                        assert_eq!(ran.counter, Some("pass-not-vip"));
                        assert_eq!(ran.frame, frame);
                    }
                }
            }
        }
    }
}

#[test]
fn any_protocol_goes_through_a_tunnel() {
    for (family, vip, header) in [
        (Family::V4, "198.18.3.4", 20),
        (Family::V6, "2001:db8:9::4", 40),
    ] {
        let mut fabric = Fabric::new(Mode::Tunnel);
        fabric.serve_entry(
            Entry::any_port(vip, if header == 20 { 32 } else { 128 }, ANY),
            service(Mode::Tunnel),
        );
        for payload in [&b""[..], b"12345678, and more"] {
            let frame = other_protocol(family, vip.parse().unwrap(), ESP, payload);
            let ran = fabric.lb(&frame);
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Redirect, Some("l4-tunnel"))
            );
            assert_eq!(ran.frame[ETHERNET + header..], frame[ETHERNET..]);
        }
    }
}

/// Without ports, a flow is its protocol and both addresses.
#[test]
fn any_protocol_falls_on_the_slot_of_its_addresses() {
    let mut fabric = Fabric::new(Mode::Dsr);
    let servers: Vec<u32> = (0..RING_SLOTS).map(|n| 20 + n).collect();
    fabric.ring(RING_START, &servers);
    let known = super::fabric::backend(Family::V4.server().ip(), Family::V6.server().ip());
    for server in &servers {
        fabric.backend(*server, known);
    }
    fabric.serve_entry(Entry::any_port("198.18.3.4", 32, ANY), service(Mode::Dsr));
    for protocol in [GRE, ESP, SCTP] {
        let frame = other_protocol(Family::V4, "198.18.3.4".parse().unwrap(), protocol, b"x");
        let flow = lbfabric_abi::Flow {
            source: Family::V4.client().ip().into(),
            destination: "198.18.3.4".parse::<IpAddr>().unwrap().into(),
            protocol,
            ..lbfabric_abi::Flow::default()
        };
        let slot = lbfabric_abi::slot_of(flow.hash(&RING_KEY), RING_SLOTS);
        assert_eq!(fabric.lb(&frame).counter, Some("l4-dsr"));
        let server = servers[slot as usize];
        assert!(
            fabric.traffic("BACKEND_COUNTERS", server).0 > 0,
            "{protocol}"
        );
    }
    assert_eq!(fabric.traffic("BACKEND_COUNTERS", SERVER).0, 0);
}

#[test]
fn icmp_belongs_to_no_service() {
    let mut fabric = Fabric::new(Mode::Dsr);
    fabric.serve_entry(Entry::any_port("198.18.0.0", 16, ANY), service(Mode::Dsr));
    fabric.serve_entry(Entry::any_port("2001:db8:9::", 48, ANY), service(Mode::Dsr));
    for (family, to, protocol) in [
        (Family::V4, "198.18.3.4", 1),
        (Family::V6, "2001:db8:9::4", 58),
    ] {
        // A type that nobody answers.
        let payload = [&[200, 0][..], &[0; 20]].concat();
        let frame = other_protocol(family, to.parse().unwrap(), protocol, &payload);
        assert_eq!(fabric.service_of(&frame), None, "{to}");
    }
}
