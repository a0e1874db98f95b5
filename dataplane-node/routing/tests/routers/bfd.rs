//! BFD with routers that have it.

use std::time::Duration;

use lbfabric_bgp::bfd::State as BfdState;
use lbfabric_bgp::{AttributesSpec, GracefulRestart, Hops, State};

use crate::network::{Network, Over, throughout, until};
use crate::node::{Node, PATIENCE, routes};
use crate::peering::Peering;
use crate::process::Monitor;
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
        until_bfd(&*router, node, number);
    }
    (router, nodes)
}

/// Waits until both ends have agreed on the times.
fn until_bfd(router: &dyn BfdRouter, node: &Node, number: usize) {
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

/// An agent that gives BFD to the next one takes no route from the router, nor from its kernel, for a moment; and the next one is noticed like
/// the first when it is lost.
fn keeps_routes_while_an_agent_is_replaced(kind: &str) {
    for hops in [Hops::Link, Hops::UpTo(8)] {
        let peering = Peering {
            hops,
            has_bfd: true,
            restart_time_secs: Some(20),
            ..Peering::PLAIN
        };
        let network = Network::new(1);
        let (router, mut nodes) = met(kind, &network, peering);
        let kernel = || network.router.ip(&["route", "show", VIP]);
        until("the kernel's route", PATIENCE, || {
            let route = kernel();
            (!route.is_empty()).then_some(()).ok_or(route)
        });
        let monitor = Monitor::start(&network.router);
        let mut old = nodes.pop().expect("there is one");
        let handed = old.hand_over();
        // Longer than the router waits for a packet.
        throughout("the route without an agent", Duration::from_secs(1), || {
            (!kernel().is_empty())
                .then_some(())
                .ok_or_else(|| router.state())
        });
        let mut setup = peering.setup(0);
        setup.spec.graceful_restart = Some(GracefulRestart {
            restart_time_secs: 20,
            has_restarted: true,
        });
        let announced = routes(&[VIP], &AttributesSpec::default());
        let new = Node::resume(&network.nodes[0], setup, announced, handed);
        drop(old);
        new.until_established(1);
        until_bfd(&*router, &new, 0);
        throughout(
            "the route with the new agent",
            Duration::from_secs(2),
            || {
                (!kernel().is_empty())
                    .then_some(())
                    .ok_or_else(|| router.state())
            },
        );
        assert_eq!(new.report().sessions, 1, "{:?}", new.report());
        let seen = monitor.seen();
        assert!(!seen.contains(&format!("Deleted {VIP}")), "{seen}");
        network.cut(0);
        let gone = until("no route in the kernel's table", SOON, || {
            let route = kernel();
            route.is_empty().then_some(()).ok_or(route)
        });
        eprintln!("{kind}, {hops:?}: gone {gone:?} after the cut");
        new.until_tells(6, 10);
    }
}
beside!(keeps_routes_while_an_agent_is_replaced: bird, frr);

/// Why BFD goes on in the next agent, instead of telling the router that its end is meant (RFC 5882 section 4.2): bird (2.0.12) takes that
/// for a loss, and does not keep routes.
fn takes_admin_down_for_a_loss(kind: &str) {
    let peering = Peering {
        has_bfd: true,
        restart_time_secs: Some(20),
        ..Peering::PLAIN
    };
    let network = Network::new(1);
    let (router, mut nodes) = met(kind, &network, peering);
    nodes[0].fall_silent();
    let router: &dyn Router = &*router;
    let gone = router.until_no_path(PREFIX, SOON);
    eprintln!("{kind}: gone {gone:?} after the word");
}
beside!(takes_admin_down_for_a_loss: bird);

/// What the kernel leaves of an agent that is killed: connections end, and BFD falls silent.
fn killed(kind: &str) -> (Network, Box<dyn BfdRouter>) {
    let peering = Peering {
        has_bfd: true,
        restart_time_secs: Some(20),
        ..Peering::PLAIN
    };
    let network = Network::new(1);
    let (router, mut nodes) = met(kind, &network, peering);
    let mut node = nodes.pop().expect("there is one");
    drop(node.hand_over());
    (network, router)
}

/// An agent that is killed takes its routes with it in spite of graceful restart.
fn withdraws_when_an_agent_is_killed(kind: &str) {
    let (_network, router) = killed(kind);
    let router: &dyn Router = &*router;
    let gone = router.until_no_path(PREFIX, SOON);
    eprintln!("{kind}: gone {gone:?} after the agent");
}
beside!(withdraws_when_an_agent_is_killed: bird);

/// FRR (8.4) ends BFD with the session, so that it cannot be lost any more: graceful restart counts alone.
fn keeps_routes_when_an_agent_is_killed(kind: &str) {
    let (_network, router) = killed(kind);
    throughout("the route without an agent", Duration::from_secs(2), || {
        let is_there = router.paths(PREFIX).len() == 1;
        is_there.then_some(()).ok_or_else(|| router.state())
    });
}
beside!(keeps_routes_when_an_agent_is_killed: frr);

/// Where the router keeps no routes, its new BFD session is not taken for a loss of the one that the new agent was given.
fn begins_anew_with_a_router_that_keeps_nothing(kind: &str) {
    let peering = Peering {
        has_bfd: true,
        ..Peering::PLAIN
    };
    let network = Network::new(1);
    let (router, mut nodes) = met(kind, &network, peering);
    let mut old = nodes.pop().expect("there is one");
    let handed = old.hand_over();
    let announced = routes(&[VIP], &AttributesSpec::default());
    let new = Node::resume(&network.nodes[0], peering.setup(0), announced, handed);
    drop(old);
    new.until_established(1);
    until_bfd(&*router, &new, 0);
    throughout("the session", Duration::from_secs(2), || {
        let report = new.report();
        let is_so = report.state == State::Established && report.sessions == 1;
        is_so.then_some(()).ok_or(format!("{report:?}"))
    });
}
beside!(begins_anew_with_a_router_that_keeps_nothing: bird, frr);
