//! BFD with routers that have it.

use std::time::Duration;

use lbfabric_bgp::bfd::State as BfdState;
use lbfabric_bgp::{AttributesSpec, Hops, State};

use crate::network::{Network, Over, throughout, until};
use crate::node::{Node, PATIENCE, routes};
use crate::peering::Peering;
use crate::router::{BfdRouter, Router, beside, start_with_bfd};

const VIP: &str = "203.0.113.1";
const PREFIX: &str = "203.0.113.1/32";
/// Far less than the hold time of 90 s, and far more than BFD needs on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// A router and nodes that have BFD beside their sessions.
fn met(kind: &str, network: &Network, peering: Peering) -> (Box<dyn BfdRouter>, Vec<Node>) {
    let numbers = 0..network.nodes.len();
    let peerings: Vec<_> = numbers.clone().map(|_| peering).collect();
    let router = start_with_bfd(kind, network, &peerings);
    let start = |number: usize| {
        let node = Node::start(&network.nodes[number], peering.setup(number));
        node.announce(routes(&[VIP], &AttributesSpec::default()));
        node
    };
    let nodes: Vec<Node> = numbers.map(start).collect();
    for (number, node) in nodes.iter().enumerate() {
        until("BFD at both ends", PATIENCE, || {
            let rows = node.bfd();
            let is_up = rows.iter().any(|row| {
                let ends = [row.state, row.partner_state];
                ends == [BfdState::Up; 2] && row.detection_micros == Some(150_000)
            });
            (is_up && router.is_bfd_up(number))
                .then_some(())
                .ok_or_else(|| format!("{rows:?} {:?} {}", node.report(), router.state()))
        });
    }
    (router, nodes)
}

/// Both sides notice a cut in a fraction of the hold time, and we say why we end the session.
fn notices_a_silent_loss(kind: &str) {
    for over in Over::ALL {
        for hops in [Hops::Link, Hops::UpTo(8)] {
            if over == Over::LinkLocal && hops != Hops::Link {
                continue;
            }
            let peering = Peering {
                over,
                hops,
                has_bfd: true,
                ..Peering::PLAIN
            };
            let network = Network::new(1);
            let (router, nodes) = met(kind, &network, peering);
            let router: &dyn Router = &*router;
            router.until_path(PREFIX, |_| true);
            network.cut(0);
            let gone = router.until_no_path(PREFIX, SOON);
            eprintln!("{kind}, {over:?}, {hops:?}: gone {gone:?} after the cut");
            nodes[0].until_tells(6, 10);
        }
    }
}
beside!(notices_a_silent_loss: bird, frr);

/// That the router's operator ends BFD alone is no loss: the session goes on (RFC 5882 section 4.2). bird (2.0.12) is not in this
/// row: it falls silent without a word, which nobody can tell from a loss.
fn is_not_lost_when_it_ends_bfd(kind: &str) {
    for hops in [Hops::Link, Hops::UpTo(8)] {
        let peering = Peering {
            hops,
            has_bfd: true,
            ..Peering::PLAIN
        };
        let network = Network::new(1);
        let (router, nodes) = met(kind, &network, peering);
        router.stop_bfd();
        until("BFD is over", PATIENCE, || {
            let rows = nodes[0].bfd();
            let is_up = rows.iter().any(|row| row.state == BfdState::Up);
            (!is_up)
                .then_some(())
                .ok_or_else(|| format!("{rows:?} {}", router.state()))
        });
        throughout("the session", Duration::from_secs(1), || {
            let report = nodes[0].report();
            let is_so = report.state == State::Established && report.sessions == 1;
            is_so.then_some(()).ok_or(format!("{report:?}"))
        });
        assert_eq!(router.paths(PREFIX).len(), 1);
    }
}
beside!(is_not_lost_when_it_ends_bfd: frr);

/// That we end BFD is none either: the router hears of it, and has the next session without.
fn does_not_lose_us_when_we_end_bfd(kind: &str) {
    let peering = Peering {
        has_bfd: true,
        ..Peering::PLAIN
    };
    let network = Network::new(1);
    let (router, nodes) = met(kind, &network, peering);
    let mut setup = peering.setup(0);
    setup.bfd = None;
    nodes[0].configure(setup);
    until("BFD is over at the router", PATIENCE, || {
        (!router.is_bfd_up(0))
            .then_some(())
            .ok_or_else(|| router.state())
    });
    nodes[0].until_established(1);
    let router: &dyn Router = &*router;
    router.until_path(PREFIX, |_| true);
    throughout("the session", Duration::from_secs(1), || {
        let report = nodes[0].report();
        let is_so = report.state == State::Established && report.sessions == 1;
        is_so.then_some(()).ok_or(format!("{report:?}"))
    });
}
beside!(does_not_lose_us_when_we_end_bfd: bird, frr);

/// The router's kernel balances between two nodes, and leaves the one that is lost.
fn leaves_the_lost_one_of_two_nodes(kind: &str) {
    let network = Network::new(2);
    let peering = Peering {
        has_bfd: true,
        ..Peering::PLAIN
    };
    let (router, nodes) = met(kind, &network, peering);
    let kernel = || network.router.ip(&["route", "show", VIP]);
    let has = |route: &str| ["192.0.2.1 ", "192.0.2.2 "].map(|hop| route.contains(hop));
    until("both in the kernel's table", PATIENCE, || {
        let route = kernel();
        (has(&route) == [true, true])
            .then_some(())
            .ok_or_else(|| format!("{route}{}", router.state()))
    });
    network.cut(0);
    let left = until("one in the kernel's table", SOON, || {
        let route = kernel();
        (has(&route) == [false, true]).then_some(()).ok_or(route)
    });
    eprintln!("{kind}: the kernel's route left the lost node {left:?} after the cut");
    assert_eq!(nodes[1].report().state, State::Established);
}
beside!(leaves_the_lost_one_of_two_nodes: bird, frr);
