//! How sessions begin, end and begin again.

use std::time::Duration;

use lbfabric_bgp::{AttributesSpec, State};
use lbfabric_routing::Routes;

use crate::network::{Network, all_at_once, throughout};
use crate::node::{Node, PATIENCE, routes};
use crate::peering::{Dials, Peering};
use crate::router::{Router, addresses, beside, start};

const VIP: &str = "203.0.113.1";
const PREFIX: &str = "203.0.113.1/32";

fn a_route() -> Routes {
    routes(&[VIP], &AttributesSpec::default())
}

/// A router and a node that have a session.
fn met(kind: &str, network: &Network, peering: Peering) -> (Box<dyn Router>, Node) {
    let router = start(kind, network, &[peering]);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    node.announce(a_route());
    router.until_path(PREFIX, |_| true);
    (router, node)
}

/// Whoever dials, there is one session.
fn meets_either_way(kind: &str) {
    let of = |over| [Dials::Router, Dials::Both].map(|dials| (over, dials));
    all_at_once(addresses(kind).into_iter().flat_map(of), |(over, dials)| {
        let network = Network::new(1);
        let peering = Peering {
            over,
            dials,
            ..Peering::PLAIN
        };
        let (_router, node) = met(kind, &network, peering);
        let (local, _) = node.report().addresses.expect("there is a session");
        let is_dialled = local.port() == 179;
        assert!(is_dialled || dials == Dials::Both, "the router has dialled");
    });
}
beside!(meets_either_way: bird, frr, gobgp);

/// Each reason of ours gets to the router with its codes, and there is a session again.
fn hears_why_we_end_sessions(kind: &str) {
    let network = Network::new(1);
    let peering = Peering::PLAIN;
    let (router, node) = met(kind, &network, peering);
    node.reset();
    router.until_heard(6, 4);
    node.until_established(1);
    // The router has to have it too: FRR forgets why a session ended that it was only about to have.
    router.until_path(PREFIX, |_| true);
    let mut setup = peering.setup(0);
    setup.spec.hold_time_secs = 60;
    node.configure(setup);
    router.until_heard(6, 6);
    node.until_established(1);
    let negotiated = node.report().negotiated.expect("there is a session");
    assert_eq!(negotiated.hold_time_secs, 60);
    router.until_path(PREFIX, |_| true);
    node.forget();
    router.until_heard(6, 3);
    router.until_no_path(PREFIX, PATIENCE);
    node.configure(peering.setup(0));
    router.until_path(PREFIX, |_| true);
}
beside!(hears_why_we_end_sessions: bird, frr, gobgp);

/// We hear the router's reasons, and there is a session again unless it was shut down.
fn tells_why_it_ends_sessions(kind: &str) {
    let network = Network::new(1);
    let (router, node) = met(kind, &network, Peering::PLAIN);
    router.reset();
    node.until_told(6, 4);
    node.until_established(2);
    router.until_path(PREFIX, |_| true);
    router.shut_down();
    node.until_told(6, 2);
    assert_ne!(node.report().state, State::Established);
    let network = Network::new(1);
    let (router, node) = met(kind, &network, Peering::PLAIN);
    router.forget();
    node.until_told(6, 3);
}
beside!(tells_why_it_ends_sessions: bird, frr, gobgp);

/// With the shortest hold time there is, a session lasts while there is a link, and not much longer.
fn keeps_the_shortest_hold_time(kind: &str) {
    let network = Network::new(1);
    let peering = Peering {
        hold_time_secs: 3,
        ..Peering::PLAIN
    };
    let (router, node) = met(kind, &network, peering);
    let negotiated = node.report().negotiated.expect("there is a session");
    assert_eq!(negotiated.hold_time_secs, 3);
    throughout("the session", Duration::from_secs(7), || {
        let report = node.report();
        let is_so = report.state == State::Established && report.sessions == 1;
        is_so.then_some(()).ok_or(format!("{report:?}"))
    });
    network.cut(0);
    let gone = router.until_no_path(PREFIX, Duration::from_secs(6));
    eprintln!("{kind}: gone {gone:?} after the cut, with a hold time of 3 s");
    node.until_tells(4, 0);
}
beside!(keeps_the_shortest_hold_time: bird, frr, gobgp);
