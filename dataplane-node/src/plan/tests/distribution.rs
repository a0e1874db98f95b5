//! Where flows go by the rings that are written, with the flows' real hash: rows 26, 27 and 31 of the checklist.

use lbfabric_abi::{Address, Flow, FlowKey, Protocol as Transport, slot_of};
use lbfabric_model::maglev::{self, Entry};
use proptest::prelude::*;

use super::*;

/// Pools of the default size, and of the largest with 500 servers.
const SIZES: [(u32, u32); 3] = [(8, 4099), (32, 4099), (500, 65_537)];
const FLOWS: u32 = 100_000;
const RING_KEY: FlowKey = FlowKey::expand([0x0123_4567_89ab_cdef, 0xfeed_face_cafe_beef]);

fn sized(servers: u32, slots: u32) -> NodePool {
    let ids: Vec<u32> = (0..servers).collect();
    NodePool {
        slots,
        ..pool(&ids)
    }
}

/// The slot that each of many flows of different clients falls on.
fn flows(slots: u32) -> impl Iterator<Item = u32> {
    (0..FLOWS).map(move |n| {
        let [_, a, b, c] = n.to_be_bytes();
        let flow = Flow {
            source: Address::from_ipv4([198, a, b, c]),
            destination: Address::from_ipv4([203, 0, 113, 1]),
            source_port_be: u16::try_from(20_000 + n % 40_000).unwrap().to_be_bytes(),
            destination_port_be: 443u16.to_be_bytes(),
            protocol: Transport::Tcp as u8,
            zero: [0; 3],
        };
        slot_of(flow.hash(&RING_KEY), slots)
    })
}

impl Case {
    fn with_pool(pool: NodePool) -> Self {
        let web = service(Mode::Dsr, &["203.0.113.1"], &[(443, 443)]);
        let mut case = Self::new(&[(1, pool)], &[(7, web)]);
        case.run();
        case
    }

    fn pool(&mut self) -> &mut NodePool {
        self.desired.pools.get_mut(&PoolId(1)).unwrap()
    }

    /// Pool 1's ring.
    fn slots(&self) -> Vec<RingSlot> {
        let ring = self.observed.pools[&PoolId(1)];
        (ring.start..ring.start + ring.slots)
            .map(|index| self.observed.slot(index))
            .collect()
    }

    fn servers_of_new_flows(&self) -> Vec<u32> {
        self.slots().iter().map(|slot| slot.cur).collect()
    }
}

/// What part of the flows a condition on their slots holds for.
fn part(slots: u32, condition: impl Fn(usize) -> bool) -> f64 {
    let count = flows(slots)
        .filter(|slot| condition(*slot as usize))
        .count();
    f64::from(u32::try_from(count).unwrap()) / f64::from(FLOWS)
}

#[test]
fn row_26_one_server_more_or_less_moves_its_part_of_new_flows_and_no_established_one() {
    for (servers, slots) in SIZES {
        let all = sized(servers, slots);
        let mut case = Case::with_pool(all.clone());
        let mut extra = Vec::new();
        for absent in [0, 1, 3, 5, servers / 2, servers - 1] {
            let mut fewer = all.clone();
            fewer.backends.remove(absent as usize);
            // Removed, and added again.
            for pool in [&fewer, &all] {
                let before = case.slots();
                case.pool().clone_from(pool);
                case.run();
                let after = case.slots();
                let moved = part(slots, |slot| before[slot].cur != after[slot].cur);
                extra.push(moved - 1.0 / f64::from(servers));
                // Established flows, which the table does not know yet, are where they were.
                let torn = part(slots, |slot| {
                    before[slot].base_id() != after[slot].base_id()
                });
                assert!(torn.total_cmp(&0.0).is_eq(), "server {absent}: {torn}");
            }
        }
        let count = f64::from(u32::try_from(extra.len()).unwrap());
        let mean = extra.iter().sum::<f64>() / count;
        assert!(mean < 0.01, "of {servers}: {mean}, {extra:?}");
        let worst = extra.iter().copied().fold(0.0, f64::max);
        assert!(worst < 0.0125, "of {servers}: {worst}, {extra:?}");
        // When the hold time is over, who was active stands in the table, and the slots go on reading it.
        case.pool().backends.remove(1);
        case.run();
        let changed: Vec<bool> = case.slots().iter().map(|slot| slot.consult()).collect();
        case.secs = 1000;
        case.run();
        let settled = case.slots();
        assert!(settled.iter().all(|slot| !slot.is_changed()));
        assert!(
            settled
                .iter()
                .zip(changed)
                .all(|(slot, was)| slot.consult() == was)
        );
    }
}

#[test]
fn row_27_new_flows_follow_the_weights_to_less_than_one_percent() {
    let uneven: Vec<u16> = (0..500u16).map(|n| 1 + n * 131).collect();
    for (slots, weights) in [
        (4099, vec![1u16, 2, 3, 4]),
        (4099, vec![100; 32]),
        (4099, vec![65_535, 1, 0, 32_768]),
        (65_537, vec![7; 500]),
        (65_537, uneven),
    ] {
        let mut pool = sized(u32::try_from(weights.len()).unwrap(), slots);
        for (backend, weight) in pool.backends.iter_mut().zip(&weights) {
            backend.weight = *weight;
        }
        let case = Case::with_pool(pool);
        let ring = case.servers_of_new_flows();
        let mut got = vec![0u32; weights.len()];
        for slot in flows(slots) {
            got[ring[slot as usize] as usize] += 1;
        }
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        let mut chi_square = 0.0;
        for (server, (weight, got)) in weights.iter().zip(&got).enumerate() {
            let right = f64::from(FLOWS) * f64::from(*weight) / total;
            let error = (f64::from(*got) - right).abs() / f64::from(FLOWS);
            assert!(
                error < 0.01,
                "server {server} of {weights:?}: {got}, not {right}"
            );
            assert!(*weight > 0 || *got == 0, "server {server} is drained");
            // Of a share below one slot nothing can be asked.
            if right > 50.0 {
                chi_square += (f64::from(*got) - right).powi(2) / right;
            }
        }
        // Beyond 99.99 % of what chance does to so many flows, and a slot more or less for each server.
        let servers = f64::from(u32::try_from(weights.len()).unwrap());
        let most = servers + 5.5 * (2.0 * servers).sqrt() + 15.0;
        assert!(chi_square < most, "{chi_square} of {most} for {weights:?}");
    }
}

#[test]
fn row_27_a_weight_of_zero_drains() {
    let mut case = Case::with_pool(sized(32, 4099));
    let before = case.slots();
    case.pool().backends[5].weight = 0;
    case.run();
    let after = case.slots();
    assert!(after.iter().all(|slot| slot.cur != 5));
    let kept = before.iter().zip(&after);
    assert!(
        kept.clone()
            .all(|(old, new)| old.base_id() == new.base_id())
    );
    assert!(kept.filter(|(old, _)| old.base_id() == 5).count() > 100);
    assert!(case.entry_is_alive(5));
}

impl Case {
    fn entry_is_alive(&self, id: u32) -> bool {
        self.observed.backends[&BackendId(id)].is_alive()
    }
}

/// What a node went through before it holds the pool and knows its health.
#[derive(Clone, Debug)]
enum Past {
    /// Some servers only, some of them with another weight.
    Other {
        count: usize,
        weight: u16,
    },
    /// A server's check fails, or passes.
    Probe {
        server: usize,
        passes: bool,
    },
    /// The agent starts again.
    Restart,
    /// Other pools come first, so that the ring lies elsewhere.
    Neighbour {
        slots: u32,
    },
    Time {
        secs: u64,
    },
}

fn any_past() -> impl Strategy<Value = Past> {
    prop_oneof![
        (0usize..20, 0u16..500).prop_map(|(count, weight)| Past::Other { count, weight }),
        (0usize..20, any::<bool>()).prop_map(|(server, passes)| Past::Probe { server, passes }),
        Just(Past::Restart),
        prop::sample::select(vec![2u32, 13, 131]).prop_map(|slots| Past::Neighbour { slots }),
        (0u64..2000).prop_map(|secs| Past::Time { secs }),
    ]
}

impl Case {
    fn live_through(&mut self, past: &Past, end: &NodePool) {
        match past {
            Past::Other { count, weight } => {
                let mut pool = end.clone();
                pool.backends.truncate(*count);
                pool.backends.reverse();
                if let Some(first) = pool.backends.first_mut() {
                    first.weight = *weight;
                }
                self.desired.pools.insert(PoolId(1), pool);
            }
            Past::Probe { server, passes } => {
                let id = end.backends[server % end.backends.len()].id.0;
                if *passes {
                    self.set_health(id, Health::Up);
                } else {
                    self.fail(id);
                }
            }
            Past::Restart => self.memory = Memory::default(),
            Past::Neighbour { slots } => {
                let neighbour = NodePool {
                    slots: *slots,
                    ..pool(&[40_000])
                };
                self.desired.pools.insert(PoolId(0), neighbour);
            }
            Past::Time { secs } => self.secs += secs,
        }
        self.run();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The same object and the same health give the same ring on every node, whatever happened before.
    #[test]
    fn row_31_equal_rings_on_every_node(
        weights in prop::collection::vec(0u16..300, 1..20),
        up in prop::collection::vec(any::<bool>(), 20),
        pasts in prop::collection::vec(prop::collection::vec(any_past(), 0..8), 2),
    ) {
        let ids: Vec<u32> = (0..u32::try_from(weights.len()).unwrap()).collect();
        let mut end = NodePool { slots: 1031, ..pool_with_check(&ids) };
        for (backend, weight) in end.backends.iter_mut().zip(&weights) {
            backend.weight = *weight;
        }
        let mut rings = pasts.iter().map(|pasts| {
            let mut case = Case::new(&[], &[]);
            for past in pasts {
                case.live_through(past, &end);
            }
            case.desired.pools.insert(PoolId(1), end.clone());
            for (id, up) in ids.iter().zip(&up) {
                if *up { case.set_health(*id, Health::Up) } else { case.fail(*id) }
            }
            // A place that was given up is given out one plan later.
            case.run();
            case.run();
            case.servers_of_new_flows()
        });
        let (one, other) = (rings.next().unwrap(), rings.next().unwrap());
        prop_assert!(one == other);
    }
}

/// Nodes of different versions share flows: what a version makes of a fabric, every other one has to.
#[test]
fn row_31_rings_and_hashes_are_what_they_always_were() {
    let names: Vec<String> = (0..7).map(|n| format!("server-{n}")).collect();
    let entries: Vec<_> = (1..)
        .zip(&names)
        .map(|(id, name)| Entry {
            id,
            name,
            weight: u16::try_from(id).unwrap() * 10,
        })
        .collect();
    let ring = maglev::ring(&entries, 4099);
    // FNV-1a, 64 bits.
    let digest = ring
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, server| {
            (hash ^ u64::from(*server)).wrapping_mul(0x0100_0000_01b3)
        });
    assert_eq!(digest, 0xc497_bba3_0584_c27f);
    let v4 = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
    let ports = u32::from_ne_bytes([0x9c, 0x40, 0x01, 0xbb]);
    assert_eq!(
        RING_KEY.hash4(v4([198, 51, 100, 7]), v4([203, 0, 113, 10]), ports, 6),
        0x636c_2d20_1a9e_7424
    );
    let v6 = |last: u8| [v4([0x20, 1, 0x0d, 0xb8]), 0, 0, v4([0, 0, 0, last])];
    assert_eq!(
        RING_KEY.hash6(v6(7), v6(10), ports, 17),
        0x305c_7446_da89_5576
    );
}
