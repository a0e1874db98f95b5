//! A fabric with destination NAT whose answers do not tell the VIP, and its flows.

use std::net::SocketAddr;

use lbfabric_abi::{Address, Mode, Protocol, Reverse, VipService};

use super::{
    fabric::{CASES, EGRESS_MAC, Fabric, Family, SERVER_MAC, request, service},
    kernel::{Action, Kernel, Program, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Network, Route},
    packets::{ETHERNET, Packet, l4_start},
    sessions,
};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN_ACK: u8 = 0x11;
pub(crate) const SYN_ACK: u8 = 0x12;

impl Family {
    /// The service's other VIP.
    pub(crate) fn second_vip(self) -> SocketAddr {
        let vip = match self {
            Self::V4 => "203.0.113.11:80",
            Self::V6 => "[2001:db8:f::11]:80",
        };
        vip.parse().unwrap()
    }

    pub(crate) fn vips(self) -> [SocketAddr; 2] {
        [self.vip(), self.second_vip()]
    }
}

/// The maps' service.
pub(crate) fn exact() -> VipService {
    VipService {
        flags: VipService::EXACT_STATE,
        ..service(Mode::Dnat)
    }
}

/// One service on two VIPs of each family.
pub(crate) fn fabric() -> Fabric {
    on(Kernel::load())
}

pub(crate) fn on(kernel: Kernel) -> Fabric {
    let mut fabric = Fabric::on(kernel, Mode::Dnat);
    for (family, protocol) in CASES {
        for vip in family.vips() {
            fabric.serve(vip, protocol, exact());
        }
        for server in [family.server(), family.other_server()] {
            fabric.reverse(server, protocol, Reverse::BY_SESSION);
        }
    }
    fabric
}

/// A flow of a client that the network knows the way to.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// What its client sends first.
    pub(crate) packet: Packet,
    pub(crate) server: SocketAddr,
}

impl Flow {
    /// To a VIP from a port.
    pub(crate) fn new(protocol: Protocol, vip: SocketAddr, port: u16) -> Self {
        let family = family_of(vip);
        let mut client = Route::Known.client(family == Family::V4);
        client.set_port(port);
        Self {
            packet: request(family, protocol).from(client).to(vip),
            server: family.server(),
        }
    }

    /// As the server gets it.
    pub(crate) fn at_server(&self, packet: &Packet) -> Ran {
        let packet = packet.clone().macs(EGRESS_MAC, SERVER_MAC);
        let ttl = packet.ttl - 1;
        Ran {
            action: Action::Redirect,
            counter: Some("l4-dnat"),
            frame: packet.to(self.server).ttl(ttl).build(),
        }
    }

    /// A packet of the client reaches the server.
    pub(crate) fn assert_sends(&self, fabric: &Fabric, packet: &Packet) {
        assert_eq!(
            fabric.lb(&packet.build()),
            self.at_server(packet),
            "{self:?}"
        );
    }

    /// The client's first packet reaches the server.
    pub(crate) fn assert_begins(&self, fabric: &Fabric) {
        self.assert_sends(fabric, &self.packet);
    }

    /// An answer comes back as the VIP's.
    pub(crate) fn assert_answered(&self, fabric: &Fabric, network: &Network) {
        let answer = self.answer();
        let expected = Ran {
            action: Action::Redirect,
            counter: Some("l4-dnat-answer"),
            frame: self
                .translated(&answer)
                .macs(CLIENTS_MAC, NEIGHBOUR_MAC)
                .ttl(answer.ttl - 1)
                .build(),
        };
        assert_eq!(
            from_servers(fabric, network, &answer.build()),
            expected,
            "{self:?}"
        );
    }

    /// Packets of these flags, in both directions: `true` from the client. Without a route, answers are the kernel's.
    pub(crate) fn talk(&self, fabric: &Fabric, said: &[(bool, u8)]) {
        for (is_client, flags) in said {
            let (packet, counter) = if *is_client {
                (self.packet.clone(), "l4-dnat")
            } else {
                (self.answer(), "pass-to-route")
            };
            let mut frame = packet.build();
            if packet.protocol == Protocol::Tcp {
                frame[l4_start(&packet) + 13] = *flags;
            }
            assert_eq!(fabric.lb(&frame).counter, Some(counter), "{self:?} {flags}");
        }
    }

    /// Both have spoken, and the client again.
    pub(crate) fn establish(&self, fabric: &Fabric) {
        self.talk(fabric, &[(true, SYN), (false, SYN_ACK), (true, ACK)]);
    }

    /// Both sides have closed.
    pub(crate) fn close(&self, fabric: &Fabric) {
        self.talk(fabric, &[(true, FIN_ACK), (false, FIN_ACK), (true, ACK)]);
    }

    /// The server does not tell the VIP.
    pub(crate) fn answer(&self) -> Packet {
        Packet::new(self.packet.protocol, self.server, self.packet.source).established()
    }

    /// As the client gets it.
    pub(crate) fn translated(&self, answer: &Packet) -> Packet {
        answer.clone().from(self.packet.destination)
    }

    /// It is refused for this reason, and leaves as it came.
    pub(crate) fn assert_refused(&self, fabric: &Fabric, reason: &'static str) {
        let frame = self.packet.build();
        let expected = Ran {
            action: Action::Drop,
            counter: Some(reason),
            frame: frame.clone(),
        };
        assert_eq!(fabric.lb(&frame), expected, "{self:?}");
    }
}

pub(crate) fn family_of(address: SocketAddr) -> Family {
    if address.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    }
}

/// A frame that comes in from the servers' side.
pub(crate) fn from_servers(fabric: &Fabric, network: &Network, frame: &[u8]) -> Ran {
    fabric.kernel.run_from(Program::Lb, frame, network.servers)
}

/// Sessions of destination NAT have two words each, of full NAT one, and all of them lead there.
pub(crate) fn assert_all_words_lead_to_sessions(fabric: &mut Fabric) {
    let all = sessions::all(fabric);
    let words: usize = all.iter().map(|it| 1 + usize::from(it.is_dnat())).sum();
    assert_eq!(sessions::words(fabric), words, "{all:#?}");
    assert_eq!(sessions::listed(fabric), words);
}

/// The destination of a frame.
pub(crate) fn destination(frame: &[u8]) -> Address {
    let mut address = [0; 16];
    if frame[ETHERNET] >> 4 == 4 {
        return Address::from_ipv4(frame[ETHERNET + 16..ETHERNET + 20].try_into().unwrap());
    }
    address.copy_from_slice(&frame[ETHERNET + 24..ETHERNET + 40]);
    Address(address)
}
