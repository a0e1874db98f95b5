//! Plans that begin with the one before them are those from scratch.

use std::num::NonZeroU16;

use lbfabric_model::{QuicServerId, digest_of_object};
use proptest::prelude::*;

use super::*;

const POOLS: u32 = 4;
const SERVERS: u32 = 5;

impl Case {
    /// Plans and writes until nothing is left, as the reconciler does, and returns all plans.
    fn settle(&mut self, from_scratch: bool) -> Vec<Plan> {
        let mut plans = Vec::new();
        self.memory.expect_news();
        loop {
            if from_scratch {
                self.memory.standing = None;
            }
            let plan = self.run();
            self.memory.trust();
            let is_final = plan.ops.is_empty();
            plans.push(plan);
            assert!(plans.len() < 9, "{plans:?}");
            if is_final {
                return plans;
            }
        }
    }

    /// Whether the last plan took the short cut.
    fn is_short(&self) -> bool {
        let standing = self.memory.standing.as_ref().unwrap();
        matches!(standing.scope, Scope::Part(_))
    }

    fn happen(&mut self, news: &News, digests: bool) {
        match news {
            News::Pool(id, pool) => match pool {
                Some(pool) => {
                    self.desired.pools.insert(PoolId(*id), pool.clone());
                }
                None => {
                    self.desired.pools.remove(&PoolId(*id));
                }
            },
            News::Service(id, service) => match service {
                Some(service) => {
                    let service = service.clone();
                    self.desired.services.insert(ServiceId(*id), *service);
                }
                None => {
                    self.desired.services.remove(&ServiceId(*id));
                }
            },
            News::Health(id, is_up) => match is_up {
                Some(true) => self.set_health(*id, Health::Up),
                Some(false) => self.fail(*id),
                None => self.set_health(*id, Health::Unknown),
            },
            News::Way(id, ifindex) => {
                let address = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + id));
                let mut way = Way::default();
                way.hop.ifindex = *ifindex;
                self.next_hops.insert(address, way);
            }
            News::Time(secs) => self.secs += secs,
            News::Table(servers) => self.in_table = servers.as_deref().map(ids),
        }
        if digests {
            let mut digests = BTreeMap::new();
            let digest = |it: &dyn std::fmt::Debug| digest_of_object(format!("{it:?}").as_bytes());
            let Desired {
                pools, services, ..
            } = &self.desired;
            for (id, pool) in pools {
                let key = ObjectKey {
                    kind: ObjectKind::Pool,
                    id: id.0,
                };
                digests.insert(key, digest(pool));
            }
            for (id, service) in services {
                let key = ObjectKey {
                    kind: ObjectKind::Service,
                    id: id.0,
                };
                digests.insert(key, digest(service));
            }
            self.desired.digests = digests;
        }
    }
}

/// Something happens.
#[derive(Clone, Debug)]
enum News {
    Pool(u32, Option<NodePool>),
    Service(u32, Option<Box<NodeService>>),
    Health(u32, Option<bool>),
    /// An address is reached over another link.
    Way(u32, u32),
    Time(u64),
    Table(Option<Vec<u32>>),
}

fn any_pool(id: u32) -> impl Strategy<Value = NodePool> {
    let server = (any::<bool>(), 0u16..3, prop::option::of(1u8..4));
    let servers = prop::collection::vec(server, SERVERS as usize);
    let rest = (prop::sample::select(vec![7u32, 7, 7, 11]), 0u32..2);
    let kind = (any::<bool>(), any::<bool>());
    (servers, rest, kind).prop_map(move |(servers, (slots, hold), kind)| {
        let (has_check, shares_addresses) = kind;
        let all: Vec<u32> = (id * 10..id * 10 + SERVERS).collect();
        let mut pool = if has_check {
            pool_with_check(&all)
        } else {
            pool(&all)
        };
        pool.slots = slots;
        pool.flow_keeping.hold_time_secs = 100 + hold * 100;
        for (backend, (_, weight, quic)) in pool.backends.iter_mut().zip(&servers) {
            backend.weight = *weight;
            backend.quic_server_id = quic.map(|n| QuicServerId::new(&[n; 8]).unwrap());
            if shares_addresses {
                // Services of several pools contend for the answers of such servers.
                let host = u8::try_from(backend.id.0 % 10).unwrap();
                backend.ipv4 = Some(std::net::Ipv4Addr::new(10, 0, 1, host));
            }
        }
        let mut present = servers.iter().map(|(present, ..)| *present);
        pool.backends.retain(|_| present.next().unwrap());
        pool
    })
}

fn any_service(id: u32) -> impl Strategy<Value = NodeService> {
    let mode = prop::sample::select(vec![Mode::Dnat, Mode::Dnat, Mode::Dsr, Mode::Fullnat]);
    let ports = prop::sample::select(vec![(80, 80), (10, 20), (15, 30)]);
    let rest = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let pool = 0..POOLS;
    (mode, ports, pool, rest).prop_map(move |(mode, ports, pool, (shared, port, udp, quic))| {
        let vip = if shared { 9 } else { id };
        let vip = format!("203.0.113.{vip}");
        NodeService {
            pool: PoolId(pool),
            backend_port: port.then(|| NonZeroU16::new(8080).unwrap()),
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            affinity: if quic {
                Affinity::QuicCid
            } else {
                Affinity::FiveTuple
            },
            ..service(mode, &[&vip], &[ports])
        }
    })
}

fn any_news() -> impl Strategy<Value = News> {
    let server = || (0..POOLS, 0..SERVERS).prop_map(|(pool, n)| pool * 10 + n);
    let pool = (0..POOLS).prop_flat_map(|id| (Just(id), any_pool(id)));
    let service = (0..4u32).prop_flat_map(|id| (Just(id), any_service(id)));
    prop_oneof![
        6 => pool.prop_map(|(id, pool)| News::Pool(id, Some(pool))),
        1 => (0..POOLS).prop_map(|id| News::Pool(id, None)),
        2 => service.prop_map(|(id, service)| News::Service(id, Some(service.into()))),
        1 => (0..4u32).prop_map(|id| News::Service(id, None)),
        4 => (server(), any::<Option<bool>>()).prop_map(|(id, up)| News::Health(id, up)),
        2 => (server(), 1u32..4).prop_map(|(id, link)| News::Way(id, link)),
        3 => prop::sample::select(vec![0u64, 5, 11, 150, 1000]).prop_map(News::Time),
        2 => prop::option::of(prop::collection::vec(server(), 0..6)).prop_map(News::Table),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn short_cuts_lead_where_the_rule_does(
        pools in (any_pool(0), any_pool(1), any_pool(2), any_pool(3)),
        services in (any_service(0), any_service(1), any_service(2), any_service(3)),
        news in prop::collection::vec(prop::collection::vec(any_news(), 1..3), 1..20),
        digests in any::<bool>(),
    ) {
        let pools = [pools.0, pools.1, pools.2, pools.3];
        let pools: Vec<_> = (0..).zip(pools).collect();
        let services = [services.0, services.1, services.2, services.3];
        let services: Vec<_> = (0..).zip(services).collect();
        let mut short = Case::new(&pools, &services);
        let mut scratch = Case::new(&pools, &services);
        scratch.start = short.start;
        for news in &news {
            for it in news {
                short.happen(it, digests);
                scratch.happen(it, digests);
            }
            prop_assert_eq!(short.settle(false), scratch.settle(true));
            prop_assert_eq!(&short.observed.observed, &scratch.observed.observed);
            prop_assert!(short.observed.slots == scratch.observed.slots);
        }
    }
}

#[test]
fn what_concerns_some_pools_takes_the_short_cut() {
    let pools: Vec<_> = (1..4)
        .map(|id| (id, pool_with_check(&[id * 10, id * 10 + 1])))
        .collect();
    let service = |id: u32| NodeService {
        pool: PoolId(id),
        ..service(Mode::Dnat, &[&format!("203.0.113.{id}")], &[(80, 80)])
    };
    let services: Vec<_> = (1..4).map(|id| (id, service(id))).collect();
    let mut case = Case::new(&pools, &services);
    case.settle(false);
    assert!(!case.is_short(), "the first plan knows of nothing");
    let mut leads_to = |news: News, writes: usize, is_short: bool| {
        case.happen(&news, false);
        let plans = case.settle(false);
        assert_eq!(case.is_short(), is_short, "{news:?}");
        let all: usize = plans.iter().map(|plan| plan.ops.len()).sum();
        assert_eq!(all, writes, "{news:?}: {plans:?}");
    };
    leads_to(News::Health(20, Some(true)), 0, true);
    leads_to(News::Health(21, Some(true)), 0, true);
    leads_to(News::Health(20, Some(false)), 1, true);
    leads_to(News::Way(10, 3), 1, true);
    leads_to(News::Time(5), 0, true);
    // It is declared dead: its entry, and the slots that it was the base of.
    leads_to(News::Time(6), 2, true);
    // The entry, that of its answers, and the filter's word for these.
    let larger = pool_with_check(&[30, 31, 32]);
    leads_to(News::Pool(3, Some(larger)), 3, true);
    // Its VIP is served no more.
    leads_to(News::Health(10, Some(false)), 1, true);
    leads_to(News::Health(11, Some(false)), 2, false);
    leads_to(News::Pool(2, None), 10, false);
    leads_to(News::Time(1), 0, true);
}
