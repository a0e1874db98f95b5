//! What routers learn of routes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use lbfabric_bgp::{
    Aggregate, AttributesChange, AttributesSpec, ExportAction, ExportRule, ExportRules, Prefix,
    State,
};
use lbfabric_routing::Routes;

use crate::network::{Network, Over, all_at_once, node_address, router_address, until};
use crate::node::{NEIGHBOR, Node, PATIENCE, routes};
use crate::path::Path;
use crate::peering::{LOCAL_AS, Peering, Relation};
use crate::router::{beside, start};

const IPV4_VIP: &str = "203.0.113.1";
const IPV6_VIP: &str = "2001:db8:1::1";
const IPV4: &str = "203.0.113.1/32";
const IPV6: &str = "2001:db8:1::1/128";

/// One that our AS gives a meaning to.
fn community(number: u32) -> u32 {
    (LOCAL_AS << 16) + number
}

/// Something of each kind.
fn everything() -> AttributesSpec {
    AttributesSpec {
        med: Some(7),
        prepend: 1,
        local_preference: Some(250),
        communities: vec![community(42), community(43)],
        // A route target of an AS with two bytes (RFC 4360 section 4).
        extended_communities: vec![(0x0002 << 48) + (u64::from(LOCAL_AS) << 32) + 7],
        large_communities: vec![(LOCAL_AS, 1, 2), (4_200_000_000, 3, 4)],
        ..AttributesSpec::default()
    }
}

/// What a router is to know of it; next hops aside.
fn known(relation: Relation) -> Path {
    let is_external = relation == Relation::External;
    Path {
        next_hops: vec![],
        asns: if is_external {
            vec![LOCAL_AS; 2]
        } else {
            vec![]
        },
        med: Some(7),
        local_preference: (!is_external).then_some(250),
        communities: BTreeSet::from([(LOCAL_AS, 42), (LOCAL_AS, 43)]),
        route_targets: BTreeSet::from([(LOCAL_AS, 7)]),
        large_communities: BTreeSet::from([(LOCAL_AS, 1, 2), (4_200_000_000, 3, 4)]),
        aggregator: None,
    }
}

fn is_known(path: &Path, relation: Relation, next_hop: IpAddr) -> bool {
    let mut expected = known(relation);
    expected.next_hops.clone_from(&path.next_hops);
    if relation == Relation::External {
        // Some routers show the one that they give to such routes.
        expected.local_preference = path.local_preference;
    }
    *path == expected && path.next_hops.first() == Some(&next_hop)
}

/// Both families over each, inside and outside of the AS: learnt, changed, withdrawn, and all gone after a good-bye.
fn learns_all_attributes(kind: &str) {
    let of = |relation| Over::ALL.map(|over| (relation, over));
    let cases = [Relation::External, Relation::Internal].map(of);
    all_at_once(cases.as_flattened(), |(relation, over)| {
        let (relation, over) = (*relation, *over);
        let peering = Peering {
            over,
            relation,
            ..Peering::PLAIN
        };
        let network = Network::new(1);
        let router = start(kind, &network, &[peering]);
        let mut node = Node::start(&network.nodes[0], peering.setup(0));
        let mut spec = everything();
        node.announce(routes(&[IPV4_VIP, IPV6_VIP], &spec));
        let next_hops = Over::ROUTED.map(|over| node_address(0, over));
        router.until_path(IPV4, |it| is_known(it, relation, next_hops[0]));
        router.until_path(IPV6, |it| is_known(it, relation, next_hops[1]));
        assert_eq!(node.sent().len(), 2);
        spec.med = Some(8);
        node.announce(routes(&[IPV4_VIP, IPV6_VIP], &spec));
        router.until_path(IPV6, |it| it.med == Some(8));
        node.announce(routes(&[IPV6_VIP], &spec));
        router.until_no_path(IPV4, PATIENCE);
        router.until_path(IPV6, |it| it.med == Some(8));
        let report = node.report();
        assert_eq!((report.state, report.sessions), (State::Established, 1));
        node.shut_down();
        router.until_no_path(IPV6, PATIENCE);
        router.until_heard(6, 2);
    });
}
beside!(learns_all_attributes: bird, frr, gobgp);

/// IPv4 routes with IPv6 next hops (RFC 8950).
fn learns_ipv4_by_ipv6_next_hops(kind: &str) {
    let peering = Peering {
        over: Over::Ipv6,
        extended_next_hop: true,
        ..Peering::PLAIN
    };
    let network = Network::new(1);
    let router = start(kind, &network, &[peering]);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    node.announce(routes(&[IPV4_VIP], &AttributesSpec::default()));
    let next_hop = node_address(0, Over::Ipv6);
    router.until_path(IPV4, |it| it.next_hops.first() == Some(&next_hop));
    node.announce(Routes::default());
    router.until_no_path(IPV4, PATIENCE);
}
beside!(learns_ipv4_by_ipv6_next_hops: bird, frr, gobgp);

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("it has a length");
    let address = address.parse().expect("it is an address");
    let length = length.parse().expect("it is a number");
    Prefix::new(address, length).expect("the family has as many bits")
}

/// An aggregate is there while there is a part of it, and says who made it.
fn learns_aggregates(kind: &str) {
    let network = Network::new(1);
    let peering = Peering::PLAIN;
    let router = start(kind, &network, &[peering]);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    let aggregate = |is_summary_only| Aggregate {
        prefix: prefix("203.0.113.0/24"),
        attributes: AttributesSpec::default().try_into().expect("they are few"),
        is_summary_only,
    };
    let with = |addresses: &[&str], is_summary_only| Routes {
        aggregates: vec![aggregate(is_summary_only)],
        ..routes(addresses, &AttributesSpec::default())
    };
    node.announce(with(&[IPV4_VIP, IPV6_VIP], false));
    let maker = ("192.0.2.1").parse().ok();
    router.until_path("203.0.113.0/24", |it| {
        it.aggregator == Some(LOCAL_AS).zip(maker)
    });
    router.until_path(IPV4, |it| it.aggregator.is_none());
    node.announce(with(&[IPV4_VIP, IPV6_VIP], true));
    router.until_no_path(IPV4, PATIENCE);
    router.until_path("203.0.113.0/24", |_| true);
    node.announce(with(&[IPV6_VIP], true));
    router.until_no_path("203.0.113.0/24", PATIENCE);
    router.until_path(IPV6, |_| true);
}
beside!(learns_aggregates: bird, frr, gobgp);

/// A node that drains says so with all of its routes before it withdraws them (RFC 8326), and takes it back.
fn learns_of_draining(kind: &str) {
    all_at_once([Relation::External, Relation::Internal], |relation| {
        let network = Network::new(1);
        let peering = Peering {
            relation,
            ..Peering::PLAIN
        };
        let router = start(kind, &network, &[peering]);
        let node = Node::start(&network.nodes[0], peering.setup(0));
        let mut wanted = routes(&[IPV4_VIP, IPV6_VIP], &AttributesSpec::default());
        let is_internal = relation == Relation::Internal;
        let is_told = |path: &Path, is_draining: bool| {
            let preference = if is_draining { 0 } else { 100 };
            let has_it = path.communities.contains(&(65_535, 0));
            has_it == is_draining && (!is_internal || path.local_preference == Some(preference))
        };
        for is_draining in [false, true, false] {
            wanted.is_draining = is_draining;
            node.announce(wanted.clone());
            for prefix in [IPV4, IPV6] {
                router.until_path(prefix, |it| is_told(it, is_draining));
            }
        }
        assert_eq!(node.report().sessions, 1);
    });
}
beside!(learns_of_draining: bird, frr, gobgp);

/// Rules for the neighbor change what it knows without a new session.
fn learns_what_rules_allow(kind: &str) {
    let network = Network::new(1);
    let peering = Peering::PLAIN;
    let router = start(kind, &network, &[peering]);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    let mut wanted = routes(&[IPV4_VIP, IPV6_VIP], &everything());
    node.announce(wanted.clone());
    for prefix in [IPV4, IPV6] {
        router.until_path(prefix, |it| it.med == Some(7));
    }
    let change = AttributesChange {
        med: Some(9),
        prepend: 1,
        communities: vec![community(44)],
        ..AttributesChange::default()
    };
    let rules = vec![
        ExportRule {
            within: prefix("203.0.113.0/24"),
            action: ExportAction::Announce(change),
        },
        ExportRule {
            within: prefix("::/0"),
            action: ExportAction::Withhold,
        },
    ];
    let rules = Arc::new(ExportRules::try_from(rules).expect("they are short"));
    wanted.exports.insert(NEIGHBOR.to_owned(), rules);
    node.announce(wanted.clone());
    router.until_no_path(IPV6, PATIENCE);
    router.until_path(IPV4, |it| {
        it.med == Some(9) && it.asns.len() == 3 && it.communities.len() == 3
    });
    wanted.exports.clear();
    node.announce(wanted);
    router.until_path(IPV6, |it| it.med == Some(7));
    router.until_path(IPV4, |it| it.med == Some(7) && it.communities.len() == 2);
    assert_eq!(node.report().sessions, 1);
}
beside!(learns_what_rules_allow: bird, frr, gobgp);

/// The router's default routes are known where they are asked for, and only then.
fn gives_default_routes(kind: &str) {
    let network = Network::new(1);
    let peering = Peering {
        gives_default: true,
        ..Peering::PLAIN
    };
    let router = start(kind, &network, &[peering]);
    let node = Node::start(&network.nodes[0], peering.setup(0));
    let next_hops = || {
        let known = node.report().default_routes;
        [known.ipv4, known.ipv6].map(|route| Some(route?.next_hop))
    };
    let expected = Some(router_address(Over::Ipv4));
    until("default routes", PATIENCE, || {
        let known = next_hops();
        // Over IPv4 routers have several ideas of an IPv6 next hop of theirs.
        let is_so = known[0] == expected && known[1].is_some();
        is_so
            .then_some(())
            .ok_or_else(|| format!("{:?} {}", node.report(), router.state()))
    });
    let mut setup = peering.setup(0);
    setup.spec.import_default = lbfabric_bgp::PerFamily::default();
    node.configure(setup);
    node.until_established(1);
    until("all of its routes", PATIENCE, || {
        let report = node.report();
        (report.imports.updates > 0)
            .then_some(())
            .ok_or(format!("{report:?}"))
    });
    assert_eq!(next_hops(), [None, None]);
}
beside!(gives_default_routes: bird, frr, gobgp);

/// Two nodes on the router's link, with nothing but addresses of the link for their sessions: IPv4 by IPv6 next hops, both ways
/// in the router's kernel (RFC 5549 as routers without numbers use it).
fn balances_between_neighbors_of_a_link(kind: &str) {
    let network = Network::new(2);
    let peering = Peering {
        over: Over::LinkLocal,
        extended_next_hop: true,
        ..Peering::PLAIN
    };
    let router = start(kind, &network, &[peering; 2]);
    let start = |number: usize| {
        let node = Node::start(&network.nodes[number], peering.setup(number));
        node.announce(routes(&[IPV4_VIP, IPV6_VIP], &AttributesSpec::default()));
        node
    };
    let nodes = [0, 1].map(start);
    router.until_paths(IPV4, |paths| paths.len() == 2);
    router.until_paths(IPV6, |paths| paths.len() == 2);
    if kind != "gobgp" {
        let kernel = || {
            let ipv4 = network.router.ip(&["route", "show", IPV4_VIP]);
            ipv4 + &network.router.ip(&["-6", "route", "show", IPV6_VIP])
        };
        until("both in the kernel's tables", PATIENCE, || {
            let known = kernel();
            let count = |hop: &str| known.matches(hop).count();
            // By what is beyond the link, or of it: routers choose.
            let both = ["::1 dev", "::2 dev"].map(count);
            (both == [2, 2])
                .then_some(())
                .ok_or_else(|| format!("{known}{}", router.state()))
        });
    }
    for node in nodes {
        let (local, _) = node.report().addresses.expect("there is a session");
        assert!(local.to_string().contains("fe80::"), "{local}");
    }
}
beside!(balances_between_neighbors_of_a_link: bird, frr, gobgp);
