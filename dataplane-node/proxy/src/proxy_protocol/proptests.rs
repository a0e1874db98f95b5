use std::net::{IpAddr, SocketAddr};

use proptest::{collection::vec, option, prelude::*};

use super::{Extras, Header, HeaderRefusal, Origin, Tls, Version, read, write};

/// Extras that are owned.
#[derive(Clone, Debug)]
struct Said {
    alpn: Option<Vec<u8>>,
    authority: Option<String>,
    unique_id: Option<Vec<u8>>,
    tls: Option<([bool; 4], [Option<String>; 5])>,
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of("[ -~äöüß]{0,60}")
}

fn said() -> impl Strategy<Value = Said> {
    let tls = option::of((any::<[bool; 4]>(), [text(), text(), text(), text(), text()]));
    let bytes = || option::of(vec(any::<u8>(), 0..=128));
    (bytes(), text(), bytes(), tls).prop_map(|(alpn, authority, unique_id, tls)| Said {
        alpn,
        authority,
        unique_id,
        tls,
    })
}

impl Said {
    fn extras(&self) -> Extras<'_> {
        let tls = self.tls.as_ref().map(|(facts, texts)| Tls {
            is_used: facts[0],
            has_certificate: facts[1],
            has_certificate_in_session: facts[2],
            is_verified: facts[3],
            version: texts[0].as_deref(),
            common_name: texts[1].as_deref(),
            cipher: texts[2].as_deref(),
            signature: texts[3].as_deref(),
            key: texts[4].as_deref(),
        });
        Extras {
            alpn: self.alpn.as_deref(),
            authority: self.authority.as_deref(),
            unique_id: self.unique_id.as_deref(),
            tls,
        }
    }
}

fn origin() -> impl Strategy<Value = Origin> {
    let of = |(client, service): (IpAddr, IpAddr), ports: (u16, u16), is_datagram| Origin::Client {
        client: SocketAddr::new(client, ports.0),
        service: SocketAddr::new(service, ports.1),
        is_datagram,
    };
    let ipv4 = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let ipv6 = any::<([u16; 8], [u16; 8])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    prop_oneof![
        Just(Origin::Proxy),
        Just(Origin::Unknown),
        (prop_oneof![ipv4, ipv6], any::<(u16, u16)>(), any::<bool>())
            .prop_map(move |(addresses, ports, is_datagram)| of(addresses, ports, is_datagram)),
    ]
}

/// What of a header a version can say.
fn sayable(version: Version, origin: Origin, extras: Extras<'_>) -> Header<'_> {
    let (origin, extras) = match (version, origin) {
        (Version::One, Origin::Proxy | Origin::Unknown) => (Origin::Unknown, Extras::default()),
        (
            Version::One,
            Origin::Client {
                client, service, ..
            },
        ) => {
            let origin = Origin::Client {
                client,
                service,
                is_datagram: false,
            };
            (origin, Extras::default())
        }
        (Version::Two, Origin::Proxy | Origin::Unknown) => (origin, Extras::default()),
        (Version::Two, Origin::Client { .. }) => (origin, extras),
    };
    Header {
        version,
        origin,
        extras,
    }
}

proptest! {
    /// What was written is read again, and nothing behind it.
    #[test]
    fn written_headers_are_read_as_they_were(
        is_two in any::<bool>(),
        origin in origin(),
        said in said(),
        behind in vec(any::<u8>(), 0..40),
    ) {
        let version = if is_two { Version::Two } else { Version::One };
        let header = Header { version, origin, extras: said.extras() };
        let mut bytes = b"before".to_vec();
        write(&mut bytes, &header);
        let bytes = bytes.split_off(6);
        let whole = [&bytes[..], &behind].concat();
        let expected = sayable(version, origin, said.extras());
        prop_assert_eq!(read(&whole), Ok(Some((expected, bytes.len()))));
        for count in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..count]), Ok(None));
        }
    }

    /// One changed byte gives another header or none, never a longer way to read.
    #[test]
    fn changed_headers_stay_within_their_bytes(
        origin in origin(),
        said in said(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        write(&mut bytes, &Header { version: Version::Two, origin, extras: said.extras() });
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some((_, length))) = read(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}

#[test]
fn both_addresses_are_of_one_family() {
    let client = "192.0.2.1:7".parse().unwrap();
    let service = "[2001:db8::1]:8".parse().unwrap();
    for version in [Version::One, Version::Two] {
        for (client, service, expected) in [
            (client, service, ("[::ffff:192.0.2.1]:7", "[2001:db8::1]:8")),
            (service, client, ("[2001:db8::1]:8", "[::ffff:192.0.2.1]:7")),
        ] {
            let origin = Origin::Client {
                client,
                service,
                is_datagram: false,
            };
            let extras = Extras::default();
            let header = Header {
                version,
                origin,
                extras,
            };
            let mut bytes = Vec::new();
            write(&mut bytes, &header);
            let (header, _) = read(&bytes).unwrap().unwrap();
            let expected = Origin::Client {
                client: expected.0.parse().unwrap(),
                service: expected.1.parse().unwrap(),
                is_datagram: false,
            };
            assert_eq!(header.origin, expected);
        }
    }
}

/// A length of 16 bits does not lie, whatever there is to say.
#[test]
fn what_is_too_long_is_left_out() {
    let long = "x".repeat(100_000);
    let extras = Extras {
        alpn: Some(long.as_bytes()),
        authority: Some(&long),
        unique_id: Some(&long.as_bytes()[..129]),
        tls: Some(Tls {
            is_used: true,
            common_name: Some(&long),
            cipher: Some("c"),
            ..Tls::default()
        }),
    };
    let address = "192.0.2.1:7".parse().unwrap();
    let origin = Origin::Client {
        client: address,
        service: address,
        is_datagram: false,
    };
    let header = Header {
        version: Version::Two,
        origin,
        extras,
    };
    let mut bytes = Vec::new();
    write(&mut bytes, &header);
    let (header, length) = read(&bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    let tls = Tls {
        is_used: true,
        cipher: Some("c"),
        ..Tls::default()
    };
    let expected = Extras {
        tls: Some(tls),
        ..Extras::default()
    };
    assert_eq!(header.extras, expected);
    assert_eq!(read(b"x"), Err(HeaderRefusal::Missing));
}
