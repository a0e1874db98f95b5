//! A small fabric in the maps: one VIP for each family, one service, two servers.

use std::net::{IpAddr, SocketAddr};

use aya::maps::lpm_trie::Key;
use lbfabric_abi::{
    Address, Affinity, Backend, Endpoint, EndpointPrefix, FilterBit, FilterRegion, FlowKey, Mode,
    NextHop, Protocol, Reverse, RingSlot, Settings, Traffic, VipFlags, VipPort6, VipService,
};

use super::{
    kernel::{FLOW_BUCKETS, Kernel, Program, Ran, SESSION_LINES},
    packets::Packet,
};

/// The address family of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Every family with every protocol.
pub(crate) const CASES: [(Family, Protocol); 4] = [
    (Family::V4, Protocol::Tcp),
    (Family::V4, Protocol::Udp),
    (Family::V6, Protocol::Tcp),
    (Family::V6, Protocol::Udp),
];

pub(crate) const SERVICE: u32 = 5;
pub(crate) const POOL: u32 = 2;
pub(crate) const SERVER: u32 = 3;
pub(crate) const OTHER_SERVER: u32 = 4;
/// The interface to the servers. Nothing is sent in these tests, so it need not be there.
pub(crate) const EGRESS: u32 = 77;
pub(crate) const RING_KEY: FlowKey =
    FlowKey::expand([0x0123_4567_89ab_cdef, 0xfeed_face_cafe_beef]);
pub(crate) const FLOW_KEY: FlowKey = FlowKey([
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
]);
pub(crate) const FLOW_IDLE_TICKS: u32 = 420;
pub(crate) const RING_START: u32 = 16;
pub(crate) const RING_SLOTS: u32 = 13;
pub(crate) const NAT_PORT_FIRST: u16 = 20_000;
pub(crate) const NAT_PORT_COUNT: u16 = 10_000;
/// From the node to servers: the source and destination of frames.
pub(crate) const EGRESS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub(crate) const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x53];

impl Family {
    fn pick(self, v4: &str, v6: &str) -> SocketAddr {
        match self {
            Self::V4 => v4.parse().unwrap(),
            Self::V6 => v6.parse().unwrap(),
        }
    }

    pub(crate) fn client(self) -> SocketAddr {
        self.pick("198.51.100.7:51234", "[2001:db8:c::7]:51234")
    }

    pub(crate) fn vip(self) -> SocketAddr {
        self.pick("203.0.113.10:80", "[2001:db8:f::10]:80")
    }

    pub(crate) fn server(self) -> SocketAddr {
        self.pick("10.1.0.3:80", "[fd00:1::3]:80")
    }

    pub(crate) fn other_server(self) -> SocketAddr {
        self.pick("10.1.0.4:80", "[fd00:1::4]:80")
    }

    /// The node's own address towards the servers, the first of two.
    pub(crate) fn node(self) -> IpAddr {
        self.pick("10.1.0.1:0", "[fd00:1::1]:0").ip()
    }

    pub(crate) fn second_node(self) -> IpAddr {
        self.pick("10.1.0.2:0", "[fd00:1::2]:0").ip()
    }
}

/// The maps' service of a mode, with one server in its whole ring.
pub(crate) fn service(mode: Mode) -> VipService {
    VipService {
        service: SERVICE,
        ring_start: RING_START,
        ring_slots: RING_SLOTS,
        backend_port_be: [0; 2],
        mode: mode as u8,
        affinity: Affinity::FiveTuple as u8,
        pool: POOL,
        ..VipService::default()
    }
}

/// A client's packet to the VIP.
pub(crate) fn request(family: Family, protocol: Protocol) -> Packet {
    Packet::new(protocol, family.client(), family.vip())
}

pub(crate) fn octets4(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => panic!("{ip} is not IPv4"),
    }
}

pub(crate) fn octets6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(_) => panic!("{ip} is not IPv6"),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A server with both addresses, behind one link.
pub(crate) fn backend(v4: IpAddr, v6: IpAddr) -> Backend {
    let hop = NextHop {
        ifindex: EGRESS,
        source_mac: EGRESS_MAC,
        mac: SERVER_MAC,
    };
    Backend {
        ipv4: octets4(v4),
        ipv6: octets6(v6),
        hop4: hop,
        hop6: hop,
        pool: POOL,
        flags: Backend::ALIVE,
        mtu4: 1500,
        mtu6: 1500,
        ..Backend::default()
    }
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings {
        ring_key: RING_KEY,
        flow_key: FLOW_KEY,
        flow_mask: FLOW_BUCKETS - 1,
        flow_idle_ticks: FLOW_IDLE_TICKS,
        source4_count: 1,
        source6_count: 1,
        nat_port_first: NAT_PORT_FIRST.into(),
        nat_port_count: NAT_PORT_COUNT.into(),
        nat_port_gap_at: NAT_PORT_COUNT.into(),
        session_mask: SESSION_LINES - 1,
        ..Settings::default()
    };
    settings.source4[0] = octets4(Family::V4.node());
    settings.source6[0] = octets6(Family::V6.node());
    // Written, but not counted.
    settings.source4[1] = octets4(Family::V4.second_node());
    settings.source6[1] = octets6(Family::V6.second_node());
    settings
}

/// The programs over the fabric's maps.
pub(crate) struct Fabric {
    pub(crate) kernel: Kernel,
}

impl Fabric {
    /// One service of a mode on both VIPs, for both protocols.
    pub(crate) fn new(mode: Mode) -> Self {
        Self::on(Kernel::load(), mode)
    }

    /// As [`Fabric::new`], in the maps of these programs.
    pub(crate) fn on(kernel: Kernel, mode: Mode) -> Self {
        let mut fabric = Self { kernel };
        fabric.settings(settings());
        for (family, protocol) in CASES {
            fabric.serve(family.vip(), protocol, service(mode));
        }
        fabric.ring(RING_START, &[SERVER; RING_SLOTS as usize]);
        let (v4, v6) = (Family::V4, Family::V6);
        fabric.backend(SERVER, backend(v4.server().ip(), v6.server().ip()));
        fabric.backend(
            OTHER_SERVER,
            backend(v4.other_server().ip(), v6.other_server().ip()),
        );
        fabric
    }

    pub(crate) fn lb(&self, frame: &[u8]) -> Ran {
        self.kernel.run(Program::Lb, frame)
    }

    /// Lets packets with this address through to the tables.
    pub(crate) fn pass_filter(&mut self, region: FilterRegion, address: IpAddr) {
        let FilterBit { word, bit } = region.bit_of(address.into());
        let mut filter = self.kernel.array::<u64>("FILTER");
        let old = filter.get(&word, 0).unwrap();
        filter.set(word, old | 1 << bit, 0).unwrap();
    }

    #[expect(
        clippy::large_types_passed_by_value,
        reason = "most callers have just made them"
    )]
    pub(crate) fn settings(&mut self, settings: Settings) {
        let sources4 = settings.source4.map(IpAddr::from);
        let sources6 = settings.source6.map(IpAddr::from);
        for source in sources4.into_iter().chain(sources6) {
            self.pass_filter(FilterRegion::Own, source);
        }
        self.kernel
            .array::<Settings>("SETTINGS")
            .set(0, settings, 0)
            .unwrap();
    }

    pub(crate) fn serve(&mut self, vip: SocketAddr, protocol: Protocol, service: VipService) {
        self.vip_address(vip.ip());
        let endpoint = endpoint(vip, protocol);
        match endpoint.key4() {
            Some(key) => self
                .kernel
                .hash::<u64, VipService>("VIP_PORTS4")
                .insert(key, service, 0),
            None => self.kernel.hash::<u64, VipPort6>("VIP_PORTS6").insert(
                endpoint.key6(),
                VipPort6 { endpoint, service },
                0,
            ),
        }
        .unwrap();
    }

    pub(crate) fn vip_address(&mut self, vip: IpAddr) {
        self.pass_filter(FilterRegion::Vip, vip);
        self.kernel
            .hash::<Address, u32>("VIP_ADDRESSES")
            .insert(Address::from(vip), VipFlags::KNOWN | VipFlags::ECHO, 0)
            .unwrap();
    }

    /// Leaves the VIP without a healthy server.
    pub(crate) fn unserve(&mut self, vip: IpAddr) {
        self.kernel
            .hash::<Address, u32>("VIP_ADDRESSES")
            .insert(Address::from(vip), VipFlags::KNOWN, 0)
            .unwrap();
    }

    pub(crate) fn forget_vip_address(&mut self, vip: IpAddr) {
        self.kernel
            .hash::<Address, u32>("VIP_ADDRESSES")
            .remove(&Address::from(vip))
            .unwrap();
    }

    /// Serves the ports whose first `bits` are those of the VIP's.
    pub(crate) fn serve_range(
        &mut self,
        vip: SocketAddr,
        bits: u32,
        protocol: Protocol,
        service: VipService,
    ) {
        self.vip_address(vip.ip());
        self.kernel
            .trie::<EndpointPrefix, VipService>("VIP_RANGES")
            .insert(&prefix(vip, bits, protocol), service, 0)
            .unwrap();
    }

    pub(crate) fn ring(&mut self, start: u32, servers: &[u32]) {
        let mut rings = self.kernel.array::<RingSlot>("RINGS");
        for (slot, server) in (start..).zip(servers) {
            rings.set(slot, RingSlot::steady(*server), 0).unwrap();
        }
    }

    pub(crate) fn backend(&mut self, id: u32, backend: Backend) {
        self.kernel
            .array::<Backend>("BACKENDS")
            .set(id, backend, 0)
            .unwrap();
    }

    pub(crate) fn reverse(&mut self, server: SocketAddr, protocol: Protocol, reverse: Reverse) {
        self.pass_filter(FilterRegion::Server, server.ip());
        let endpoint = endpoint(server, protocol);
        match endpoint.key4() {
            Some(key) => self
                .kernel
                .hash::<u64, Reverse>("REVERSE_PORTS4")
                .insert(key, reverse, 0),
            None => self
                .kernel
                .hash::<Endpoint, Reverse>("REVERSE_PORTS6")
                .insert(endpoint, reverse, 0),
        }
        .unwrap();
    }

    pub(crate) fn reverse_range(
        &mut self,
        server: SocketAddr,
        bits: u32,
        protocol: Protocol,
        reverse: Reverse,
    ) {
        self.pass_filter(FilterRegion::Server, server.ip());
        self.kernel
            .trie::<EndpointPrefix, Reverse>("REVERSE_RANGES")
            .insert(&prefix(server, bits, protocol), reverse, 0)
            .unwrap();
    }

    /// Packets and bytes counted for a service or a server, over all CPUs.
    pub(crate) fn traffic(&self, map: &str, id: u32) -> (u64, u64) {
        self.kernel
            .per_cpu::<Traffic>(map, id)
            .iter()
            .fold((0, 0), |(packets, bytes), it| {
                (packets + it.packets, bytes + it.bytes)
            })
    }
}

/// The VIP that a server's answers get.
pub(crate) fn reverse(vip: SocketAddr, keep_port: bool) -> Reverse {
    Reverse {
        vip: vip.ip().into(),
        vip_port_be: if keep_port {
            [0; 2]
        } else {
            vip.port().to_be_bytes()
        },
        flags: 0,
        service: SERVICE,
    }
}

fn endpoint(address: SocketAddr, protocol: Protocol) -> Endpoint {
    Endpoint::new(address.ip().into(), address.port(), protocol as u8)
}

fn prefix(address: SocketAddr, bits: u32, protocol: Protocol) -> Key<EndpointPrefix> {
    Key::new(
        EndpointPrefix::PORT_AT + bits,
        EndpointPrefix {
            address: address.ip().into(),
            protocol: protocol as u8,
            vip_bits: 0,
            port_be: address.port().to_be_bytes(),
        },
    )
}
