use super::*;

fn neighbor(name: &str, address: &str) -> v1::BgpNeighborSpec {
    v1::BgpNeighborSpec {
        name: name.to_owned(),
        address: address.to_owned(),
        asn: 65_020,
        ..v1::BgpNeighborSpec::default()
    }
}

fn spec(neighbors: Vec<v1::BgpNeighborSpec>) -> v1::BgpSpec {
    v1::BgpSpec {
        asn: 65_010,
        router_id: "192.0.2.1".to_owned(),
        neighbors,
        ..v1::BgpSpec::default()
    }
}

fn parse(spec: &v1::BgpSpec) -> Result<Bgp, Vec<String>> {
    let mut violations = Vec::new();
    let parsed = Bgp::parse(spec, "bgp", &mut violations);
    parsed
        .filter(|_| violations.is_empty())
        .ok_or_else(|| violations.into_iter().map(|it| it.path).collect())
}

/// Where a neighbor is refused; nothing if it is not.
fn refused(change: impl FnOnce(&mut v1::BgpNeighborSpec)) -> Vec<String> {
    let mut router = neighbor("r", "192.0.2.254");
    change(&mut router);
    parse(&spec(vec![router])).err().unwrap_or_default()
}

#[test]
fn defaults_are_filled_in_and_stay() {
    let bgp = parse(&spec(vec![neighbor("r", "192.0.2.254")])).unwrap();
    assert_eq!((bgp.listen_port.get(), bgp.drain_secs), (179, 10));
    let router = &bgp.neighbors[0];
    assert_eq!((router.port.get(), router.hold_time_secs), (179, 90));
    assert_eq!((router.hops.get(), router.families.len()), (1, 2));
    assert_eq!(router.graceful_restart_secs, None);
    let mut known = bgp.clone();
    known.keep_passwords(None);
    assert_eq!(parse(&known.to_spec()), Ok(known));
}

#[test]
fn what_a_neighbor_may_not_be() {
    assert_eq!(refused(|_| ()), [""; 0]);
    for (change, field) in [
        ((|it| it.asn = 0) as fn(&mut v1::BgpNeighborSpec), "asn"),
        (|it| it.asn = 23_456, "asn"),
        (|it| it.name = "Router".to_owned(), "name"),
        (|it| it.address = "224.0.0.1".to_owned(), "address"),
        (|it| it.address = "fe80::1".to_owned(), "interface"),
        (|it| it.interface = "a/b".to_owned(), "interface"),
        (|it| it.interface = "x".repeat(16), "interface"),
        (|it| it.port = 65_536, "port"),
        (
            |it| it.local_address = "2001:db8::1".to_owned(),
            "local_address",
        ),
        (|it| it.md5_password = Some("x".repeat(81)), "md5_password"),
        (|it| it.hold_time_secs = 2, "hold_time_secs"),
        (|it| it.hold_time_secs = 65_536, "hold_time_secs"),
        (|it| it.hops = 256, "hops"),
        (|it| it.families = vec![0], "families[0]"),
        (|it| it.families = vec![1, 1], "families[1]"),
        (
            |it| it.graceful_restart_secs = 4_096,
            "graceful_restart_secs",
        ),
        (
            |it| it.next_hops = vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()],
            "next_hops[1]",
        ),
        (
            |it| it.next_hops = vec!["fe80::1".to_owned()],
            "next_hops[0]",
        ),
        (
            |it| {
                it.bfd = Some(v1::BfdSpec {
                    interval_ms: 9,
                    ..v1::BfdSpec::default()
                });
            },
            "bfd.interval_ms",
        ),
        (
            |it| {
                it.bfd = Some(v1::BfdSpec {
                    multiplier: 256,
                    ..v1::BfdSpec::default()
                });
            },
            "bfd.multiplier",
        ),
    ] {
        assert_eq!(refused(change), [format!("bgp.neighbors[0].{field}")]);
    }
}

#[test]
fn neighbors_are_told_apart() {
    let on = |name: &str, interface: &str| v1::BgpNeighborSpec {
        interface: interface.to_owned(),
        ..neighbor(name, "fe80::1")
    };
    assert!(parse(&spec(vec![on("a", "eth0"), on("b", "eth1")])).is_ok());
    let same_link = parse(&spec(vec![on("a", "eth0"), on("b", "eth0")]));
    assert_eq!(same_link, Err(vec!["bgp.neighbors[1].address".to_owned()]));
    let same_name = spec(vec![neighbor("a", "192.0.2.2"), neighbor("a", "192.0.2.3")]);
    let expected = Err(vec!["bgp.neighbors[1].name".to_owned()]);
    assert_eq!(parse(&same_name), expected);
    let none = parse(&spec(vec![]));
    assert_eq!(none, Err(vec!["bgp.neighbors".to_owned()]));
}

#[test]
fn what_the_speaker_may_not_be() {
    let with = |change: fn(&mut v1::BgpSpec)| {
        let mut spec = spec(vec![neighbor("r", "192.0.2.254")]);
        change(&mut spec);
        parse(&spec).err().unwrap_or_default()
    };
    assert_eq!(with(|it| it.asn = 0), ["bgp.asn"]);
    assert_eq!(with(|it| it.router_id = String::new()), ["bgp.router_id"]);
    let nobody = with(|it| it.router_id = "0.0.0.0".to_owned());
    assert_eq!(nobody, ["bgp.router_id"]);
    assert_eq!(with(|it| it.listen_port = 65_536), ["bgp.listen_port"]);
    assert_eq!(with(|it| it.drain_secs = 3_601), ["bgp.drain_secs"]);
    let twice = with(|it| {
        let aggregate = v1::BgpAggregateSpec {
            prefix: "203.0.113.0/24".to_owned(),
            summary_only: false,
        };
        it.aggregates = vec![aggregate.clone(), aggregate];
    });
    assert_eq!(twice, ["bgp.aggregates[1].prefix"]);
}

#[test]
fn a_secret_stays_until_it_is_taken_away() {
    let with = |password: Option<&str>| {
        let router = v1::BgpNeighborSpec {
            md5_password: password.map(str::to_owned),
            ..neighbor("r", "192.0.2.254")
        };
        parse(&spec(vec![router])).unwrap()
    };
    let secret = |bgp: &Bgp| {
        let secret = bgp.neighbors[0].md5_password.secret();
        secret.map(|it| it.as_bytes().to_vec())
    };
    let mut first = with(Some("hush"));
    first.keep_passwords(None);
    let mut again = with(None);
    again.keep_passwords(Some(&first));
    assert_eq!(again, first);
    assert!(again.other_passwords(&first).is_empty());
    let mut other = with(Some("other"));
    other.keep_passwords(Some(&first));
    assert_eq!(secret(&other), Some(b"other".to_vec()));
    let changes = other.other_passwords(&first);
    assert_eq!(changes[0].path, "bgp.neighbors.r.md5_password");
    let mut none = with(Some(""));
    none.keep_passwords(Some(&first));
    assert_eq!(secret(&none), None);
    let mut new = with(None);
    new.keep_passwords(None);
    assert_eq!(new.neighbors[0].md5_password, Md5Password::None);
}

#[test]
fn a_secret_is_not_shown() {
    let router = v1::BgpNeighborSpec {
        md5_password: Some("hush-hush".to_owned()),
        ..neighbor("r", "192.0.2.254")
    };
    let bgp = parse(&spec(vec![router])).unwrap();
    let written = bgp.to_spec();
    assert_eq!(
        written.neighbors[0].md5_password.as_deref(),
        Some("hush-hush")
    );
    assert_eq!(bgp.without_passwords().neighbors[0].md5_password, None);
    let mut fields = Fields::default();
    bgp.fields(&mut fields);
    let changes = Fields::default().changes(&fields);
    let shown = format!("{bgp:?} {written:?} {changes:?}");
    assert!(shown.contains("a secret"), "{shown}");
    assert!(
        !shown.contains("hush") && !shown.contains("104, 117"),
        "{shown}"
    );
}
