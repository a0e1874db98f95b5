//! Who answers for VIPs.

use std::{collections::BTreeSet, net::IpAddr};

use super::*;
use crate::{
    LeaseCommand, VipWish, WishChange,
    lease::{Assign, Epoch},
};

fn name(text: &str) -> Name {
    Name::parse(text, "name").unwrap()
}

fn vip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn assign(last: u8, to: &str, replaces: Option<u64>) -> Assign {
    Assign {
        vip: vip(last),
        to: Some(name(to)),
        peers: BTreeSet::from([name("n2"), name("n3")]),
        replaces: replaces.map(Epoch),
        released: true,
    }
}

fn lease(state: &mut FabricState, index: u64, command: LeaseCommand) -> Outcome {
    let command = Command::Lease(command);
    let proto = lbfabric_proto::internal::v1::Command::from(&command);
    assert_eq!(Command::try_from(proto), Ok(command.clone()));
    state.apply(Generation(index), &command)
}

fn owner(state: &FabricState, last: u8) -> Option<(String, u64)> {
    let owned = state.leases().assignments().get(vip(last))?;
    Some((owned.owner.to_string(), owned.epoch.0))
}

#[test]
fn assignments_are_all_made_or_none_and_no_generation_comes_of_it() {
    let mut state = loaded();
    let generation = (state.generation(), state.objects_generation());
    let both = vec![assign(1, "n1", None), assign(2, "n2", None)];
    let outcome = lease(&mut state, 50, LeaseCommand::Assign(both, 7));
    assert!(matches!(outcome, Outcome::Applied { changes, .. } if changes.is_empty()));
    assert_eq!(owner(&state, 1), Some(("n1".to_owned(), 50)));
    assert_eq!((state.generation(), state.objects_generation()), generation);

    // The second one is late.
    let both = vec![assign(1, "n2", Some(50)), assign(2, "n1", Some(49))];
    let outcome = lease(&mut state, 51, LeaseCommand::Assign(both, 7));
    assert_eq!(refusal(outcome).0, RefusalKind::Stale);
    assert_eq!(owner(&state, 1), Some(("n1".to_owned(), 50)));
    assert_eq!(owner(&state, 2), Some(("n2".to_owned(), 50)));
}

#[test]
fn a_snapshot_keeps_owners_versions_and_wishes() {
    let mut state = loaded();
    lease(&mut state, 50, LeaseCommand::Admit(name("n1")));
    lease(
        &mut state,
        51,
        LeaseCommand::Assign(vec![assign(1, "n1", None)], 7),
    );
    lease(
        &mut state,
        52,
        LeaseCommand::Assign(vec![assign(1, "n2", Some(51))], 7),
    );
    lease(
        &mut state,
        53,
        LeaseCommand::Wish(vip(1), WishChange::Pin(name("n2"))),
    );
    let restored = FabricState::from_snapshot(state.to_snapshot()).unwrap();
    assert_eq!(restored.leases(), state.leases());
    // It had a VIP and has none: a grant for what it held before is not for this.
    assert_eq!(
        restored.leases().assignments().version(&name("n1")),
        Epoch(52)
    );

    let mut old = state.to_snapshot();
    old.leases = None;
    let restored = FabricState::from_snapshot(old).unwrap();
    assert_eq!(**restored.leases(), Leases::default());
}

#[test]
fn a_move_is_over_when_the_vip_has_left_and_a_pin_is_not() {
    let mut state = loaded();
    let kinds: [fn(Name) -> WishChange; 2] = [WishChange::Move, WishChange::Pin];
    for (last, wish) in (1..).zip(kinds) {
        let index = 50 + u64::from(last) * 10;
        let give = |state: &mut FabricState, index, assign| {
            lease(state, index, LeaseCommand::Assign(vec![assign], index));
        };
        give(&mut state, index, assign(last, "n1", None));
        let wished = LeaseCommand::Wish(vip(last), wish(name("n2")));
        lease(&mut state, index + 1, wished);
        give(&mut state, index + 2, assign(last, "n2", Some(index)));
        assert_eq!(state.leases().since(vip(last)), Some(index + 2));
        let is_move = last == 1;
        let wished = state.leases().wish(vip(last)).expect("it has come");
        assert_eq!((&wished.node, wished.once), (&Some(name("n2")), is_move));
        give(&mut state, index + 3, assign(last, "n3", Some(index + 2)));
        assert_eq!(state.leases().wish(vip(last)).is_none(), is_move);
    }
}

#[test]
fn wishes_are_changed_one_by_one() {
    let mut state = loaded();
    let owned = vec![assign(1, "n1", None)];
    lease(&mut state, 50, LeaseCommand::Assign(owned, 7));
    let mut index = 50;
    let mut wished = |change| {
        index += 1;
        lease(&mut state, index, LeaseCommand::Wish(vip(1), change));
        state.leases().wish(vip(1)).cloned()
    };
    let wish = |node: &str, once, drained| {
        let node = (!node.is_empty()).then(|| name(node));
        Some(VipWish {
            node,
            once,
            drained,
        })
    };
    assert_eq!(wished(WishChange::Move(name("n1"))), None, "it is there");
    let pinned = wished(WishChange::Pin(name("n1")));
    assert_eq!(pinned, wish("n1", false, false));
    let drained = wished(WishChange::Drain(true));
    assert_eq!(drained, wish("n1", false, true));
    let moved = wished(WishChange::Move(name("n2")));
    assert_eq!(moved, wish("n2", true, true));
    assert_eq!(wished(WishChange::Unpin), wish("", false, true));
    assert_eq!(wished(WishChange::Drain(false)), None);
}

#[test]
fn placement_goes_by_services_nodes_and_wishes() {
    let mut spec = fabric();
    let by = v1::announcement_spec::By::Lease(v1::LeaseSpec {
        spread: Some(v1::SpreadSpec {
            group: "pair".to_owned(),
            over: "rack".to_owned(),
        }),
        min_healthy_servers: 0,
    });
    spec.services[0].announce = Some(v1::AnnouncementSpec {
        by: Some(by),
        nodes: vec!["site=a".to_owned()],
    });
    spec.nodes[0].labels = vec!["site=a".to_owned()];
    spec.nodes[0].weight = 3;
    spec.nodes[0].drained = true;
    let mut state = FabricState::default();
    state.apply(Generation(1), &apply(&spec));
    lease_node(&mut state, 2, "n1");
    lease_node(&mut state, 3, "n2");
    for (index, change) in [
        (4, WishChange::Pin(name("n2"))),
        (5, WishChange::Drain(true)),
    ] {
        self::lease(&mut state, index, LeaseCommand::Wish(vip(1), change));
    }
    let rules = state.placement_rules();
    let node = &rules.nodes[&name("n1")];
    assert_eq!((node.weight, node.drained), (3, true));
    assert_eq!(node.labels["site"], "a");
    assert_eq!(rules.nodes[&name("n2")].weight, 1, "it has no settings");
    assert_eq!(rules.vips.len(), 1, "the other service has no lease");
    let place = &rules.vips[&vip(1)];
    assert_eq!((place.pin.clone(), place.drained), (Some(name("n2")), true));
    assert_eq!(place.only["site"], "a");
    assert_eq!(place.spread.as_ref().unwrap().over, "rack");

    // A node that is deleted is given nothing.
    state.apply(Generation(6), &delete(&[(v1::Kind::Node, "n1")]));
    assert!(!state.placement_rules().nodes.contains_key(&name("n1")));
}

fn lease_node(state: &mut FabricState, index: u64, node: &str) {
    lease(state, index, LeaseCommand::Admit(name(node)));
}
