//! What is told of VIPs: the replicated state, and how the leader sees it.

use std::{collections::BTreeSet, net::IpAddr};

use lbfabric_model::{
    FabricState, Name,
    lease::{LeaderView, PlacementRules, VipView},
};
use lbfabric_proto::v1::{LeaseNode, UnfitNode, Vip, VipState};

/// All VIPs that have one owner or are to have one, by address.
pub(super) fn vips(state: &FabricState, view: Option<&LeaderView>) -> Vec<Vip> {
    let rules = state.placement_rules();
    let owned = state.leases().assignments().iter().map(|(vip, _)| vip);
    let all: BTreeSet<_> = owned.chain(rules.vips.keys().copied()).collect();
    let told = all.into_iter().map(|vip| told(state, &rules, view, vip));
    told.collect()
}

/// The nodes that may be given VIPs, by name.
pub(super) fn nodes(state: &FabricState, view: Option<&LeaderView>) -> Vec<LeaseNode> {
    let assignments = state.leases().assignments();
    let rules = state.placement_rules();
    let nodes = rules.nodes.into_iter().map(|(name, place)| {
        let seen = view.and_then(|view| view.nodes.get(&name).copied());
        let seen = seen.unwrap_or_default();
        LeaseNode {
            live: seen.is_live,
            steady: seen.is_steady,
            drained: place.drained,
            weight: place.weight.into(),
            vips: u32::try_from(assignments.of(&name).count()).unwrap_or(u32::MAX),
            name: name.to_string(),
        }
    });
    nodes.collect()
}

fn told(
    state: &FabricState,
    rules: &PlacementRules,
    view: Option<&LeaderView>,
    vip: IpAddr,
) -> Vip {
    let leases = state.leases();
    let assigned = leases.assignments().get(vip);
    let wish = leases.wish(vip).cloned().unwrap_or_default();
    let seen = view.map(|view| view.vips.get(&vip).cloned().unwrap_or_default());
    let owner = assigned.map(|it| &it.owner);
    let (how, reason) = match &seen {
        Some(seen) => how(rules, view, vip, owner, seen),
        None => (VipState::Unspecified, String::new()),
    };
    let seen = seen.unwrap_or_default();
    let unfit = seen.unfit.iter().map(|(node, reason)| UnfitNode {
        node: node.to_string(),
        reason: reason.to_string(),
    });
    let wanted = &seen.wanted;
    Vip {
        address: vip.to_string(),
        services: state.services_of(vip).map(Name::to_string).collect(),
        owner: owner.map(Name::to_string).unwrap_or_default(),
        epoch: assigned.map_or(0, |it| it.epoch.0),
        since_unix_ms: leases.since(vip).unwrap_or_default(),
        state: how.into(),
        wanted: wanted.as_ref().map(Name::to_string).unwrap_or_default(),
        reason,
        pinned_to: wish.node.as_ref().map(Name::to_string).unwrap_or_default(),
        moved: wish.once,
        drained: wish.drained,
        unfit: unfit.collect(),
    }
}

/// How a VIP is, and why it is not as one would think.
fn how(
    rules: &PlacementRules,
    view: Option<&LeaderView>,
    vip: IpAddr,
    owner: Option<&Name>,
    seen: &VipView,
) -> (VipState, String) {
    let place = rules.vips.get(&vip);
    let is_answered = owner.is_some() && seen.is_answered;
    let state = match (is_answered, owner) {
        _ if seen.is_moving => VipState::Moving,
        (true, _) => VipState::Served,
        (false, None) if place.is_none_or(|it| it.drained) => VipState::Drained,
        (false, _) => VipState::Down,
    };
    let live = |name: &Name| {
        let node = view.and_then(|view| view.nodes.get(name));
        node.is_some_and(|it| it.is_live)
    };
    let reason = match (place, owner, &seen.wanted) {
        (None, _, _) => "no service has it with a lease any more".to_owned(),
        (Some(place), _, _) if place.drained => "an operator has drained it".to_owned(),
        (Some(_), Some(owner), None) if !live(owner) => {
            format!("{owner} is lost, and no node that may have the VIP is there")
        }
        (Some(_), None, None) => "no node that may have it asks for leases".to_owned(),
        (Some(_), Some(owner), Some(wanted)) if owner != wanted && live(owner) => {
            format!("it goes to {wanted}")
        }
        (Some(_), Some(owner), Some(_)) if !live(owner) => {
            format!("{owner} is lost: its lease has to run out")
        }
        (Some(_), _, _) => String::new(),
    };
    (state, reason)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lbfabric_model::lease::{NodeView, VipPlace};

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, "name").unwrap()
    }

    #[test]
    fn every_state_has_its_reason() {
        let vip = IpAddr::from([192, 0, 2, 1]);
        let live = NodeView {
            is_live: true,
            is_steady: true,
        };
        let view = LeaderView {
            vips: BTreeMap::new(),
            nodes: BTreeMap::from([(name("n1"), live), (name("n2"), NodeView::default())]),
        };
        let rules = |drained| PlacementRules {
            nodes: BTreeMap::new(),
            vips: BTreeMap::from([(
                vip,
                VipPlace {
                    drained,
                    ..VipPlace::default()
                },
            )]),
        };
        let seen = |wanted: &str, is_answered, is_moving| VipView {
            wanted: (!wanted.is_empty()).then(|| name(wanted)),
            is_answered,
            is_moving,
            unfit: BTreeMap::new(),
        };
        let how = |rules: &PlacementRules, owner: &str, seen: &VipView| {
            let owner = (!owner.is_empty()).then(|| name(owner));
            let (state, reason) = super::how(rules, Some(&view), vip, owner.as_ref(), seen);
            (state, reason)
        };
        let open = rules(false);
        let (state, reason) = how(&open, "n1", &seen("n1", true, false));
        assert_eq!((state, reason.as_str()), (VipState::Served, ""));
        let (state, reason) = how(&open, "n1", &seen("n3", true, true));
        assert_eq!(
            (state, reason.as_str()),
            (VipState::Moving, "it goes to n3")
        );
        let (state, reason) = how(&open, "n2", &seen("n1", false, false));
        assert_eq!(state, VipState::Down);
        assert!(reason.starts_with("n2 is lost"), "{reason}");
        let (state, reason) = how(&open, "n2", &seen("", false, false));
        assert!(
            state == VipState::Down && reason.contains("no node"),
            "{reason}"
        );
        let (state, reason) = how(&open, "", &seen("", false, false));
        assert!(
            state == VipState::Down && reason.contains("no node"),
            "{reason}"
        );
        let (state, reason) = how(&rules(true), "", &seen("", false, false));
        assert!(
            state == VipState::Drained && reason.contains("operator"),
            "{reason}"
        );
        let gone = PlacementRules::default();
        let (state, reason) = how(&gone, "n1", &seen("", true, true));
        assert!(
            state == VipState::Moving && reason.contains("no service"),
            "{reason}"
        );
    }
}
