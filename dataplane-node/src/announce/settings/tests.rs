use lbfabric_model::snapshot::{SnapshotBody, SnapshotObject};
use lbfabric_proto::v1::{self, node_object};
use proptest::{prelude::*, sample::select};
use prost::Message as _;

use super::*;

/// What a node makes of settings, as they are sent.
fn received(spec: v1::BgpSpec) -> Result<Bgp, String> {
    let settings = v1::NodeSettings {
        hash_key: vec![1; 16],
        bgp: Some(spec),
        ..v1::NodeSettings::default()
    };
    let object = v1::NodeObject {
        object: Some(node_object::Object::Settings(settings)),
        ..v1::NodeObject::default()
    };
    let decoded = SnapshotObject::decode(&object.encode_to_vec()).unwrap();
    let SnapshotBody::Settings(settings) = decoded.body else {
        panic!("it is of settings");
    };
    settings.bgp.unwrap()
}

fn neighbor() -> v1::BgpNeighborSpec {
    v1::BgpNeighborSpec {
        name: "router".to_owned(),
        address: "10.88.0.2".to_owned(),
        asn: 65_020,
        ..v1::BgpNeighborSpec::default()
    }
}

fn of(neighbors: Vec<v1::BgpNeighborSpec>) -> v1::BgpSpec {
    v1::BgpSpec {
        asn: 65_010,
        router_id: "10.88.0.1".to_owned(),
        neighbors,
        ..v1::BgpSpec::default()
    }
}

const NOWHERE: OwnAddresses<'_> = OwnAddresses { on_interface: &[] };

#[test]
fn settings_are_the_speakers() {
    let spec = v1::BgpNeighborSpec {
        md5_password: Some("hush".to_owned()),
        hold_time_secs: 3,
        hops: 4,
        ttl_security: true,
        families: vec![v1::AddressFamily::Ipv6.into()],
        graceful_restart_secs: 30,
        import_default: true,
        bfd: Some(v1::BfdSpec {
            interval_ms: 10,
            ..v1::BfdSpec::default()
        }),
        ..neighbor()
    };
    let bgp = received(of(vec![spec])).unwrap();
    let setup = setup(&bgp, &bgp.neighbors[0], NOWHERE, true).unwrap();
    let expected = NeighborSpec {
        local_as: 65_010,
        router_id: Ipv4Addr::new(10, 88, 0, 1),
        peer_as: 65_020,
        is_passive: false,
        hold_time_secs: 3,
        families: PerFamily {
            ipv4: false,
            ipv6: true,
        },
        next_hops: NextHops::default(),
        extended_next_hop: false,
        graceful_restart: Some(GracefulRestart {
            restart_time_secs: 30,
            has_restarted: true,
        }),
        import_default: PerFamily {
            ipv4: false,
            ipv6: true,
        },
        enforce_first_as: true,
    };
    assert_eq!(setup.config, expected.try_into().unwrap());
    let Transport {
        peer,
        port,
        local,
        hops,
        md5_secret,
    } = setup.transport;
    assert_eq!((peer, port), (IpAddr::from([10, 88, 0, 2]), 179));
    assert_eq!((local, hops), (None, Hops::Proven(4)));
    assert_eq!(md5_secret.as_deref(), Some(&b"hush"[..]));
    assert_eq!(setup.bfd.unwrap().desired_min_tx_micros, 10_000);
}

#[test]
fn distances() {
    let hops = |hops, ttl_security| {
        let spec = v1::BgpNeighborSpec {
            hops,
            ttl_security,
            ..neighbor()
        };
        let bgp = received(of(vec![spec])).unwrap();
        setup(&bgp, &bgp.neighbors[0], NOWHERE, false)
            .unwrap()
            .transport
            .hops
    };
    assert_eq!(hops(0, false), Hops::Link);
    assert_eq!(hops(0, true), Hops::Proven(1));
    assert_eq!(hops(3, false), Hops::UpTo(3));
    assert_eq!(hops(3, true), Hops::Proven(3));
}

/// An address with its network, on a link.
fn placed(link: &str, text: &str) -> PlacedAddress {
    let (address, bits) = text.split_once('/').unwrap();
    let address = address.parse().unwrap();
    PlacedAddress {
        address,
        link: link.to_owned(),
        network: Prefix::around(address, bits.parse().unwrap()),
    }
}

#[test]
fn routes_lead_to_an_address_that_the_neighbor_can_reach() {
    let on_interface = [
        placed("eth0", "192.0.2.1/24"),
        placed("eth0", "2001:db8::1/64"),
        placed("eth1", "10.88.0.1/24"),
        placed("eth1", "2001:db8:1::1/64"),
        placed("eth1", "10.88.7.1/16"),
        placed("eth2", "10.99.0.1/24"),
    ];
    let own = OwnAddresses {
        on_interface: &on_interface,
    };
    let towards = |change: fn(&mut v1::BgpNeighborSpec)| {
        let mut spec = neighbor();
        change(&mut spec);
        let bgp = received(of(vec![spec])).unwrap();
        let NextHops { ipv4, ipv6, .. } = own.towards(&bgp.neighbors[0]);
        [ipv4.map(IpAddr::from), ipv6.map(IpAddr::from)]
            .map(|it| it.map_or_else(String::new, |it| it.to_string()))
    };
    // The session's network is of IPv4: VIPs of IPv6 lead to the same link, not to the first one.
    assert_eq!(towards(|_| ()), ["10.88.0.1", "2001:db8:1::1"]);
    let over_ipv6 = towards(|it| it.address = "2001:db8:1::2".to_owned());
    assert_eq!(over_ipv6, ["10.88.0.1", "2001:db8:1::1"]);
    // Of networks within one another the smallest.
    let in_wide = towards(|it| it.address = "10.88.9.2".to_owned());
    assert_eq!(in_wide, ["10.88.7.1", "2001:db8:1::1"]);
    let on_link = towards(|it| {
        it.address = "fe80::2".to_owned();
        it.interface = "eth1".to_owned();
    });
    assert_eq!(on_link, ["10.88.0.1", "2001:db8:1::1"]);
    // A neighbor further away is reached over the link of the session's address, where that is said.
    let far = |it: &mut v1::BgpNeighborSpec| it.address = "198.51.100.1".to_owned();
    assert_eq!(towards(far), ["192.0.2.1", "2001:db8::1"]);
    let from_second = towards(|it| {
        it.address = "198.51.100.1".to_owned();
        it.local_address = "10.88.0.1".to_owned();
    });
    assert_eq!(from_second, ["10.88.0.1", "2001:db8:1::1"]);
    // A link without IPv6 has to do with what there is elsewhere.
    let without = towards(|it| it.address = "10.99.0.2".to_owned());
    assert_eq!(without, ["10.99.0.1", "2001:db8::1"]);
}

/// Numbers about the limits of what is not there, what is there, and what is too much.
fn about(limits: &'static [u32]) -> impl Strategy<Value = u32> {
    let near =
        select(limits).prop_map(|limit| [limit.saturating_sub(1), limit, limit.saturating_add(1)]);
    near.prop_flat_map(|near| select(near.to_vec()))
}

fn any_bfd() -> impl Strategy<Value = v1::BfdSpec> {
    (about(&[0, 10, 60_000]), about(&[0, 255]), any::<bool>()).prop_map(
        |(interval_ms, multiplier, passive)| v1::BfdSpec {
            interval_ms,
            multiplier,
            passive,
        },
    )
}

fn any_neighbor() -> impl Strategy<Value = v1::BgpNeighborSpec> {
    let address = select(vec![
        "10.88.0.2",
        "2001:db8::2",
        "fe80::1",
        "::1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
    ]);
    let interface = select(vec!["", "eth0", "a-name-that-is-long"]);
    let numbers = (
        about(&[1, 23_456, u32::MAX]),
        about(&[0, 65_535]),
        about(&[0, 3, 65_535]),
        about(&[0, 255]),
        about(&[0, 4_095]),
    );
    let local = select(vec!["", "10.88.0.1", "2001:db8::1", "127.0.0.1"]);
    let password = prop::option::of(select(vec![0, 1, 80, 81]));
    let families = prop::collection::vec(0..4_i32, 0..3);
    let next_hops =
        prop::collection::vec(select(vec!["10.88.0.1", "2001:db8::1", "0.0.0.0"]), 0..3);
    (
        (address, interface, local),
        numbers,
        (password, families, next_hops),
        any::<[bool; 4]>(),
        prop::option::of(any_bfd()),
    )
        .prop_map(|(texts, numbers, lists, switches, bfd)| {
            let [passive, ttl_security, extended_next_hop, import_default] = switches;
            let (address, interface, local) = texts;
            let (asn, port, hold_time_secs, hops, graceful_restart_secs) = numbers;
            let (password, families, next_hops) = lists;
            v1::BgpNeighborSpec {
                name: "router".to_owned(),
                address: address.to_owned(),
                interface: interface.to_owned(),
                asn,
                port,
                passive,
                local_address: local.to_owned(),
                md5_password: password.map(|length| "x".repeat(length)),
                hold_time_secs,
                hops,
                ttl_security,
                families,
                next_hops: next_hops.into_iter().map(str::to_owned).collect(),
                extended_next_hop,
                graceful_restart_secs,
                bfd,
                import_default,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The API's limits are the speaker's: what one takes the other does.
    #[test]
    fn what_the_api_takes_the_speaker_takes(
        one in any_neighbor(),
        other in any_neighbor(),
        asn in about(&[1, 23_456, u32::MAX]),
    ) {
        let mut other = other;
        other.name = "other".to_owned();
        let spec = v1::BgpSpec { asn, ..of(vec![one, other]) };
        if let Ok(bgp) = received(spec) {
            let config = speaker_config(&bgp, NOWHERE, false);
            prop_assert!(config.is_ok(), "{:?}", config);
        }
    }
}
