//! As many VIPs as a node may have.

use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbfabric_bgp::{Attributes, AttributesSpec, Prefix};
use lbfabric_routing::Routes;

use crate::network::{Network, Over, until};
use crate::node::Node;
use crate::peering::Peering;
use crate::router::{beside, start};
use crate::script::{KEEPALIVE, Script, UPDATE, message, open_for_ends};

const COUNT: usize = 100_000;

fn many() -> Routes {
    let attributes = Arc::new(Attributes::try_from(AttributesSpec::default()).expect("it is few"));
    let first = Ipv4Addr::new(100, 64, 0, 0).to_bits();
    let vip = |address| {
        let address = IpAddr::from(Ipv4Addr::from_bits(address));
        (Prefix::host(address), Arc::clone(&attributes))
    };
    let prefixes: BTreeMap<_, _> = (first..).map(vip).take(COUNT).collect();
    Routes {
        prefixes,
        ..Routes::default()
    }
}

/// All of them get to the router, and go again.
fn learns_a_hundred_thousand_vips(kind: &str) {
    let network = Network::new(1);
    let peering = Peering::PLAIN;
    let router = start(kind, &network, &[peering]);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    node.until_established(1);
    let begin = Instant::now();
    node.announce(many());
    let sent = until("all are sent", Duration::from_mins(1), || {
        let report = node.report();
        let is_sent = report.sent == COUNT && report.is_settled;
        is_sent.then_some(()).ok_or(format!("{report:?}"))
    });
    router.until_count(COUNT);
    let known = begin.elapsed();
    let begin = Instant::now();
    node.announce(Routes::default());
    router.until_count(0);
    let gone = begin.elapsed();
    eprintln!(
        "{kind}: {COUNT} VIPs sent after {sent:?}, known after {known:?}, gone after {gone:?}"
    );
    assert_eq!(node.report().sessions, 1);
}
beside!(learns_a_hundred_thousand_vips: bird, frr);

/// All of them come before the mark of their end (RFC 4724 section 2), behind which a router that has kept others drops them.
#[test]
fn a_first_session_begins_with_all_vips() {
    const END_OF_IPV4: [u8; 4] = [0; 4];
    /// A length and an address.
    const PREFIX_LEN: usize = 5;
    let network = Network::new(1);
    let listener = Script::listen(&network);
    // The first one's session is at work elsewhere while the second one's begins.
    let second = Peering {
        over: Over::Ipv6,
        ..Peering::PLAIN
    };
    let setups = [Peering::PLAIN, second].map(|it| it.setup(0));
    let _node = Node::start_all(&network.nodes[0], setups, many());
    let mut script = Script::accept(&listener);
    script.send(&open_for_ends());
    script.send(&message(KEEPALIVE, &[]));
    let updates = iter::repeat_with(|| script.until(UPDATE));
    let before: usize = updates
        .take_while(|it| *it != END_OF_IPV4)
        .map(|it| it.len())
        .sum();
    assert!(before > COUNT * PREFIX_LEN, "{before} bytes");
}
