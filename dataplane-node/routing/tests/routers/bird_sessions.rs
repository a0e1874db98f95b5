use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbfabric_bgp::{Attributes, AttributesSpec, End, Hops, Prefix, State};
use lbfabric_routing::Routes;

use crate::bird::Bird;
use crate::network::{Network, until};
use crate::node::{LOCAL_AS, Node, Setup, routes};

const IPV4_VIP: &str = "203.0.113.1";
const IPV6_VIP: &str = "2001:db8:1::1";
const IPV4: &str = "203.0.113.1/32";
const IPV6: &str = "2001:db8:1::1/128";
const SOON: Duration = Duration::from_secs(10);

/// One neighbor of bird's, whose own AS is this one.
fn neighbor(own_as: u32, local: &str, peer: &str, more: &str) -> String {
    format!(
        "protocol bgp lb {{ local {local} as {own_as}; neighbor {peer} as {LOCAL_AS}; connect delay time 1; {more} \
         ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}"
    )
}

fn over_ipv4(own_as: u32, more: &str) -> String {
    neighbor(own_as, "192.0.2.254", "192.0.2.1", more)
}

#[test]
fn an_external_neighbor_learns_changes_and_withdrawals_of_both_families() {
    let network = Network::new(1);
    let bird = Bird::start(&network.router, &over_ipv4(65_020, "passive on;"));
    let mut node = Node::start(&network.nodes[0], Setup::of(0).done());
    let mut spec = AttributesSpec {
        med: Some(7),
        prepend: 1,
        communities: vec![LOCAL_AS * 0x1_0000 + 42],
        large_communities: vec![(LOCAL_AS, 1, 2)],
        ..AttributesSpec::default()
    };
    node.announce(routes(&[IPV4_VIP, IPV6_VIP], &spec));
    let shared = [
        "BGP.med: 7",
        "BGP.as_path: 65010 65010",
        "(65010,42)",
        "(65010, 1, 2)",
    ];
    bird.until_route(IPV4, &[&shared[..], &["via 192.0.2.1"]].concat());
    bird.until_route(IPV6, &[&shared[..], &["via 2001:db8::1"]].concat());
    let report = node.report();
    assert_eq!(
        (report.state, report.sent, report.sessions),
        (State::Established, 2, 1)
    );
    assert_eq!(node.sent().len(), 2);
    spec.med = Some(8);
    node.announce(routes(&[IPV4_VIP, IPV6_VIP], &spec));
    bird.until_route(IPV6, &["BGP.med: 8"]);
    node.announce(routes(&[IPV6_VIP], &spec));
    bird.until_no_route(IPV4, SOON);
    bird.until_route(IPV6, &["BGP.med: 8"]);
    node.shut_down();
    bird.until_no_route(IPV6, SOON);
    let said = bird.ask("show protocols all lb");
    assert!(said.contains("Administrative shutdown"), "{said}");
}

#[test]
fn an_internal_neighbor_over_ipv6_that_dials_us() {
    let network = Network::new(1);
    let own = neighbor(LOCAL_AS, "2001:db8::254", "2001:db8::1", "");
    let bird = Bird::start(&network.router, &own);
    let mut setup = Setup::of(0).over_ipv6(0);
    setup.spec.peer_as = LOCAL_AS;
    setup.spec.is_passive = true;
    let node = Node::start(&network.nodes[0], setup.done());
    let spec = AttributesSpec {
        local_preference: Some(250),
        ..AttributesSpec::default()
    };
    node.announce(routes(&[IPV4_VIP, IPV6_VIP], &spec));
    bird.until_route(IPV4, &["BGP.local_pref: 250", "via 192.0.2.1"]);
    bird.until_route(IPV6, &["BGP.local_pref: 250", "via 2001:db8::1"]);
    let (local, _) = node.report().addresses.unwrap();
    assert_eq!(local.port(), 179, "the neighbor has dialled");
}

#[test]
fn a_secret_is_needed_in_both_directions() {
    let bird_side = |more| over_ipv4(65_020, &format!("password \"secret\"; {more}"));
    for (is_passive, more) in [(false, "passive on;"), (true, "")] {
        let network = Network::new(1);
        let bird = Bird::start(&network.router, &bird_side(more));
        let setup = |secret: Option<&str>| {
            let mut setup = Setup::of(0);
            setup.spec.is_passive = is_passive;
            setup.transport.md5_secret = secret.map(|it| it.as_bytes().to_vec());
            setup.done()
        };
        let node = Node::start(&network.nodes[0], setup(Some("other")));
        node.announce(routes(&[IPV4_VIP], &AttributesSpec::default()));
        // What is dropped in the kernel is counted there, which proves that a try has been made.
        let place = if is_passive {
            &network.nodes[0]
        } else {
            &network.router
        };
        until("a wrong secret is seen", Duration::from_secs(30), || {
            let seen = counter(place, "TCPMD5Failure");
            (seen > 0).then_some(()).ok_or(format!("{seen} packets"))
        });
        assert_ne!(node.report().state, State::Established);
        assert_eq!(bird.route(IPV4), "");
        node.configure(setup(Some("secret")));
        bird.until_route(IPV4, &[]);
    }
}

/// One of the kernel's counters of TCP.
fn counter(namespace: &crate::namespace::Namespace, name: &str) -> u64 {
    let file = namespace
        .within(|| std::fs::read_to_string("/proc/thread-self/net/netstat").expect("it is there"));
    let mut lines = file.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next(), lines.next());
    let (Some(names), Some(values)) = (names, values) else {
        panic!("the kernel tells no counters");
    };
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both
        .find(|(it, _)| *it == name)
        .expect("the kernel counts it");
    value.parse().expect("it is a number")
}

#[test]
fn the_ttl_proves_the_distance() {
    for (is_passive, more) in [(false, "passive on;"), (true, "")] {
        let network = Network::new(1);
        let own = over_ipv4(65_020, &format!("ttl security on; {more}"));
        let bird = Bird::start(&network.router, &own);
        let mut setup = Setup::of(0);
        setup.spec.is_passive = is_passive;
        setup.transport.hops = Hops::Proven(1);
        let node = Node::start(&network.nodes[0], setup.done());
        node.announce(routes(&[IPV4_VIP], &AttributesSpec::default()));
        bird.until_route(IPV4, &[]);
    }
    // Packets that leave with a TTL of 1 prove nothing to us.
    let network = Network::new(1);
    let bird = Bird::start(&network.router, &over_ipv4(65_020, "passive on;"));
    let mut setup = Setup::of(0);
    setup.transport.hops = Hops::Proven(1);
    let node = Node::start(&network.nodes[0], setup.done());
    node.announce(routes(&[IPV4_VIP], &AttributesSpec::default()));
    until(
        "packets from too far are seen",
        Duration::from_secs(30),
        || {
            let seen = counter(&network.nodes[0], "TCPMinTTLDrop");
            (seen > 0).then_some(()).ok_or(format!("{seen} packets"))
        },
    );
    assert_ne!(node.report().state, State::Established);
    assert_eq!(bird.route(IPV4), "");
}

#[test]
fn sessions_begin_again_after_a_reset_of_either_side() {
    let network = Network::new(1);
    let bird = Bird::start(&network.router, &over_ipv4(65_020, ""));
    let node = Node::start(&network.nodes[0], Setup::of(0).done());
    node.announce(routes(&[IPV4_VIP], &AttributesSpec::default()));
    bird.until_route(IPV4, &[]);
    bird.ask("restart lb");
    until("the session ends", SOON, || {
        let end = node.report().last_end;
        let is_told = matches!(&end, Some((_, End::Received(it))) if it.code() == 6);
        is_told.then_some(()).ok_or(format!("{end:?}"))
    });
    until("another session", Duration::from_mins(1), || {
        let report = node.report();
        let is_up = report.state == State::Established && report.sessions >= 2;
        is_up.then_some(()).ok_or(format!("{report:?}"))
    });
    bird.until_route(IPV4, &[]);
    node.reset();
    until("bird hears of it", SOON, || {
        let said = bird.ask("show protocols all lb");
        let is_told = said.contains("Administrative reset") || said.contains("a test wants it");
        is_told.then_some(()).ok_or(said)
    });
    bird.until_route(IPV4, &[]);
}

#[test]
fn a_hundred_thousand_vips_reach_the_router() {
    let network = Network::new(1);
    let bird = Bird::start(&network.router, &over_ipv4(65_020, "passive on;"));
    let node = Node::start(&network.nodes[0], Setup::of(0).done());
    until("a session", Duration::from_secs(30), || {
        let report = node.report();
        (report.state == State::Established)
            .then_some(())
            .ok_or(format!("{report:?}"))
    });
    let attributes = Arc::new(Attributes::try_from(AttributesSpec::default()).unwrap());
    let first = Ipv4Addr::new(100, 64, 0, 0).to_bits();
    let vip = |number| {
        let address = IpAddr::from(Ipv4Addr::from_bits(first + number));
        (Prefix::host(address), Arc::clone(&attributes))
    };
    let prefixes: BTreeMap<_, _> = (0..100_000).map(vip).collect();
    let start = Instant::now();
    node.announce(Routes {
        prefixes,
        ..Routes::default()
    });
    let sent = until("all are sent", Duration::from_mins(1), || {
        let report = node.report();
        let is_sent = report.sent == 100_000 && report.is_settled;
        is_sent.then_some(()).ok_or(format!("{report:?}"))
    });
    until("all are in bird's table", Duration::from_mins(1), || {
        // It goes through its tables for that, and does nothing else meanwhile.
        std::thread::sleep(Duration::from_millis(200));
        let said = bird.ask("show route count");
        said.contains("100001 of 100001 routes for 100001 networks in table master4")
            .then_some(())
            .ok_or(said)
    });
    eprintln!(
        "100,000 VIPs sent after {sent:?}, in bird's table after {:?}",
        start.elapsed()
    );
    assert!(node.report().is_settled);
    let start = Instant::now();
    node.announce(Routes::default());
    until("all are gone", Duration::from_mins(1), || {
        // It goes through its tables for that, and does nothing else meanwhile.
        std::thread::sleep(Duration::from_millis(200));
        let said = bird.ask("show route count");
        said.contains("1 of 1 routes for 1 networks in table master4")
            .then_some(())
            .ok_or(said)
    });
    eprintln!("and gone after {:?}", start.elapsed());
}
