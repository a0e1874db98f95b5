use rustbgpd_wire::Message;

use super::*;
use crate::framing::encode;
use crate::testing::{PEER_AS, config};
use crate::{AttributesSpec, PerFamily};

fn terms() -> Terms {
    let negotiated = Negotiated {
        peer_as: PEER_AS,
        peer_id: [192, 0, 2, 2].into(),
        hold_time_secs: 90,
        four_byte_as: true,
        families: PerFamily::from_each(|_| true),
        extended_next_hop: false,
        route_refresh: RouteRefresh::No,
        peer_restart: None,
    };
    Terms::new(config(), negotiated)
}

fn host(address: &str) -> Prefix {
    Prefix::host(address.parse().unwrap())
}

/// The bytes after the marker.
fn bytes(update: &Update) -> Vec<u8> {
    let bytes = encode(&Message::Update(update.to_message()));
    assert_eq!(bytes[..16], [0xff; 16]);
    bytes[16..].to_vec()
}

fn announcement(family: Family, spec: AttributesSpec) -> Update {
    let attributes = Attributes::try_from(spec).unwrap();
    Update::announcement(&terms(), family, &attributes, false).unwrap()
}

#[test]
fn ipv4_is_in_the_fields() {
    let spec = AttributesSpec {
        med: Some(5),
        communities: vec![0xfdf2_0007],
        extended_communities: vec![0x0002_fdf2_0000_0064],
        large_communities: vec![(1, 2, 3)],
        ..AttributesSpec::default()
    };
    let mut update = announcement(Family::Ipv4, spec);
    update.push(host("203.0.113.1"));
    update.push(Prefix::new([198, 51, 0, 0].into(), 15).unwrap());
    #[rustfmt::skip]
    let expected = [
        0, 91, 2, 0, 0, 0, 60,
        0x40, 1, 1, 0,
        0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xf2,
        0x40, 3, 4, 192, 0, 2, 1,
        0x80, 4, 4, 0, 0, 0, 5,
        0xc0, 8, 4, 0xfd, 0xf2, 0, 7,
        0xc0, 16, 8, 0, 2, 0xfd, 0xf2, 0, 0, 0, 100,
        0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3,
        32, 203, 0, 113, 1, 15, 198, 50,
    ];
    assert_eq!(bytes(&update), expected);
}

#[test]
fn ipv6_is_in_an_attribute_before_all_others() {
    let mut update = announcement(Family::Ipv6, AttributesSpec::default());
    update.push(host("2001:db8::7"));
    #[rustfmt::skip]
    let expected = [
        0, 77, 2, 0, 0, 0, 54,
        0x80, 14, 38, 0, 2, 1, 16,
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
        128, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
        0x40, 1, 1, 0,
        0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xf2,
    ];
    assert_eq!(bytes(&update), expected);
}

#[test]
fn withdrawals_have_prefixes_alone() {
    let mut update = Update::withdrawal(&terms(), Family::Ipv4);
    update.push(host("203.0.113.1"));
    assert_eq!(bytes(&update), [0, 28, 2, 0, 5, 32, 203, 0, 113, 1, 0, 0]);
    let mut update = Update::withdrawal(&terms(), Family::Ipv6);
    update.push(Prefix::new("2001:db8::".parse().unwrap(), 32).unwrap());
    let expected = [
        0, 34, 2, 0, 0, 0, 11, 0x80, 15, 8, 0, 2, 1, 32, 0x20, 1, 0xd, 0xb8,
    ];
    assert_eq!(bytes(&update), expected);
}

#[test]
fn ends_of_families() {
    let ipv4 = Update::end_of_rib(Family::Ipv4);
    assert_eq!(bytes(&ipv4), [0, 23, 2, 0, 0, 0, 0]);
    let ipv6 = Update::end_of_rib(Family::Ipv6);
    let expected = [0, 29, 2, 0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1];
    assert_eq!(bytes(&ipv6), expected);
}

#[test]
fn room_is_what_is_left_to_the_last_byte() {
    for family in Family::ALL {
        let (first, last) = match family {
            Family::Ipv4 => ([10, 0, 0, 0].into(), 24),
            Family::Ipv6 => ("2001:db8::".parse().unwrap(), 56),
        };
        let mut update = announcement(family, AttributesSpec::default());
        let mut room = update.room();
        // Prefixes of one byte fill what those of several leave.
        let long = Prefix::new(first, last).unwrap();
        let short = Prefix::new(first, 0).unwrap();
        while room > 0 {
            let prefix = if room >= long.encoded_len() {
                long
            } else {
                short
            };
            room -= prefix.encoded_len();
            update.push(prefix);
        }
        assert_eq!(bytes(&update).len() + 16, 4096);
    }
}
