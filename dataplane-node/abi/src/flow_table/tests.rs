extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Address;

const KEY: FlowKey = FlowKey([
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
]);

fn tick(n: u64) -> FlowTick {
    FlowTick::at(n * FlowTick::NS)
}

fn flow(source: [u8; 4], port: u16) -> Flow {
    Flow {
        source: Address::from_ipv4(source),
        destination: Address::from_ipv4([203, 0, 113, 1]),
        source_port_be: port.to_be_bytes(),
        destination_port_be: 443u16.to_be_bytes(),
        protocol: 6,
        zero: [0; 3],
    }
}

proptest! {
    #[test]
    fn an_entry_gives_back_what_it_was_made_of(
        tag in 1u32..1 << 24, server in 0u32..1 << 24, ticks in 0u64..1 << 20, syn: bool
    ) {
        let entry = FlowEntry::new(tag, server, tick(ticks), syn);
        prop_assert!(!entry.is_free());
        prop_assert_eq!((entry.tag(), entry.server()), (tag, server));
        prop_assert_eq!((entry.tick(), entry.is_syn_only()), (tick(ticks), syn));
    }

    #[test]
    fn age_counts_ticks_also_over_the_wrap(start in 0u64..1 << 20, age in 0u32..0x7ffe) {
        let entry = FlowEntry::new(1, 2, tick(start), false);
        let now = tick(start + u64::from(age));
        prop_assert_eq!(entry.age(now), age);
        prop_assert!(!entry.is_expired(now, age));
        prop_assert_eq!(entry.is_expired(now, age.saturating_sub(1)), age > 0);
        let seen = entry.seen(now, false);
        prop_assert_eq!((seen.age(now), seen.server()), (0, 2));
    }

    #[test]
    fn every_field_of_a_flow_places_it(
        source: [u8; 16], destination: [u8; 16], ports: [u8; 4], protocol: u8, bit in 0usize..296
    ) {
        let of = |bytes: [u8; 37]| Flow {
            source: Address(bytes[..16].try_into().unwrap()),
            destination: Address(bytes[16..32].try_into().unwrap()),
            source_port_be: bytes[32..34].try_into().unwrap(),
            destination_port_be: bytes[34..36].try_into().unwrap(),
            protocol: bytes[36],
            zero: [0; 3],
        };
        let mut bytes = [0; 37];
        bytes[..16].copy_from_slice(&source);
        bytes[16..32].copy_from_slice(&destination);
        bytes[32..36].copy_from_slice(&ports);
        bytes[36] = protocol;
        let before = of(bytes).place(&KEY);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(before, of(bytes).place(&KEY));
    }
}

#[test]
fn an_entry_from_a_moment_ahead_is_new() {
    let entry = FlowEntry::new(1, 2, tick(8), false);
    assert_eq!(entry.age(tick(7)), 0);
    assert!(!entry.is_expired(tick(7), 0));
}

#[test]
fn a_syn_entry_stays_one_until_another_packet() {
    let entry = FlowEntry::new(9, 2, tick(8), true);
    assert_eq!(entry.seen(tick(8), true), entry);
    assert!(entry.seen(tick(9), true).is_syn_only());
    let established = entry.seen(tick(9), false);
    assert!(!established.is_syn_only());
    assert!(!established.seen(tick(9), true).is_syn_only());
}

#[test]
fn what_goes_first() {
    let cheapness = |entry: FlowEntry| entry.cheapness(tick(100), 10);
    let entry = |ticks, syn| FlowEntry::new(1 << 23, 2, tick(ticks), syn);
    let order = [
        cheapness(FlowEntry::FREE),
        cheapness(entry(80, true)),
        cheapness(entry(89, false)),
        cheapness(entry(90, true)),
        cheapness(entry(95, true)),
        cheapness(entry(96, true)),
        cheapness(entry(90, false)),
        cheapness(entry(100, false)),
        cheapness(entry(101, false)),
    ];
    assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
    let live: Vec<bool> = order.iter().map(|it| *it < FlowEntry::LIVE).collect();
    assert_eq!(live, [[false; 6].as_slice(), &[true; 3]].concat());
}

#[test]
fn idle_times_in_ticks() {
    assert_eq!(FlowTick::idle_of_ms(0), 0);
    assert_eq!(FlowTick::idle_of_ms(1), 1);
    assert_eq!(FlowTick::idle_of_ms(900_000), 420);
    assert_eq!(FlowTick::idle_of_ms(u64::MAX), FlowTick::IDLE_MAX);
}

#[test]
fn buckets_fill_evenly() {
    const BUCKETS: u32 = 1024;
    let mut filled = [0u32; BUCKETS as usize];
    for n in 0..BUCKETS * 100 {
        let [_, a, b, c] = n.to_be_bytes();
        let place = flow([10, a, b, c & 0xf0], 1024 + u16::from(c & 0x0f)).place(&KEY);
        assert_ne!(place.tag, 0);
        filled[place.bucket(BUCKETS - 1) as usize] += 1;
    }
    // Poisson with mean 100: six standard deviations on either side.
    assert!(filled.iter().all(|n| (40..=160).contains(n)));
}

/// Flows that differ only in words that a weaker hash would let cancel each other, whatever the key.
#[test]
fn differences_do_not_cancel() {
    let mut one = flow([0; 4], 1);
    let before = one.place(&KEY);
    one.source.0[7] ^= 0x80;
    one.source.0[15] ^= 0x80;
    one.source.0[11] ^= 0x80;
    assert_ne!(before, one.place(&KEY));
}
