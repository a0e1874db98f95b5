use super::*;
use crate::config::{GracefulRestart, NeighborSpec};
use crate::testing::{peer_open, spec};

fn config(change: impl FnOnce(&mut NeighborSpec)) -> NeighborConfig {
    let mut spec = spec();
    change(&mut spec);
    spec.try_into().unwrap()
}

fn result(change: impl FnOnce(&mut OpenMessage)) -> Result<Negotiated, (u8, Vec<u8>)> {
    let mut open = peer_open();
    change(&mut open);
    negotiate(&config(|_| ()), &open).map_err(|it| {
        assert_eq!(it.code(), 2);
        (it.subcode(), it.data().to_vec())
    })
}

fn without(open: &mut OpenMessage, is_gone: fn(&Capability) -> bool) {
    open.capabilities.retain(|it| !is_gone(it));
}

#[test]
fn two_of_us_agree_on_all() {
    let us = config(|it| it.extended_next_hop = true);
    let them = config(|it| {
        (it.local_as, it.peer_as) = (it.peer_as, it.local_as);
        it.extended_next_hop = true;
        it.hold_time_secs = 3;
        it.router_id = Ipv4Addr::new(192, 0, 2, 9);
        it.graceful_restart = Some(GracefulRestart {
            restart_time_secs: 120,
            has_restarted: true,
        });
    });
    let both = PerFamily {
        ipv4: true,
        ipv6: true,
    };
    let agreed = Negotiated {
        peer_as: us.spec().peer_as,
        peer_id: Ipv4Addr::new(192, 0, 2, 9),
        hold_time_secs: 3,
        four_byte_as: true,
        families: both,
        extended_next_hop: true,
        route_refresh: RouteRefresh::Marked,
        peer_restart: Some(PeerRestart {
            has_restarted: true,
            restart_time_secs: 120,
            families: both,
            preserved: both,
        }),
    };
    assert_eq!(negotiate(&us, &offer(&them, true)), Ok(agreed));
}

#[test]
fn an_as_number_of_four_bytes_is_in_the_capability() {
    let open = offer(&config(|it| it.local_as = 4_200_000_001), true);
    assert_eq!(open.my_as, 23_456);
    let named = Capability::FourOctetAs { asn: 4_200_000_001 };
    assert!(open.capabilities.contains(&named));
}

#[test]
fn another_as_is_refused() {
    let number = |asn| {
        result(|open| {
            without(open, |it| matches!(it, Capability::FourOctetAs { .. }));
            open.capabilities.push(Capability::FourOctetAs { asn });
        })
    };
    assert_eq!(
        number(65_001).err(),
        Some((2, 65_001_u16.to_be_bytes().to_vec()))
    );
    assert_eq!(number(0).err(), Some((2, vec![0, 0])));
    assert_eq!(
        number(70_000).err(),
        Some((2, 23_456_u16.to_be_bytes().to_vec()))
    );
}

#[test]
fn a_neighbor_of_two_bytes_only() {
    let agreed = result(|open| {
        without(open, |it| matches!(it, Capability::FourOctetAs { .. }));
    });
    assert!(!agreed.unwrap().four_byte_as);
}

#[test]
fn identifiers_that_cannot_be() {
    let of = |id: [u8; 4]| result(|open| open.bgp_identifier = id.into());
    assert_eq!(of([0; 4]).err(), Some((3, vec![0; 4])));
    // An external neighbor may have the identifier that we have (RFC 6286).
    let ours = spec().router_id;
    assert!(of(ours.octets()).is_ok());
    let internal = config(|it| it.peer_as = it.local_as);
    let mut open = offer(&internal, true);
    let refused = negotiate(&internal, &open).map_err(|it| it.subcode());
    assert_eq!(refused, Err(3));
    open.bgp_identifier = Ipv4Addr::new(192, 0, 2, 9);
    assert!(negotiate(&internal, &open).is_ok());
}

#[test]
fn hold_times() {
    let of = |secs| result(|open| open.hold_time = secs).map(|it| it.hold_time_secs);
    assert_eq!(of(0), Ok(0));
    assert_eq!(of(1), Err((6, vec![0, 1])));
    assert_eq!(of(2), Err((6, vec![0, 2])));
    assert_eq!(of(3), Ok(3));
    assert_eq!(of(u16::MAX), Ok(spec().hold_time_secs));
}

#[test]
fn families() {
    let of = |named: &[(Afi, Safi)]| {
        result(|open| {
            without(open, |it| matches!(it, Capability::MultiProtocol { .. }));
            let named = named.iter();
            open.capabilities
                .extend(named.map(|(afi, safi)| Capability::MultiProtocol {
                    afi: *afi,
                    safi: *safi,
                }));
        })
        .map(|it| (it.families.ipv4, it.families.ipv6))
    };
    assert_eq!(of(&[]), Ok((true, false)));
    assert_eq!(of(&[(Afi::Ipv6, Safi::Unicast)]), Ok((false, true)));
    let needed = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1];
    let other = of(&[(Afi::Ipv4, Safi::Multicast)]);
    assert_eq!(other, Err((7, needed)));
}

#[test]
fn extended_next_hop_takes_two() {
    let with = Capability::ExtendedNextHop(vec![EXTENDED_NEXT_HOP]);
    let mut open = peer_open();
    open.capabilities.push(with);
    let agreed = |config: &NeighborConfig, open: &OpenMessage| negotiate(config, open).unwrap();
    assert!(!agreed(&config(|_| ()), &open).extended_next_hop);
    let wanting = config(|it| it.extended_next_hop = true);
    assert!(agreed(&wanting, &open).extended_next_hop);
    assert!(!agreed(&wanting, &peer_open()).extended_next_hop);
    // Beside a family of the future; and one byte too many.
    let future: [(&'static [u8], bool); 2] = [
        (&[0, 9, 0, 9, 0, 9, 0, 1, 0, 1, 0, 2], true),
        (&[0, 1, 0, 1, 0, 2, 0], false),
    ];
    for (data, is_agreed) in future {
        let mut open = peer_open();
        let data = Bytes::from_static(data);
        open.capabilities
            .push(Capability::Unknown { code: 5, data });
        assert_eq!(agreed(&wanting, &open).extended_next_hop, is_agreed);
    }
}

#[test]
fn golden_bytes() {
    let bytes = crate::framing::encode(&rustbgpd_wire::Message::Open(offer(&config(|_| ()), true)));
    #[rustfmt::skip]
    let expected = [
        0, 57, 1, 4, 0xfd, 0xf2, 0, 90, 192, 0, 2, 1, 28, 2, 26,
        1, 4, 0, 1, 0, 1,
        1, 4, 0, 2, 0, 1,
        2, 0,
        70, 0,
        64, 2, 0, 0,
        65, 4, 0, 0, 0xfd, 0xf2,
    ];
    assert_eq!(bytes[16..], expected);
}

#[test]
fn a_restart_is_told_once_and_what_goes_on_forwarding_always() {
    let told = |has_restarted, is_first| {
        let restarting = config(|it| {
            it.graceful_restart = Some(GracefulRestart {
                restart_time_secs: 120,
                has_restarted,
            });
        });
        let open = offer(&restarting, is_first);
        let restart = open.capabilities.iter().find_map(peer_restart).unwrap();
        (restart.has_restarted, restart.preserved.ipv4)
    };
    assert_eq!(told(false, true), (false, false));
    assert_eq!(told(true, true), (true, true));
    assert_eq!(told(false, false), (false, true));
    assert_eq!(told(true, false), (false, true));
}
