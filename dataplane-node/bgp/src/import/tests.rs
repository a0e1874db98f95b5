use rustbgpd_wire::attribute::{
    AsPathSegment, MpReachNlri, MpUnreachNlri, Origin, encode_path_attributes,
};
use rustbgpd_wire::{NlriEntry, Safi};

use super::*;
use crate::open::negotiate;
use crate::testing::{LOCAL_AS, PEER_AS, peer_open, spec};
use crate::{NeighborSpec, PeerRestart};

const ROUTER: [u8; 4] = [192, 0, 2, 2];

fn at(secs: u64) -> Moment {
    Moment::after_start(Duration::from_secs(secs))
}

fn config(change: impl FnOnce(&mut NeighborSpec)) -> NeighborConfig {
    let mut spec = spec();
    spec.import_default = PerFamily::from_each(|_| true);
    change(&mut spec);
    spec.try_into().unwrap()
}

fn negotiated() -> Negotiated {
    negotiate(&config(|_| ()), &peer_open()).unwrap()
}

fn path(asns: &[u32]) -> PathAttribute {
    PathAttribute::AsPath(AsPath {
        segments: vec![AsPathSegment::AsSequence(asns.to_vec())],
    })
}

fn attributes() -> Vec<PathAttribute> {
    vec![
        PathAttribute::Origin(Origin::Igp),
        path(&[PEER_AS, 65_030]),
        PathAttribute::NextHop(ROUTER.into()),
        PathAttribute::Med(5),
    ]
}

/// An UPDATE with these attributes, and then these bytes of attributes.
fn message(
    withdrawn: &'static [u8],
    attributes: &[PathAttribute],
    more: &[u8],
    announced: &'static [u8],
) -> UpdateMessage {
    let mut bytes = vec![];
    encode_path_attributes(attributes, &mut bytes, true, false).unwrap();
    bytes.extend_from_slice(more);
    UpdateMessage {
        withdrawn_routes: withdrawn.into(),
        path_attributes: bytes.into(),
        nlri: announced.into(),
    }
}

fn default_ipv6(next_hop: &str, link_local: Option<&str>) -> PathAttribute {
    PathAttribute::MpReachNlri(Box::new(MpReachNlri {
        afi: Family::Ipv6.afi(),
        safi: Safi::Unicast,
        next_hop: next_hop.parse().unwrap(),
        link_local_next_hop: link_local.map(|it| it.parse().unwrap()),
        announced: vec![entry("::", 0)],
        flowspec_announced: vec![],
        evpn_announced: vec![],
        bgpls_announced: vec![],
        vpn_announced: vec![],
        labeled_announced: vec![],
        rtc_announced: vec![],
    }))
}

fn withdrawn_ipv6(withdrawn: Vec<NlriEntry>) -> PathAttribute {
    PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi: Family::Ipv6.afi(),
        safi: Safi::Unicast,
        withdrawn,
        flowspec_withdrawn: vec![],
        evpn_withdrawn: vec![],
        bgpls_withdrawn: vec![],
        vpn_withdrawn: vec![],
        labeled_withdrawn: vec![],
        rtc_withdrawn: vec![],
    }))
}

fn entry(address: &str, length: u8) -> NlriEntry {
    NlriEntry {
        path_id: 0,
        prefix: Prefix::new(address.parse().unwrap(), length)
            .unwrap()
            .to_wire(),
    }
}

fn feed(imports: &mut Imports, message: &UpdateMessage) -> Vec<DefaultRouteChange> {
    let changes = imports.update(&config(|_| ()), &negotiated(), message);
    changes.unwrap()
}

fn known() -> Imports {
    let mut imports = Imports::default();
    let changes = feed(&mut imports, &message(&[], &attributes(), &[], &[0]));
    assert_eq!(changes.len(), 1);
    imports
}

#[test]
fn only_a_default_route_is_kept() {
    let mut imports = Imports::default();
    let announced = message(&[], &attributes(), &[], &[24, 10, 0, 0, 0]);
    let route = DefaultRoute {
        next_hop: ROUTER.into(),
        local_preference: None,
        path_length: 2,
        med: Some(5),
    };
    let change = |route| DefaultRouteChange {
        family: Family::Ipv4,
        route,
    };
    assert_eq!(feed(&mut imports, &announced), [change(Some(route))]);
    assert_eq!(feed(&mut imports, &announced), []);
    let other = message(&[24, 10, 0, 0], &[], &[], &[]);
    assert_eq!(feed(&mut imports, &other), []);
    let withdrawn = message(&[0], &[], &[], &[]);
    assert_eq!(feed(&mut imports, &withdrawn), [change(None)]);
    assert_eq!(imports.counts().updates, 4);
}

#[test]
fn not_unless_it_is_asked_for() {
    let mut imports = Imports::default();
    let silent = config(|it| it.import_default.ipv4 = false);
    let announced = message(&[], &attributes(), &[], &[0]);
    let changes = imports.update(&silent, &negotiated(), &announced);
    assert_eq!(changes, Ok(vec![]));
}

#[test]
fn ipv6_by_the_address_on_the_link() {
    let mut imports = Imports::default();
    let reach = default_ipv6("2001:db8::2", Some("fe80::2"));
    let attributes = [reach, attributes().remove(0), path(&[PEER_AS])];
    let changes = feed(&mut imports, &message(&[], &attributes, &[], &[]));
    let next_hop = changes[0].route.map(|route| route.next_hop);
    assert_eq!(changes[0].family, Family::Ipv6);
    assert_eq!(next_hop, "fe80::2".parse().ok());
    let gone = [withdrawn_ipv6(vec![entry("::", 0)])];
    let changes = feed(&mut imports, &message(&[], &gone, &[], &[]));
    assert_eq!(changes[0].route, None);
}

#[test]
fn paths_that_must_not_be_used() {
    let usable = |config: &NeighborConfig, asns: &[u32]| {
        let mut attributes = attributes();
        attributes[1] = path(asns);
        attributes.push(PathAttribute::LocalPref(7));
        let mut imports = Imports::default();
        let message = message(&[], &attributes, &[], &[0]);
        let changes = imports.update(config, &negotiated(), &message).unwrap();
        changes.first().and_then(|change| change.route)
    };
    let outside = config(|_| ());
    assert!(usable(&outside, &[PEER_AS, 1]).is_some());
    assert_eq!(
        usable(&outside, &[PEER_AS, 1]).unwrap().local_preference,
        None
    );
    assert_eq!(usable(&outside, &[PEER_AS, LOCAL_AS]), None);
    assert_eq!(usable(&outside, &[65_030, PEER_AS]), None);
    let lenient = config(|it| it.enforce_first_as = false);
    assert!(usable(&lenient, &[65_030, PEER_AS]).is_some());
    let inside = config(|it| it.peer_as = it.local_as);
    let route = usable(&inside, &[65_030]).unwrap();
    assert_eq!(route.local_preference, Some(7));
}

#[test]
fn an_error_in_an_attribute_withdraws_its_routes() {
    // ORIGIN of two bytes, ORIGIN 9, a path that ends early, communities of three bytes, no path at all.
    let broken: [(&[PathAttribute], &[u8]); 5] = [
        (&attributes()[1..], &[0x40, 1, 2, 0, 0]),
        (&attributes()[1..], &[0x40, 1, 1, 9]),
        (
            &[attributes()[0].clone(), attributes()[2].clone()],
            &[0x40, 2, 3, 2, 1, 0],
        ),
        (&attributes(), &[0xc0, 8, 3, 0, 0, 0]),
        (&[attributes()[0].clone(), attributes()[2].clone()], &[]),
    ];
    for (attributes, more) in broken {
        let mut imports = known();
        let changes = feed(&mut imports, &message(&[], attributes, more, &[0]));
        assert_eq!(changes.len(), 1, "{more:?}");
        assert_eq!(changes[0].route, None);
        assert_eq!(imports.counts().treated_as_withdrawn, 1);
    }
}

#[test]
fn an_error_that_decides_nothing_is_left_out() {
    // ATOMIC_AGGREGATE with a value.
    let mut imports = Imports::default();
    let discarded = message(&[], &attributes(), &[0x40, 6, 1, 0], &[0]);
    assert_eq!(feed(&mut imports, &discarded).len(), 1);
    assert_eq!(imports.counts().attributes_discarded, 1);
}

#[test]
fn an_error_in_prefixes_ends_the_session() {
    let refusal = |message: &UpdateMessage| {
        let refused = known().update(&config(|_| ()), &negotiated(), message);
        refused.map_err(|it| (it.code(), it.subcode()))
    };
    let long = message(&[], &attributes(), &[], &[33, 1, 2, 3, 4, 5]);
    assert_eq!(refusal(&long), Err((3, 10)));
    let short = message(&[24, 1], &[], &[], &[]);
    assert_eq!(refusal(&short), Err((3, 10)));
    // MP_UNREACH_NLRI twice.
    let twice = [0x80, 15, 3, 0, 2, 1, 0x80, 15, 3, 0, 2, 1];
    assert_eq!(refusal(&message(&[], &[], &twice, &[])), Err((3, 1)));
    // It claims to be one that everybody knows (RFC 4271 section 6.3).
    let unknown = message(&[], &attributes(), &[0x40, 99, 1, 7], &[0]);
    assert_eq!(refusal(&unknown), Err((3, 2)));
}

#[test]
fn other_families_are_neither_read_nor_taken_for_marks() {
    // Withdrawn routes of EVPN that nobody could read.
    let evpn = [0x80, 15, 6, 0, 25, 70, 1, 2, 3];
    let mut imports = known();
    imports.end(at(1), &restarting(true), true);
    imports.begin(&restarting(true));
    assert_eq!(feed(&mut imports, &message(&[], &[], &evpn, &[])), []);
    assert!(imports.route(Family::Ipv4).is_some());
    let end = message(&[], &[], &[], &[]);
    assert_eq!(feed(&mut imports, &end).len(), 1);
    // A default route of a family that was not agreed on.
    let reach = default_ipv6("2001:db8::2", None);
    let attributes = [reach, attributes().remove(0), path(&[PEER_AS])];
    let ipv6 = message(&[], &attributes, &[], &[]);
    let mut agreed = negotiated();
    agreed.families.ipv6 = false;
    let changes = Imports::default().update(&config(|_| ()), &agreed, &ipv6);
    assert_eq!(changes, Ok(vec![]));
}

fn restarting(preserved: bool) -> Negotiated {
    Negotiated {
        peer_restart: Some(PeerRestart {
            has_restarted: true,
            restart_time_secs: 120,
            families: PerFamily::from_each(|_| true),
            preserved: PerFamily::from_each(|_| preserved),
        }),
        ..negotiated()
    }
}

#[test]
fn routes_go_with_the_session() {
    let mut imports = known();
    assert_eq!(imports.end(at(0), &negotiated(), true).len(), 1);
    assert_eq!(known().end(at(0), &restarting(true), false).len(), 1);
    assert_eq!(imports.deadline(), None);
}

#[test]
fn a_neighbor_that_restarts_keeps_its_route_for_a_while() {
    let mut imports = known();
    assert_eq!(imports.end(at(1), &restarting(true), true), []);
    assert_eq!(imports.deadline(), Some(at(121)));
    assert_eq!(imports.expire(at(120)), []);
    assert_eq!(imports.expire(at(121)).len(), 1);
    assert_eq!(imports.deadline(), None);
}

#[test]
fn what_a_neighbor_does_not_say_again_is_gone_at_its_mark() {
    let stale = || {
        let mut imports = known();
        imports.end(at(1), &restarting(true), true);
        imports
    };
    // It did not forward meanwhile.
    assert_eq!(stale().begin(&restarting(false)).len(), 1);
    // It did, and says the route again, or not.
    for says_again in [true, false] {
        let mut imports = stale();
        assert_eq!(imports.begin(&restarting(true)), []);
        if says_again {
            let again = message(&[], &attributes(), &[], &[0]);
            assert_eq!(feed(&mut imports, &again), []);
        }
        let other = message(&[], &[withdrawn_ipv6(vec![])], &[], &[]);
        assert_eq!(feed(&mut imports, &other), []);
        let end = message(&[], &[], &[], &[]);
        assert_eq!(feed(&mut imports, &end).len(), usize::from(!says_again));
        assert_eq!(imports.deadline(), None);
    }
}

#[test]
fn a_second_loss_before_the_mark_ends_the_waiting() {
    let mut imports = known();
    imports.end(at(1), &restarting(true), true);
    imports.begin(&restarting(true));
    assert_eq!(imports.end(at(2), &restarting(true), true).len(), 1);
}
