//! Graceful restart (RFC 4724).

use std::time::Duration;

use lbfabric_bgp::{AttributesSpec, GracefulRestart};

use crate::network::{Network, throughout};
use crate::node::{Node, PATIENCE, routes};
use crate::peering::{Peering, Setup};
use crate::router::{beside, start};

const VIPS: [&str; 2] = ["203.0.113.1", "2001:db8:1::1"];
const KEPT: &str = "203.0.113.1/32";
const LEFT_OUT: &str = "2001:db8:1::1/128";

const PEERING: Peering = Peering {
    restart_time_secs: Some(20),
    ..Peering::PLAIN
};

fn restarted() -> Setup {
    let mut setup = PEERING.setup(0);
    setup.spec.graceful_restart = Some(GracefulRestart {
        restart_time_secs: 20,
        has_restarted: true,
    });
    setup
}

/// An agent that goes without a word leaves its routes in the router. The next one takes over, and what it does not say again is gone.
fn keeps_routes_while_an_agent_restarts(kind: &str) {
    let network = Network::new(1);
    let router = start(kind, &network, &[PEERING]);
    let node = Node::start(&network.nodes[0], PEERING.setup(0));
    node.announce(routes(&VIPS, &AttributesSpec::default()));
    for prefix in [KEPT, LEFT_OUT] {
        router.until_path(prefix, |_| true);
    }
    drop(node);
    throughout("routes without an agent", Duration::from_secs(2), || {
        let known = [KEPT, LEFT_OUT].map(|prefix| router.paths(prefix).len());
        (known == [1, 1])
            .then_some(())
            .ok_or_else(|| router.state())
    });
    let left = routes(&VIPS[..1], &AttributesSpec::default());
    let node = Node::start_with_routes(&network.nodes[0], restarted(), left);
    node.until_established(1);
    router.until_no_path(LEFT_OUT, PATIENCE);
    assert_eq!(router.paths(KEPT).len(), 1, "{}", router.state());
}
beside!(keeps_routes_while_an_agent_restarts: bird, frr, gobgp);

/// One that says good-bye takes its routes with it.
fn keeps_nothing_after_a_good_bye(kind: &str) {
    let network = Network::new(1);
    let router = start(kind, &network, &[PEERING]);
    let mut node = Node::start(&network.nodes[0], PEERING.setup(0));
    node.announce(routes(&VIPS, &AttributesSpec::default()));
    for prefix in [KEPT, LEFT_OUT] {
        router.until_path(prefix, |_| true);
    }
    node.shut_down();
    for prefix in [KEPT, LEFT_OUT] {
        router.until_no_path(prefix, Duration::from_secs(5));
    }
}
beside!(keeps_nothing_after_a_good_bye: bird, frr, gobgp);

/// Without the option routes go with the session.
fn keeps_nothing_unless_asked(kind: &str) {
    let network = Network::new(1);
    let router = start(kind, &network, &[PEERING]);
    let mut setup = PEERING.setup(0);
    setup.spec.graceful_restart = None;
    let node = Node::start(&network.nodes[0], setup);
    node.announce(routes(&VIPS, &AttributesSpec::default()));
    for prefix in [KEPT, LEFT_OUT] {
        router.until_path(prefix, |_| true);
    }
    drop(node);
    for prefix in [KEPT, LEFT_OUT] {
        router.until_no_path(prefix, Duration::from_secs(5));
    }
}
beside!(keeps_nothing_unless_asked: bird, frr, gobgp);
