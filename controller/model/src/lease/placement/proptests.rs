use std::net::Ipv4Addr;

use proptest::{collection::btree_set, prelude::*};

use super::*;

fn node(at: u8) -> Name {
    Name::parse(&format!("node-{at}"), "").unwrap()
}

fn vip(at: u16) -> IpAddr {
    Ipv4Addr::from(0xc633_0000 + u32::from(at)).into()
}

/// Nodes in three racks, half of them with disks; VIPs by themselves.
fn rules(weights: &[u16], vips: u16) -> PlacementRules {
    let nodes = (0..).zip(weights).map(|(at, weight)| {
        let rack = ("rack".to_owned(), (at % 3).to_string());
        let disk = ("disk".to_owned(), (at % 2).to_string());
        let place = NodePlace {
            weight: *weight,
            labels: [rack, disk].into(),
            drained: false,
        };
        (node(at), place)
    });
    PlacementRules {
        nodes: nodes.collect(),
        vips: (0..vips).map(|at| (vip(at), VipPlace::default())).collect(),
    }
}

fn all(rules: &PlacementRules) -> BTreeSet<Name> {
    rules.nodes.keys().cloned().collect()
}

fn nodes(live: &BTreeSet<Name>, steady: &BTreeSet<Name>) -> Candidates {
    Candidates {
        live: live.clone(),
        steady: steady.clone(),
        ..Candidates::default()
    }
}

/// With every node alive and steady, from scratch.
fn placed(rules: &PlacementRules) -> BTreeMap<IpAddr, Name> {
    place(rules, &BTreeMap::new(), &nodes(&all(rules), &all(rules)))
}

proptest! {
    #[test]
    fn a_lost_node_moves_its_vips_and_they_come_back(
        weights in proptest::collection::vec(1..5_u16, 2..8),
        lost in 0..8_u8,
        spread in any::<bool>(),
    ) {
        let mut rules = rules(&weights, 60);
        if spread {
            for place in rules.vips.values_mut() {
                place.spread = Some(Spread { group: "g".to_owned(), over: "rack".to_owned() });
            }
        }
        let before = placed(&rules);
        let lost = node(lost % u8::try_from(weights.len()).unwrap());
        let mut live = all(&rules);
        live.remove(&lost);
        let after = place(&rules, &before, &nodes(&live, &live));
        for (vip, owner) in &before {
            prop_assert_ne!(&after[vip], &lost);
            if !spread && *owner != lost {
                prop_assert_eq!(&after[vip], owner);
            }
        }
        // Draining is the same, and what is placed stays where it is.
        let mut drained = rules.clone();
        drained.nodes.get_mut(&lost).unwrap().drained = true;
        prop_assert_eq!(&place(&drained, &before, &nodes(&all(&rules), &all(&rules))), &after);
        prop_assert_eq!(&place(&rules, &after, &nodes(&live, &live)), &after);
        // Back, but not for long enough yet.
        prop_assert_eq!(&place(&rules, &after, &nodes(&all(&rules), &live)), &after);
        if !spread {
            prop_assert_eq!(place(&rules, &after, &nodes(&all(&rules), &all(&rules))), before);
        }
    }

    /// VIPs leave a node that cannot serve them as if it were lost, and come back once it could for a while. Where nobody can serve one, it stays.
    #[test]
    fn who_cannot_serve_a_vip_does_not_have_it(
        weights in proptest::collection::vec(1..5_u16, 2..6),
        unfit in proptest::collection::vec((0..30_u16, 0..6_u8), 0..120),
    ) {
        let rules = rules(&weights, 30);
        let before = placed(&rules);
        let all = all(&rules);
        let unfit: BTreeSet<_> = unfit
            .into_iter()
            .map(|(at, of)| (vip(at), node(of)))
            .filter(|(_, of)| all.contains(of))
            .collect();
        let mut candidates = nodes(&all, &all);
        candidates.unfit = unfit.clone();
        candidates.lately_unfit = unfit.clone();
        let after = place(&rules, &before, &candidates);
        for (vip, owner) in &before {
            let able = all.iter().filter(|it| !unfit.contains(&(*vip, (*it).clone())));
            let is_someone_able = able.count() > 0;
            let is_owner_unfit = unfit.contains(&(*vip, owner.clone()));
            prop_assert_eq!(is_owner_unfit && is_someone_able, after[vip] != *owner);
            prop_assert!(!is_someone_able || !unfit.contains(&(*vip, after[vip].clone())));
        }
        candidates.unfit.clear();
        prop_assert_eq!(&place(&rules, &after, &candidates), &after);
        prop_assert_eq!(place(&rules, &after, &nodes(&all, &all)), before);
    }

    #[test]
    fn in_a_group_only_the_lost_ones_move(
        vips in 1..40_u16,
        lost in 0..6_u8,
    ) {
        // Two nodes in each rack, so that none is emptied.
        let mut rules = rules(&[1; 6], vips);
        for place in rules.vips.values_mut() {
            place.spread = Some(Spread { group: "g".to_owned(), over: String::new() });
        }
        let before = placed(&rules);
        let mut live = all(&rules);
        live.remove(&node(lost));
        let after = place(&rules, &before, &nodes(&live, &live));
        let counts = |placed: &BTreeMap<IpAddr, Name>| {
            let of = |name: &Name| placed.values().filter(|it| *it == name).count();
            live.iter().map(of).collect::<Vec<_>>()
        };
        for (vip, owner) in before.iter().filter(|(_, it)| **it != node(lost)) {
            prop_assert_eq!(&after[vip], owner);
        }
        let counts = counts(&after);
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }

    #[test]
    fn pins_drains_and_labels_are_respected(
        pinned in btree_set(0..30_u16, 0..30),
        drained in btree_set(0..6_u8, 0..6),
        choosy in btree_set(0..30_u16, 0..30),
        off in btree_set(0..30_u16, 0..10),
        live in btree_set(0..6_u8, 1..6),
        before in proptest::collection::vec(0..6_u8, 30),
    ) {
        let mut rules = rules(&[1, 2, 0, 1, 1, 3], 30);
        for at in &drained {
            rules.nodes.get_mut(&node(*at)).unwrap().drained = true;
        }
        for (at, place) in (0..).zip(rules.vips.values_mut()) {
            place.pin = pinned.contains(&at).then(|| node(1));
            place.drained = off.contains(&at);
            if choosy.contains(&at) {
                place.only.insert("disk".to_owned(), "1".to_owned());
            }
        }
        let live: BTreeSet<_> = live.into_iter().map(node).collect();
        let before = (0..).zip(before).map(|(at, owner)| (vip(at), node(owner))).collect();
        let after = place(&rules, &before, &nodes(&live, &live));
        let able = |name: &Name, place: &VipPlace| live.contains(name) && rules.may_serve(place, name);
        for (vip, place) in &rules.vips {
            let to = after.get(vip);
            let somewhere = rules.nodes.keys().any(|it| able(it, place)) && !place.drained;
            prop_assert_eq!(to.is_some(), somewhere);
            if let Some(to) = to {
                prop_assert!(able(to, place));
                let pin = place.pin.as_ref().filter(|pin| able(pin, place));
                prop_assert!(pin.is_none_or(|pin| pin == to));
            }
        }
    }
}

#[test]
fn shares_are_as_the_weights_say() {
    let rules = rules(&[1, 2, 3, 4], 20_000);
    let placed = placed(&rules);
    for (at, weight) in (0..4).zip([1.0, 2.0, 3.0, 4.0]) {
        let share = placed.values().filter(|it| **it == node(at)).count();
        let expected = 20_000.0 * weight / 10.0;
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let error = (share as f64 - expected).abs();
        // Four standard deviations of a binomial distribution.
        let allowed = 4.0 * (expected * (1.0 - weight / 10.0)).sqrt();
        assert!(
            error < allowed,
            "{share} of weight {weight}, not {expected}"
        );
    }
}

#[test]
fn logarithms_are_right() {
    for hash in [
        1,
        2,
        3,
        1 << 20,
        u64::MAX / 3,
        u64::MAX / 2,
        u64::MAX - 1,
        u64::MAX,
    ] {
        #[expect(clippy::cast_precision_loss, reason = "that is close enough")]
        let (expected, found) = (64.0 - (hash as f64).log2(), minus_log2(hash) as f64);
        let found = found / 4_294_967_296.0;
        assert!(
            (found - expected).abs() < 1e-8,
            "{hash}: {found}, not {expected}"
        );
    }
}
