//! What the maps hold: one service for each mode and family, each with a pool of the default size, written as the agent
//! writes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lbfabric_abi::{
    Address, Affinity, Backend, Endpoint, FLOW_BUCKETS_DEFAULT, FilterBit, FilterRegion, FlowKey,
    FlowTick, GUE_PORT_DEFAULT, Mode, NAT_FLOWS_DEFAULT, NextHop, POOL_BACKENDS_DEFAULT, Protocol,
    Reverse, RingSlot, Settings, VipPort6, VipService,
};
use lbfabric_ebpf_bench::{FLOOR_SERVERS, FLOOR_SLOTS, floor_server};
use lbfabric_model::maglev;

use crate::{
    kernel::Kernel,
    packets::{NODE_MAC, ROUTER_MAC},
};

/// Slots of a pool of the default size: a prime, 128 for each of 32 servers.
const SLOTS: u32 = FLOOR_SLOTS;
const SERVERS: u32 = POOL_BACKENDS_DEFAULT;
const _: () = assert!(SERVERS == FLOOR_SERVERS);
const HASH_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfeed_face_cafe_beef];
const FLOW_KEY: [u64; 5] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
];
/// Linux's default for outgoing connections is 32768 to 60999; the agent takes what is beside.
const NAT_PORTS: (u32, u32) = (1024, 36_280);
const NAT_GAP: (u32, u32) = (31_744, 28_232);
/// The port of all services.
pub(crate) const PORT: u16 = 80;

/// The services. The number is in the addresses and in all ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Tunnel = 1,
    /// A tunnel whose pool has just lost half of its ring to other servers.
    Changed = 2,
    Dsr = 3,
    Dnat = 4,
    Fullnat = 5,
    /// A tunnel of GUE.
    Gue = 6,
}

const SERVICES: [Service; 6] = [
    Service::Tunnel,
    Service::Changed,
    Service::Dsr,
    Service::Dnat,
    Service::Fullnat,
    Service::Gue,
];

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

// === impl Service ===

impl Service {
    const fn number(self) -> u8 {
        self as u8
    }

    const fn mode(self) -> Mode {
        match self {
            Self::Tunnel | Self::Changed | Self::Gue => Mode::Tunnel,
            Self::Dsr => Mode::Dsr,
            Self::Dnat => Mode::Dnat,
            Self::Fullnat => Mode::Fullnat,
        }
    }

    /// Where clients send to.
    pub(crate) fn vip(self, family: Family) -> SocketAddr {
        let n = self.number();
        let ip: IpAddr = match family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, n).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, n.into()).into(),
        };
        SocketAddr::new(ip, PORT)
    }

    /// A server of its pool.
    pub(crate) fn server(self, family: Family, index: u8) -> SocketAddr {
        let n = self.number();
        let ip: IpAddr = match family {
            Family::V4 => Ipv4Addr::new(10, n, 0, 1 + index).into(),
            Family::V6 => {
                Ipv6Addr::new(0xfd00, n.into(), 0, 0, 0, 0, 0, 1 + u16::from(index)).into()
            }
        };
        SocketAddr::new(ip, PORT)
    }

    const fn server_id(self, index: u32) -> u32 {
        self as u32 * SERVERS + index
    }
}

/// The maps' contents.
pub(crate) struct Fabric;

impl Fabric {
    /// Writes all maps.
    pub(crate) fn fill(kernel: &mut Kernel, ifindex: u32) {
        let settings = settings();
        for source in settings.source4.map(Address::from_ipv4) {
            pass_filter(kernel, FilterRegion::Own, source);
        }
        kernel.array("SETTINGS").set(0, settings, 0).unwrap();
        for service in SERVICES {
            servers(kernel, service, ifindex);
            ring(kernel, service);
            for family in [Family::V4, Family::V6] {
                serve(kernel, service, service.vip(family));
            }
        }
        for index in 0..SERVERS {
            for family in [Family::V4, Family::V6] {
                reverse(kernel, family, u8::try_from(index).unwrap());
            }
        }
        floor(kernel);
    }
}

fn settings() -> Settings {
    let mut settings = Settings {
        ring_key: FlowKey::expand(HASH_KEY),
        flow_key: FlowKey(FLOW_KEY),
        flow_mask: FLOW_BUCKETS_DEFAULT - 1,
        flow_idle_ticks: FlowTick::idle_of_ms(900_000),
        source4_count: 2,
        source6_count: 2,
        nat_port_first: NAT_PORTS.0,
        nat_port_count: NAT_PORTS.1,
        nat_port_gap_at: NAT_GAP.0,
        nat_port_gap: NAT_GAP.1,
        session_mask: NAT_FLOWS_DEFAULT / 8 - 1,
        ..Settings::default()
    };
    for n in [1u8, 2] {
        settings.source4[usize::from(n) - 1] = [10, 200, 0, n];
        settings.source6[usize::from(n) - 1] =
            Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0, 0, 0, n.into()).octets();
    }
    settings
}

/// Lets packets with this address through to the tables.
fn pass_filter(kernel: &mut Kernel, region: FilterRegion, address: Address) {
    let FilterBit { word, bit } = region.bit_of(address);
    let mut filter = kernel.array::<u64>("FILTER");
    let old = filter.get(&word, 0).unwrap();
    filter.set(word, old | 1 << bit, 0).unwrap();
}

fn servers(kernel: &mut Kernel, service: Service, ifindex: u32) {
    let hop = NextHop {
        ifindex,
        source_mac: NODE_MAC,
        mac: ROUTER_MAC,
    };
    for index in 0..SERVERS {
        let address = |family| service.server(family, u8::try_from(index).unwrap()).ip();
        let (IpAddr::V4(v4), IpAddr::V6(v6)) = (address(Family::V4), address(Family::V6)) else {
            panic!("a server's address is not of its family");
        };
        let backend = Backend {
            ipv4: v4.octets(),
            ipv6: v6.octets(),
            hop4: hop,
            hop6: hop,
            pool: service as u32,
            flags: Backend::ALIVE,
            mtu4: 1500,
            mtu6: 1500,
            ..Backend::default()
        };
        kernel
            .array("BACKENDS")
            .set(service.server_id(index), backend, 0)
            .unwrap();
    }
}

/// Every other slot of the changed one goes over to the next server.
fn ring(kernel: &mut Kernel, service: Service) {
    let mut rings = kernel.array::<RingSlot>("RINGS");
    for (n, index) in (0..).zip(maglev_ring()) {
        let id = service.server_id(index);
        let slot = if service == Service::Changed && n % 2 == 1 {
            RingSlot::changed(service.server_id((index + 1) % SERVERS), id)
        } else {
            RingSlot::steady(id)
        };
        rings.set(service as u32 * SLOTS + n, slot, 0).unwrap();
    }
}

/// Servers' indices, slot by slot.
fn maglev_ring() -> Vec<u32> {
    let names: Vec<String> = (0..SERVERS).map(|n| format!("server-{n}")).collect();
    let entries: Vec<_> = (0..)
        .zip(&names)
        .map(|(id, name)| maglev::Entry {
            id,
            name,
            weight: 100,
        })
        .collect();
    maglev::ring(&entries, SLOTS)
}

fn serve(kernel: &mut Kernel, service: Service, vip: SocketAddr) {
    let entry = VipService {
        service: service as u32,
        pool: service as u32,
        ring_start: service as u32 * SLOTS,
        ring_slots: SLOTS,
        backend_port_be: [0; 2],
        mode: service.mode() as u8,
        affinity: Affinity::FiveTuple as u8,
        flags: if service == Service::Gue {
            VipService::GUE
        } else {
            0
        },
        gue_port_be: GUE_PORT_DEFAULT.to_be_bytes(),
        ..VipService::default()
    };
    let address = Address::from(vip.ip());
    pass_filter(kernel, FilterRegion::Vip, address);
    kernel
        .hash::<Address, u32>("VIP_ADDRESSES")
        .insert(address, 1, 0)
        .unwrap();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let endpoint = Endpoint::new(address, vip.port(), protocol as u8);
        match endpoint.key4() {
            Some(key) => kernel
                .hash::<u64, VipService>("VIP_PORTS4")
                .insert(key, entry, 0),
            None => kernel.hash::<u64, VipPort6>("VIP_PORTS6").insert(
                endpoint.key6(),
                VipPort6 {
                    endpoint,
                    service: entry,
                },
                0,
            ),
        }
        .unwrap();
    }
}

/// What the answers of a server of the DNAT service become.
fn reverse(kernel: &mut Kernel, family: Family, index: u8) {
    let (server, vip) = (
        Service::Dnat.server(family, index),
        Service::Dnat.vip(family),
    );
    let entry = Reverse {
        vip: vip.ip().into(),
        vip_port_be: vip.port().to_be_bytes(),
        flags: 0,
        service: Service::Dnat as u32,
    };
    pass_filter(kernel, FilterRegion::Server, server.ip().into());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let endpoint = Endpoint::new(server.ip().into(), server.port(), protocol as u8);
        match endpoint.key4() {
            Some(key) => kernel
                .hash::<u64, Reverse>("REVERSE_PORTS4")
                .insert(key, entry, 0),
            None => kernel
                .hash::<Endpoint, Reverse>("REVERSE_PORTS6")
                .insert(endpoint, entry, 0),
        }
        .unwrap();
    }
}

/// The floor program has the tunnel's VIP, ring and servers.
fn floor(kernel: &mut Kernel) {
    let vip = Service::Tunnel.vip(Family::V4);
    let endpoint = Endpoint::new(vip.ip().into(), vip.port(), Protocol::Tcp as u8);
    kernel
        .bench_hash::<Endpoint, u32>("FLOOR_VIPS")
        .insert(endpoint, 1, 0)
        .unwrap();
    let mut ring = kernel.bench_array::<u32>("FLOOR_RING");
    for (slot, index) in (0..).zip(maglev_ring()) {
        ring.set(slot, index, 0).unwrap();
    }
    let mut servers = kernel.bench_array::<[u8; 16]>("FLOOR_SERVERS");
    for index in 0..SERVERS {
        let address = [10, 1, 0, 1 + u8::try_from(index).unwrap()];
        servers
            .set(index, floor_server(address, NODE_MAC, ROUTER_MAC), 0)
            .unwrap();
    }
}
