//! UPDATEs that are wrong, and what RFC 7606 makes of each.

use crate::network::{Network, all_at_once, until};
use crate::node::{Node, PATIENCE};
use crate::peering::{Peering, ROUTER_AS, Relation};
use crate::script::{KEEPALIVE, Script, UPDATE, message, update};

/// An attribute: flags, type and value.
type Attribute = (u8, u8, Vec<u8>);

/// What becomes of a default route that is announced so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is used, without what is wrong with it.
    Kept,
    /// It is taken for withdrawn.
    Withdrawn,
}

const WELL_KNOWN: u8 = 0x40;
const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0xc0;

const ORIGIN: u8 = 1;
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const MED: u8 = 4;
const LOCAL_PREF: u8 = 5;

/// The route to everywhere.
const DEFAULT: [u8; 1] = [0];

/// Attributes with which it is right.
fn right(relation: Relation, med: u32) -> Vec<Attribute> {
    let mut path = vec![2, 1];
    path.extend(ROUTER_AS.to_be_bytes());
    let is_internal = relation == Relation::Internal;
    vec![
        (WELL_KNOWN, ORIGIN, vec![0]),
        (WELL_KNOWN, AS_PATH, if is_internal { vec![] } else { path }),
        (WELL_KNOWN, NEXT_HOP, vec![192, 0, 2, 254]),
        (OPTIONAL, MED, med.to_be_bytes().to_vec()),
    ]
}

fn encoded(attributes: &[Attribute]) -> Vec<u8> {
    let one = |(flags, kind, value): &Attribute| {
        let length = u8::try_from(value.len()).expect("it is short");
        [&[*flags, *kind, length], value.as_slice()].concat()
    };
    attributes.iter().flat_map(one).collect()
}

/// What the route is taken for withdrawn for, from any neighbor.
fn grave() -> Vec<(&'static str, Wrong)> {
    use Wrong::{Raw, Without};
    let path = |bytes| instead(WELL_KNOWN, AS_PATH, bytes);
    vec![
        ("ORIGIN of no meaning", instead(WELL_KNOWN, ORIGIN, &[3])),
        ("ORIGIN of two bytes", instead(WELL_KNOWN, ORIGIN, &[0, 0])),
        ("ORIGIN as an option", instead(TRANSITIVE, ORIGIN, &[0])),
        ("no ORIGIN", Without(ORIGIN)),
        ("no AS_PATH", Without(AS_PATH)),
        ("no NEXT_HOP", Without(NEXT_HOP)),
        (
            "AS_PATH of an unknown kind",
            path(&[9, 1, 0, 0, 0xfd, 0xfc]),
        ),
        ("AS_PATH of nothing", path(&[2, 0])),
        ("AS_PATH that is cut", path(&[2, 2, 0, 0, 0xfd, 0xfc])),
        ("a short NEXT_HOP", instead(WELL_KNOWN, NEXT_HOP, &[192, 0])),
        ("MED of three bytes", instead(OPTIONAL, MED, &[0, 0, 1])),
        ("MED as well known", instead(WELL_KNOWN, MED, &[0, 0, 0, 1])),
        ("a short community", added(TRANSITIVE, 8, &[1, 2, 3])),
        ("no communities", added(TRANSITIVE, 8, &[])),
        ("a short extended one", added(TRANSITIVE, 16, &[0; 7])),
        ("a short large one", added(TRANSITIVE, 32, &[0; 11])),
        ("beyond the end", Raw(vec![TRANSITIVE, 8, 8, 0, 0, 0, 1])),
        ("half an attribute", Raw(vec![TRANSITIVE, 8])),
    ]
}

/// What is left out, from any neighbor.
fn slight() -> Vec<(&'static str, Wrong)> {
    vec![
        ("ATOMIC_AGGREGATE of a byte", added(WELL_KNOWN, 6, &[0])),
        ("AGGREGATOR of seven bytes", added(TRANSITIVE, 7, &[0; 7])),
        ("an unknown option", added(OPTIONAL, 240, &[1, 2, 3])),
        ("an unknown one to pass on", added(TRANSITIVE, 241, &[])),
        ("ORIGIN twice, then wrong", added(WELL_KNOWN, ORIGIN, &[9])),
    ]
}

/// Changes of right attributes, and what comes of each.
fn rows(relation: Relation) -> Vec<(&'static str, Fate, Wrong)> {
    // What only neighbors within the AS may say (RFC 7606 sections 7.5, 7.9 and 7.10).
    let inside = vec![
        ("a short LOCAL_PREF", added(WELL_KNOWN, LOCAL_PREF, &[0, 1])),
        ("a short ORIGINATOR_ID", added(OPTIONAL, 9, &[1, 2, 3])),
        ("a short CLUSTER_LIST", added(OPTIONAL, 10, &[1, 2, 3])),
    ];
    let of_inside = match relation {
        Relation::External => Fate::Kept,
        Relation::Internal => Fate::Withdrawn,
    };
    let with = |fate, rows: Vec<(&'static str, Wrong)>| {
        let row = move |(what, wrong)| (what, fate, wrong);
        rows.into_iter().map(row)
    };
    with(Fate::Withdrawn, grave())
        .chain(with(Fate::Kept, slight()))
        .chain(with(of_inside, inside))
        .collect()
}

fn instead(flags: u8, kind: u8, value: &[u8]) -> Wrong {
    Wrong::Instead(flags, kind, value.to_vec())
}

fn added(flags: u8, kind: u8, value: &[u8]) -> Wrong {
    Wrong::Added(flags, kind, value.to_vec())
}

/// What is wrong with an UPDATE's attributes.
enum Wrong {
    Instead(u8, u8, Vec<u8>),
    Added(u8, u8, Vec<u8>),
    Without(u8),
    Raw(Vec<u8>),
}

impl Wrong {
    fn applied(self, mut attributes: Vec<Attribute>) -> Vec<u8> {
        let mut raw = vec![];
        match self {
            Self::Instead(flags, kind, value) => {
                for attribute in &mut attributes {
                    if attribute.1 == kind {
                        *attribute = (flags, kind, value.clone());
                    }
                }
            }
            Self::Added(flags, kind, value) => attributes.push((flags, kind, value)),
            Self::Without(kind) => attributes.retain(|it| it.1 != kind),
            Self::Raw(bytes) => raw = bytes,
        }
        [encoded(&attributes), raw].concat()
    }
}

fn met(network: &Network, relation: Relation) -> (Node, Script) {
    let peering = Peering {
        relation,
        gives_default: true,
        ..Peering::PLAIN
    };
    let listener = Script::listen(network);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    let mut script = Script::accept(&listener);
    script.meet(peering.router_as());
    (node, script)
}

/// The default route's MED, once so many UPDATEs have been read.
fn med_after(node: &Node, updates: u64) -> Option<u32> {
    until("the UPDATE is read", PATIENCE, || {
        let report = node.report();
        (report.imports.updates == updates)
            .then_some(())
            .ok_or(format!("{report:?}"))
    });
    node.report().default_routes.ipv4.and_then(|it| it.med)
}

#[test]
fn an_error_costs_a_route_at_most() {
    all_at_once([Relation::External, Relation::Internal], |relation| {
        let network = Network::new(1);
        let (node, mut script) = met(&network, relation);
        let mut updates = 0;
        for (number, (what, fate, wrong)) in (1..).zip(rows(relation)) {
            let good = encoded(&right(relation, number));
            script.send(&update(&[], &good, &DEFAULT));
            updates += 1;
            assert_eq!(med_after(&node, updates), Some(number), "before {what}");
            let bad = wrong.applied(right(relation, 1_000 + number));
            script.send(&update(&[], &bad, &DEFAULT));
            updates += 1;
            let expected = (fate == Fate::Kept).then_some(1_000 + number);
            let known = med_after(&node, updates);
            assert_eq!(known, expected, "{relation:?}: {what}");
        }
        let report = node.report();
        assert_eq!(report.sessions, 1, "{report:?}");
    });
}

/// What cannot be read at all, and the NOTIFICATION that says so.
fn unreadable() -> Vec<(&'static str, (u8, u8), Vec<u8>)> {
    let good = encoded(&right(Relation::External, 1));
    let with = |attributes: &[Attribute], announced: &[u8]| {
        let all = [good.clone(), encoded(attributes)].concat();
        update(&[], &all, announced)
    };
    // AFI 2, SAFI 1, a next hop of 16 bytes, a reserved byte, and prefixes.
    let reach = |prefixes: &[u8]| {
        let mut value = vec![0, 2, 1, 16, 0x20, 1, 0xd, 0xb8];
        value.resize(20, 0);
        value.push(0);
        value.extend(prefixes);
        (OPTIONAL, 14, value)
    };
    let unreach = (OPTIONAL, 15, vec![0, 2, 1]);
    let short_hop = (OPTIONAL, 14, vec![0, 2, 1, 3, 1, 2, 3, 0, 0]);
    vec![
        (
            "withdrawn routes beyond the message",
            (3, 1),
            message(UPDATE, &[0, 9, 0, 0]),
        ),
        (
            "attributes beyond the message",
            (3, 1),
            message(UPDATE, &[0, 0, 0, 9, 0]),
        ),
        (
            "a prefix of 33 bits",
            (3, 10),
            with(&[], &[33, 192, 0, 2, 0, 0]),
        ),
        ("a prefix that is cut", (3, 10), with(&[], &[24, 192, 0])),
        (
            "a withdrawn prefix of 33 bits",
            (3, 10),
            update(&[33, 192, 0, 2, 0, 0], &[], &[]),
        ),
        (
            "MP_REACH_NLRI twice",
            (3, 1),
            with(&[reach(&[0]), reach(&[0])], &[]),
        ),
        (
            "MP_UNREACH_NLRI twice",
            (3, 1),
            with(&[unreach.clone(), unreach], &[]),
        ),
        (
            "MP_REACH_NLRI with a prefix of 129 bits",
            (3, 9),
            with(&[reach(&[129, 0])], &[]),
        ),
        (
            "MP_REACH_NLRI that is cut",
            (3, 5),
            with(&[(OPTIONAL, 14, vec![0, 2])], &[]),
        ),
        (
            "MP_REACH_NLRI with a short next hop",
            (3, 9),
            with(&[short_hop], &[]),
        ),
        (
            "MP_UNREACH_NLRI with a prefix of 129 bits",
            (3, 9),
            with(&[(OPTIONAL, 15, vec![0, 2, 1, 129, 0])], &[]),
        ),
        (
            "an unknown well-known attribute",
            (3, 2),
            with(&[(WELL_KNOWN, 99, vec![])], &DEFAULT),
        ),
    ]
}

#[test]
fn what_cannot_be_read_ends_the_session() {
    all_at_once(unreadable(), |(what, codes, bytes)| {
        let network = Network::new(1);
        let (node, mut script) = met(&network, Relation::External);
        node.until_established(1);
        script.send(&bytes);
        assert_eq!(script.until_end(), Some(codes), "{what}");
        node.until_tells(codes.0, codes.1);
    });
}

/// A session goes on beside a family that it has not agreed on, and of which nothing can be read.
#[test]
fn what_is_not_for_us_is_left_alone() {
    let network = Network::new(1);
    let (node, mut script) = met(&network, Relation::External);
    let attributes = [
        right(Relation::External, 1),
        // AFI 25 (layer-2 VPN) and SAFI 70, with what only they understand.
        vec![(OPTIONAL, 15, vec![0, 25, 70, 1, 2, 3])],
    ];
    script.send(&update(&[], &encoded(&attributes.concat()), &DEFAULT));
    assert_eq!(med_after(&node, 1), Some(1));
    script.send(&message(KEEPALIVE, &[]));
    script.send(&update(&DEFAULT, &[], &[]));
    assert_eq!(med_after(&node, 2), None);
    assert_eq!(node.report().sessions, 1);
}
