//! What tells flows apart outside a tunnel: the server's receive queues and paths of equal cost go by it.

use std::collections::{BTreeMap, BTreeSet};

use etherparse::{Ipv4Header, Ipv6Header};
use lbfabric_abi::{Mode, Protocol, VipService};

use super::{
    fabric::{CASES, Fabric, Family, SERVER, request, service, settings},
    gue,
    kernel::{Action, Program},
    packets::ETHERNET,
    tunnel::only,
};

const FLOWS: u16 = 2_000;

/// The outer source: the address, and the port with GUE.
type Source = (Vec<u8>, Option<u16>);

fn source(frame: &[u8], outer: Family, is_gue: bool) -> Source {
    let (address, rest) = match outer {
        Family::V4 => {
            let (ip, rest) = Ipv4Header::from_slice(&frame[ETHERNET..]).unwrap();
            (ip.source.to_vec(), rest)
        }
        Family::V6 => {
            let (ip, rest) = Ipv6Header::from_slice(&frame[ETHERNET..]).unwrap();
            (ip.source.to_vec(), rest)
        }
    };
    let port = is_gue.then(|| u16::from_be_bytes([rest[0], rest[1]]));
    (address, port)
}

/// Many flows' sources. The packets of one flow have the same: two are sent of each, far apart.
fn sources(fabric: &Fabric, outer: Family, is_gue: bool) -> Vec<Source> {
    let send = |n: u16, established: bool| {
        let mut packet = request(Family::V4, Protocol::Tcp);
        packet.source.set_port(1024 + n);
        if established {
            packet = packet.established();
            packet.payload = vec![7; 700];
        }
        let (action, frame) = fabric.kernel.run_uncounted(Program::Lb, &packet.build(), 1);
        assert_eq!(action, Action::Redirect);
        source(&frame, outer, is_gue)
    };
    let first: Vec<Source> = (0..FLOWS).map(|n| send(n, false)).collect();
    let second: Vec<Source> = (0..FLOWS).map(|n| send(n, true)).collect();
    assert_eq!(first, second);
    first
}

fn fabric(is_gue: bool, flags: u32, outer: Family) -> Fabric {
    let mut fabric = if is_gue {
        gue::fabric(flags)
    } else {
        let mut fabric = Fabric::new(Mode::Tunnel);
        for (family, protocol) in CASES {
            let service = VipService {
                flags,
                ..service(Mode::Tunnel)
            };
            fabric.serve(family.vip(), protocol, service);
        }
        fabric
    };
    let mut settings = settings();
    (settings.source4_count, settings.source6_count) = (2, 2);
    fabric.settings(settings);
    fabric.backend(SERVER, only(outer));
    fabric
}

#[test]
fn row_45_flows_spread_over_all_sources_and_ports() {
    for outer in [Family::V4, Family::V6] {
        for is_gue in [false, true] {
            let sources = sources(&fabric(is_gue, 0, outer), outer, is_gue);
            let mut by_address = BTreeMap::<&[u8], usize>::new();
            for (address, _) in &sources {
                *by_address.entry(address).or_default() += 1;
            }
            // Half of 2,000 each, within six standard deviations.
            let counts: Vec<usize> = by_address.into_values().collect();
            assert!(
                counts.len() == 2 && counts.iter().all(|n| (866..=1134).contains(n)),
                "{counts:?}"
            );
            if is_gue {
                // 2,000 draws from 16,384 ports show 1,883 of them on average.
                let ports: BTreeSet<u16> = sources.iter().filter_map(|(_, port)| *port).collect();
                assert!(ports.len() > 1_800, "{}", ports.len());
                assert!(ports.first().unwrap() >= &0xc000);
            }
        }
    }
}

#[test]
fn a_fixed_source_is_one() {
    for outer in [Family::V4, Family::V6] {
        for is_gue in [false, true] {
            let fabric = fabric(is_gue, VipService::OUTER_SOURCE_FIXED, outer);
            let sources = sources(&fabric, outer, is_gue);
            let node = match outer.node() {
                std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let only = (node, is_gue.then_some(0xc000));
            assert!(sources.iter().all(|source| *source == only), "{only:?}");
        }
    }
}
