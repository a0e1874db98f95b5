//! Messages out of place, and connections that meet.

use std::net::Ipv4Addr;

use crate::network::{Network, all_at_once};
use crate::node::Node;
use crate::peering::{Peering, ROUTER_AS};
use crate::script::{KEEPALIVE, OPEN, Script, UPDATE, message, open, right_open};

const ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// What comes first, and the NOTIFICATION that answers it (RFC 4271 section 6, RFC 6608).
fn first_words() -> Vec<(&'static str, (u8, u8), Vec<u8>)> {
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = right_open();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let mut marker = message(KEEPALIVE, &[]);
    marker[0] = 0;
    let mut long = message(KEEPALIVE, &[0]);
    long[17] = 20;
    let mut short = right_open();
    short.truncate(28);
    short[17] = 28;
    let mut without_families = open(ROUTER_AS, ID, 90);
    // The families' AFIs are of something else then.
    without_families[34] = 25;
    without_families[40] = 25;
    vec![
        ("a marker that is none", (1, 1), marker),
        ("a KEEPALIVE with something in it", (1, 2), long),
        ("an OPEN that is too short", (1, 2), short),
        ("a message of no type", (1, 3), message(9, &[])),
        ("version 3", (2, 1), changed(19, &[3])),
        ("another AS", (2, 2), open(65_099, ID, 90)),
        (
            "no identifier",
            (2, 3),
            open(ROUTER_AS, Ipv4Addr::UNSPECIFIED, 90),
        ),
        ("a hold time of 2 s", (2, 6), open(ROUTER_AS, ID, 2)),
        ("no family in common", (2, 7), without_families),
        (
            "an UPDATE before the OPEN",
            (5, 1),
            message(UPDATE, &[0; 4]),
        ),
        (
            "a KEEPALIVE before the OPEN",
            (5, 1),
            message(KEEPALIVE, &[]),
        ),
        (
            "an OPEN and an UPDATE",
            (5, 2),
            [right_open(), message(UPDATE, &[0; 4])].concat(),
        ),
        ("two OPENs", (5, 2), [right_open(), right_open()].concat()),
        (
            "an OPEN in a session",
            (5, 3),
            [right_open(), message(KEEPALIVE, &[]), right_open()].concat(),
        ),
    ]
}

#[test]
fn the_answer_to_a_wrong_beginning_says_what_is_wrong() {
    all_at_once(first_words(), |(what, codes, bytes)| {
        let network = Network::new(1);
        let listener = Script::listen(&network);
        let _node = Node::start(&network.nodes[0], Peering::PLAIN.setup(0));
        let mut script = Script::accept(&listener);
        script.send(&bytes);
        assert_eq!(script.until_end(), Some(codes), "{what}");
    });
}

/// Of two connections the one stays that the router with the higher identifier has made (RFC 4271 section 6.8).
#[test]
fn of_two_connections_one_stays() {
    let lower = Ipv4Addr::new(1, 1, 1, 1);
    all_at_once([(ID, true), (lower, false)], |(id, is_theirs)| {
        let network = Network::new(1);
        let listener = Script::listen(&network);
        let node = Node::start(&network.nodes[0], Peering::PLAIN.setup(0));
        let mut ours = Script::accept(&listener);
        ours.until(OPEN);
        let mut theirs = Script::dial(&network);
        theirs.until(OPEN);
        ours.send(&open(ROUTER_AS, id, 90));
        ours.until(KEEPALIVE);
        theirs.send(&open(ROUTER_AS, id, 90));
        let (mut stays, mut goes) = if is_theirs {
            (theirs, ours)
        } else {
            (ours, theirs)
        };
        assert_eq!(goes.until_end(), Some((6, 7)), "{id}");
        stays.send(&message(KEEPALIVE, &[]));
        node.until_established(1);
        let (local, _) = node.report().addresses.expect("there is a session");
        assert_eq!(local.port() == 179, is_theirs);
    });
}

/// A connection while there is a session is refused, and the session goes on.
#[test]
fn a_second_connection_does_not_disturb_a_session() {
    let network = Network::new(1);
    let listener = Script::listen(&network);
    let node = Node::start(&network.nodes[0], Peering::PLAIN.setup(0));
    let mut first = Script::accept(&listener);
    first.meet(ROUTER_AS);
    node.until_established(1);
    let mut second = Script::dial(&network);
    second.send(&right_open());
    let told = second.until_end();
    assert!(matches!(told, None | Some((6, 5 | 7))), "{told:?}");
    let report = node.report();
    assert_eq!(report.sessions, 1);
    assert!(report.negotiated.is_some_and(|it| it.peer_as == ROUTER_AS));
}

/// Connections from elsewhere are closed before anything is said.
#[test]
fn strangers_are_told_nothing() {
    let network = Network::new(1);
    let mut peering = Peering::PLAIN.setup(0);
    peering.spec.is_passive = true;
    // The router is another one than the one that dials.
    peering.transport.peer = "192.0.2.77".parse().expect("it is an address");
    let node = Node::start(&network.nodes[0], peering);
    let mut stranger = Script::dial(&network);
    stranger.send(&right_open());
    assert_eq!(stranger.receive(), None);
    assert_eq!(node.report().last_end, None);
}
