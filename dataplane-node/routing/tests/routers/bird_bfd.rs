use std::time::Duration;

use lbfabric_bgp::bfd::State as BfdState;
use lbfabric_bgp::{AttributesSpec, End, Hops, State};
use lbfabric_routing::BfdTimers;

use crate::bird::Bird;
use crate::network::{Network, until};
use crate::node::{LOCAL_AS, Node, Setup, routes};

const VIP: &str = "203.0.113.1";
const PREFIX: &str = "203.0.113.1/32";
/// Far less than the hold time of 90 s, and far more than BFD needs on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn bird_side(nodes: usize, more: &str) -> String {
    let timers = "interval 50 ms; multiplier 3;";
    let neighbor = |number| {
        format!(
            "protocol bgp lb{number} {{ local 192.0.2.254 as 65020; neighbor 192.0.2.{number} as {LOCAL_AS}; passive on; bfd on; {more} \
             ipv4 {{ import all; export none; }}; }}"
        )
    };
    let neighbors: Vec<String> = (1..=nodes).map(neighbor).collect();
    let links = format!("interface \"eth0\" {{ {timers} }}; multihop {{ {timers} }};");
    format!("protocol bfd {{ {links} }} {}", neighbors.join(" "))
}

fn start(network: &Network, number: usize, hops: Hops) -> Node {
    let mut setup = Setup::of(number);
    setup.spec.families.ipv6 = false;
    setup.transport.hops = hops;
    setup.bfd = Some(BfdTimers::DEFAULT);
    let node = Node::start(&network.nodes[number], setup.done());
    node.announce(routes(&[VIP], &AttributesSpec::default()));
    node
}

fn until_bfd_up(node: &Node) {
    until("BFD is up", Duration::from_secs(30), || {
        let rows = node.bfd();
        let is_up = rows.iter().any(|row| {
            row.state == BfdState::Up
                && row.partner_state == BfdState::Up
                && row.detection_micros == Some(150_000)
        });
        is_up
            .then_some(())
            .ok_or(format!("{rows:?} {:?}", node.report()))
    });
}

/// Both sides notice in a fraction of the hold time, and we say why we end the session.
fn loss_is_noticed(hops: Hops, more: &str) {
    let network = Network::new(1);
    let bird = Bird::start(&network.router, &bird_side(1, more));
    let node = start(&network, 0, hops);
    bird.until_route(PREFIX, &[]);
    until_bfd_up(&node);
    network.cut(0);
    let gone = bird.until_no_route(PREFIX, SOON);
    eprintln!("bird's route was gone {gone:?} after the cut");
    until("our session ends", SOON, || {
        let report = node.report();
        let is_over = report.state != State::Established
            && matches!(&report.last_end, Some((_, End::Sent(it))) if it.code() == 6 && it.subcode() == 10);
        is_over.then_some(()).ok_or(format!("{report:?}"))
    });
}

#[test]
fn a_silent_loss_on_the_link_is_noticed_at_once() {
    loss_is_noticed(Hops::Link, "");
}

#[test]
fn a_silent_loss_over_several_hops_is_noticed_at_once() {
    loss_is_noticed(Hops::UpTo(8), "multihop 8;");
}

#[test]
fn the_router_balances_between_two_nodes_and_leaves_the_lost_one() {
    let network = Network::new(2);
    let bird = Bird::start(&network.router, &bird_side(2, ""));
    let nodes = [0, 1].map(|number| start(&network, number, Hops::Link));
    nodes.iter().for_each(until_bfd_up);
    let kernel = || network.router.ip(&["route", "show", VIP]);
    let has = |route: &str| ["192.0.2.1 ", "192.0.2.2 "].map(|hop| route.contains(hop));
    until(
        "both in the kernel's table",
        Duration::from_secs(30),
        || {
            let route = kernel();
            (has(&route) == [true, true])
                .then_some(())
                .ok_or(format!("{route}{}", bird.route(PREFIX)))
        },
    );
    network.cut(0);
    let left = until("one in the kernel's table", SOON, || {
        let route = kernel();
        (has(&route) == [false, true]).then_some(()).ok_or(route)
    });
    eprintln!("the kernel's route left the lost node {left:?} after the cut");
    assert_eq!(nodes[1].report().state, State::Established);
}
