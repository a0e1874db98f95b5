//! A fabric with every mode, affinity, kind of VIP and protection, which changes at random.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use lbfabric_abi::NextHop;
use lbfabric_model::{BackendId, ObjectKind};
use lbfabric_proto::v1::{self, node_object::Object};

use super::{
    fabric::{EGRESS, EGRESS_MAC, Family},
    generator::Random,
    keeper::Agent,
    kernel::Kernel,
};

const SLOTS: u32 = 61;
/// Pools have an id and a service of the same.
const POOLS: u32 = 7;
/// Another service of the last pool, with several VIPs that end at one port of its servers.
const EXACT: u32 = 8;
/// Servers that a pool may have; they are told apart by the rest of their id.
const SERVERS: u32 = 6;
const EVERY_PORT: (u32, u32) = (0, 65_535);

/// The fabric, and what may change in it.
pub(crate) struct Fabric {
    pub(crate) agent: Agent,
    /// By pool: the servers with their weights.
    members: Vec<Vec<(u32, u32)>>,
    affinities: Vec<v1::Affinity>,
    unresolved: BTreeSet<u32>,
}

/// A server's addresses. Two of each pool have one only.
pub(crate) fn addresses(id: u32) -> [Option<IpAddr>; 2] {
    let [.., pool] = (id / 8).to_be_bytes();
    let [.., n] = (id % 8).to_be_bytes();
    let v4 = Ipv4Addr::new(10, 2, pool, n + 1).into();
    let v6 = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, pool.into(), u16::from(n) + 1).into();
    [(n != 5).then_some(v4), (n != 4).then_some(v6)]
}

/// The link-layer address towards one of a server's addresses, which tells it.
pub(crate) fn mac(id: u32, is_ipv4: bool) -> [u8; 6] {
    let [.., id] = id.to_be_bytes();
    [2, 0, 0, if is_ipv4 { 4 } else { 6 }, 0x53, id]
}

/// The server whose link-layer address it is.
pub(crate) fn server_of(mac: &[u8]) -> Option<u32> {
    match mac {
        [2, 0, 0, 4 | 6, 0x53, id] => Some(u32::from(*id)),
        _ => None,
    }
}

impl Fabric {
    pub(crate) fn new(kernel: &mut Kernel) -> Self {
        // The last two are in a VIP's prefixes, which leave them to the node.
        let own = [
            Family::V4.node(),
            Family::V6.node(),
            Ipv4Addr::new(203, 0, 114, 255).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0xff).into(),
        ];
        let mut fabric = Self {
            agent: Agent::bare(kernel, &own),
            members: (0..=POOLS)
                .map(|_| (0..SERVERS).map(|n| (n, 100)).collect())
                .collect(),
            affinities: vec![v1::Affinity::FiveTuple; 9],
            unresolved: BTreeSet::new(),
        };
        for id in 1..=POOLS {
            fabric.put_pool(id);
            fabric.put_service(id);
            for server in (0..SERVERS).map(|n| id * 8 + n) {
                let now = fabric.agent.now;
                fabric.agent.keeper.note_probe(BackendId(server), true, now);
            }
        }
        fabric.put_service(EXACT);
        fabric.reach();
        fabric.agent.write();
        fabric
    }

    /// One change of a pool, a service, a check or a way.
    pub(crate) fn change(&mut self, random: &mut Random) {
        let pool = 1 + u32::try_from(random.below(7)).unwrap();
        let server = pool * 8 + u32::try_from(random.below(6)).unwrap();
        let members = &mut self.members[usize::try_from(pool).unwrap()];
        self.agent.now = Instant::now();
        match random.below(8) {
            0 | 1 => members.retain(|(n, _)| pool * 8 + n != server),
            2 => members.clear(),
            3 => {
                for (_, weight) in members.iter_mut() {
                    *weight = random.pick(&[0, 1, 100, 100]);
                }
            }
            4 => {
                let passes = random.one_in(2);
                let now = self.agent.now;
                self.agent.keeper.note_probe(BackendId(server), passes, now);
            }
            5 => {
                if !self.unresolved.remove(&server) {
                    self.unresolved.insert(server);
                }
            }
            6 => {
                self.affinities[usize::try_from(pool).unwrap()] = random.pick(&[
                    v1::Affinity::FiveTuple,
                    v1::Affinity::Source,
                    v1::Affinity::SourceDestination,
                ]);
                self.put_service(pool);
            }
            _ => *members = (0..SERVERS).map(|n| (n, 100)).collect(),
        }
        self.put_pool(pool);
        self.reach();
        self.agent.write();
    }

    fn put_pool(&mut self, id: u32) {
        let members = &self.members[usize::try_from(id).unwrap()];
        let backends = members.iter().map(|(n, weight)| {
            let [v4, v6] = addresses(id * 8 + n);
            v1::NodeBackend {
                id: id * 8 + n,
                name: format!("s{}", id * 8 + n),
                ipv4: v4.map(octets).unwrap_or_default(),
                ipv6: v6.map(octets).unwrap_or_default(),
                weight: *weight,
                ..v1::NodeBackend::default()
            }
        });
        let pool = Object::Pool(v1::NodePool {
            slots: SLOTS,
            backends: backends.collect(),
            health_check: Some(v1::HealthCheckSpec {
                interval_ms: 1000,
                timeout_ms: 500,
                rise: 1,
                fall: 1,
                check: Some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec {
                    port: 80,
                })),
            }),
            hold_time_secs: 900,
            // In some pools a server that fails is dead at once.
            dead_after_ms: Some(if id.is_multiple_of(2) { 1 } else { 3_600_000 }),
        });
        self.agent.set(ObjectKind::Pool, id, pool);
    }

    fn put_service(&mut self, id: u32) {
        use v1::{Mode, Protocol};
        let (mode, protocol, ports) = match id {
            1 => (Mode::L4Dnat, Protocol::Tcp, vec![(80, 80)]),
            2 => (Mode::L4Dnat, Protocol::Udp, vec![(5000, 5999)]),
            3 => (Mode::L4Fullnat, Protocol::Tcp, vec![(81, 81), (90, 99)]),
            4 => (Mode::L4Dsr, Protocol::Any, vec![EVERY_PORT]),
            5 => (Mode::L4Dsr, Protocol::Tcp, vec![(80, 89)]),
            6 => (Mode::L4Tunnel, Protocol::Udp, vec![(53, 53)]),
            EXACT => (Mode::L4Dnat, Protocol::Tcp, vec![(70, 70)]),
            _ => (Mode::L4Tunnel, Protocol::Any, vec![EVERY_PORT]),
        };
        let mut service = v1::NodeServiceObject {
            vips: vips(id),
            ports: ports
                .into_iter()
                .map(|(first, last)| v1::NodePortRange { first, last })
                .collect(),
            protocol: protocol.into(),
            mode: mode.into(),
            pool_id: id.min(POOLS),
            exact_state: id == EXACT,
            affinity: self.affinities[usize::try_from(id).unwrap()].into(),
            backend_port: match id {
                1 => 8080,
                EXACT => 8070,
                _ => 0,
            },
            ..v1::NodeServiceObject::default()
        };
        if mode == Mode::L4Tunnel {
            let encapsulation = if id == 6 {
                v1::Encapsulation::Gue
            } else {
                v1::Encapsulation::Ipip
            };
            let gue_port = if id == 6 { 6080 } else { 0 };
            service.tunnel = Some(v1::TunnelSpec {
                encapsulation: encapsulation.into(),
                outer_source: v1::OuterSource::Spread.into(),
                gue_port,
            });
        }
        if id == 1 || id == 6 {
            service.deny_sources = vec![vec![198, 51, 1, 0, 24]];
            service.limits = Some(v1::LimitsSpec {
                new_flows_per_second: 20,
                new_flow_burst: 3,
                source_new_flows_per_second: 1,
                source_new_flow_burst: 1,
            });
        }
        self.agent
            .set(ObjectKind::Service, id, Object::Service(Box::new(service)));
    }

    fn reach(&mut self) {
        for id in 8..8 * (POOLS + 1) {
            for address in addresses(id).into_iter().flatten() {
                let ifindex = if self.unresolved.contains(&id) {
                    0
                } else {
                    EGRESS
                };
                let hop = NextHop {
                    ifindex,
                    source_mac: EGRESS_MAC,
                    mac: mac(id, address.is_ipv4()),
                };
                self.agent.keeper.reach_by(address, hop, 8);
            }
        }
    }
}

/// The addresses and prefixes of a service, as they travel. The prefix of the fifth lies in that of the fourth.
fn vips(id: u32) -> Vec<Vec<u8>> {
    let [.., n] = id.to_be_bytes();
    let prefix = |bits4: u8, bits6: u8| {
        let mut v6 = octets("2001:db8:e::".parse().unwrap());
        v6.push(bits6);
        vec![vec![203, 0, 114, 0, bits4], v6]
    };
    match id {
        4 => prefix(24, 64),
        5 => prefix(28, 120),
        EXACT => [40, 41]
            .into_iter()
            .flat_map(|n| [vec![203, 0, 113, n], vip6(n)])
            .collect(),
        // One address of several services.
        1..=3 => vec![vec![203, 0, 113, 10], vip6(10)],
        _ => vec![vec![203, 0, 113, 20 + n], vip6(20 + n)],
    }
}

fn vip6(n: u8) -> Vec<u8> {
    octets(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, n.into()).into())
}

fn octets(address: IpAddr) -> Vec<u8> {
    super::generator::octets(address)
}
