//! Secrets and distances: who is not who it should be gets no session.

use std::time::Duration;

use lbfabric_bgp::{AttributesSpec, Hops, State};

use crate::namespace::Namespace;
use crate::network::{Network, Over, all_at_once, throughout, until};
use crate::node::{Node, PATIENCE, routes};
use crate::peering::{Dials, Peering, Setup};
use crate::router::{addresses, beside, start};

const VIP: &str = "203.0.113.1";
const PREFIX: &str = "203.0.113.1/32";

/// Addresses of each kind, whoever dials.
fn ways(kind: &str, run: impl Fn(Over, Dials) + Sync) {
    let both = |over| [Dials::Node, Dials::Router].map(|dials| (over, dials));
    let ways = addresses(kind).into_iter().flat_map(both);
    all_at_once(ways, |(over, dials)| run(over, dials));
}

/// The router learns nothing by the node's setup, since packets are dropped, as a counter of one of both kernels proves; in which
/// state the node is then.
fn does_not_meet(kind: &str, peering: Peering, setup: Setup, counter: &str) -> State {
    let network = Network::new(1);
    let router = start(kind, &network, &[peering]);
    let node = Node::start(&network.nodes[0], setup);
    node.announce(routes(&[VIP], &AttributesSpec::default()));
    let places = [&network.nodes[0], &network.router];
    until(counter, PATIENCE, || {
        let seen = places.map(|place| count(place, counter));
        (seen != [0, 0]).then_some(()).ok_or_else(|| router.state())
    });
    throughout("no route", Duration::from_millis(500), || {
        let paths = router.paths(PREFIX);
        paths.is_empty().then_some(()).ok_or(format!("{paths:?}"))
    });
    node.report().state
}

/// There is one if both sides do as they have agreed.
fn meets(kind: &str, peering: Peering) {
    let network = Network::new(1);
    let router = start(kind, &network, &[peering]);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    node.announce(routes(&[VIP], &AttributesSpec::default()));
    router.until_path(PREFIX, |_| true);
}

/// TCP-MD5 (RFC 2385).
fn needs_the_secret(kind: &str) {
    ways(kind, |over, dials| {
        let peering = Peering {
            over,
            dials,
            secret: Some("secret"),
            ..Peering::PLAIN
        };
        let mut other = peering.setup(0);
        other.transport.md5_secret = Some(b"another".to_vec());
        let state = does_not_meet(kind, peering, other, "TCPMD5Failure");
        assert_ne!(state, State::Established);
        meets(kind, peering);
    });
}
beside!(needs_the_secret: bird, frr, gobgp);

/// GTSM (RFC 5082): packets that leave with a TTL of 1, as those of an external neighbor do otherwise, are too far away.
fn needs_the_distance(kind: &str) {
    ways(kind, |over, dials| {
        let peering = Peering {
            over,
            dials,
            hops: Hops::Proven(1),
            ..Peering::PLAIN
        };
        let mut unproven = peering.setup(0);
        unproven.transport.hops = Hops::Link;
        // A router may read our OPEN before it asks for proofs.
        let _state = does_not_meet(kind, peering, unproven, "TCPMinTTLDrop");
        meets(kind, peering);
    });
}
beside!(needs_the_distance: bird, frr, gobgp);

/// As above, where the router is the one that proves nothing.
fn has_to_prove_its_distance(kind: &str) {
    let mut setup = Peering::PLAIN.setup(0);
    setup.transport.hops = Hops::Proven(1);
    let state = does_not_meet(kind, Peering::PLAIN, setup, "TCPMinTTLDrop");
    assert_ne!(state, State::Established);
}
beside!(has_to_prove_its_distance: bird, frr, gobgp);

/// One of the kernel's counters of TCP.
fn count(namespace: &Namespace, name: &str) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/netstat");
    let file = namespace.within(|| read().expect("it is there"));
    let mut lines = file.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        panic!("the kernel tells no counters");
    };
    let mut both = names.split(' ').zip(values.split(' '));
    let found = both.find(|(it, _)| *it == name);
    let (_, value) = found.expect("the kernel counts it");
    value.parse().expect("it is a number")
}
