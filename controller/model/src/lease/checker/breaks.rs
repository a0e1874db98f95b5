//! What goes wrong if a rule is left out: the check can fail.

use stateright::Model as _;

use super::{
    Step,
    bounds::{fast_leader, holding, setup},
    two_owners,
    world::{Broken, Limits, Setup},
};
use crate::lease::Timers;

#[test]
fn without_a_margin_clocks_that_differ_make_two_owners() {
    let timers = Timers::of_units(4, 0);
    let steps = two_owners(Setup {
        timers,
        ..fast_leader()
    });
    assert!(ends_with_a_grant(&steps));
}

#[test]
fn a_new_leader_that_does_not_wait_makes_two_owners() {
    let limits = Limits {
        elections: 1,
        ..setup().limits
    };
    let broken = Broken::NewLeaderDoesNotWait;
    let steps = two_owners(Setup {
        limits,
        broken,
        ..setup()
    });
    assert!(ends_with_a_grant(&steps));
}

/// As the design had it.
#[test]
fn a_leader_that_does_not_ask_whether_it_leads_makes_two_owners() {
    let limits = Limits {
        elections: 1,
        ..setup().limits
    };
    let broken = Broken::LeaderDoesNotAsk;
    let steps = two_owners(Setup {
        limits,
        broken,
        ..setup()
    });
    assert!(ends_with_a_grant(&steps));
}

#[test]
fn an_owner_that_counts_from_a_grants_arrival_makes_two_owners() {
    let broken = Broken::OwnerCountsFromArrival;
    let steps = two_owners(Setup {
        broken,
        ..fast_leader()
    });
    assert!(ends_with_a_grant(&steps));
}

/// As the design had it.
#[test]
fn a_leader_that_forgets_what_owners_were_told_makes_two_owners() {
    let broken = Broken::LeaderForgetsWitnesses;
    let tells = true;
    let steps = two_owners(Setup {
        tells,
        broken,
        ..fast_leader()
    });
    assert!(ends_with_a_grant(&steps));
}

#[test]
fn a_restarted_controller_that_says_nothing_of_before_makes_two_owners() {
    let limits = Limits {
        controller_restarts: 1,
        ..setup().limits
    };
    let broken = Broken::WitnessForgets;
    let tells = true;
    let steps = two_owners(Setup {
        limits,
        tells,
        broken,
        ..fast_leader()
    });
    assert!(ends_with_a_grant(&steps));
}

/// As the design had it.
#[test]
fn a_peer_that_does_not_keep_quiet_makes_two_owners() {
    let broken = Broken::PeerDoesNotWait;
    let steps = two_owners(Setup {
        broken,
        ..holding()
    });
    assert!(ends_with_a_grant(&steps));
}

/// As the design had it.
#[test]
fn one_peer_of_two_is_not_enough() {
    let broken = Broken::OnePeerIsEnough;
    let mut setup = holding();
    setup.nodes = 3;
    setup.rates[0].0.push(2);
    let steps = two_owners(Setup { broken, ..setup });
    assert!(ends_with_a_grant(&steps));
}

/// It takes more steps than the search goes: here they are.
#[test]
fn an_owner_that_peers_hold_must_not_listen_to_controllers_without_a_leader() {
    let told = [1, 2].map(|controller| Step::Tell {
        controller,
        node: 0,
    });
    let given_away = [
        Step::Tick,
        Step::Agree { peer: 1, node: 0 },
        Step::Tick,
        Step::Round {
            leader: 0,
            follower: 1,
        },
        Step::Request {
            node: 1,
            controller: 0,
        },
        Step::Commit { leader: 0 },
    ];
    let taken = [
        Step::Round {
            leader: 0,
            follower: 1,
        },
        Step::Request {
            node: 1,
            controller: 0,
        },
        Step::Grant { node: 1, at: 0 },
    ];
    let mut steps = given_away.to_vec();
    for _ in 0..3 {
        steps.extend(told);
        steps.push(Step::Tick);
    }
    steps.extend(taken);
    for (broken, owners) in [
        (Broken::HeldOwnerAsksControllers, vec![0, 1]),
        (Broken::Nothing, vec![1]),
    ] {
        let setup = Setup {
            broken,
            tells: true,
            ..holding()
        };
        let mut world = setup.init_states().remove(0);
        for step in &steps {
            world.step(&setup, *step);
        }
        assert_eq!(world.answering(), owners, "{broken:?}: {world:#?}");
    }
}

/// The second owner is one because it was granted what the first one has.
fn ends_with_a_grant(steps: &[Step]) -> bool {
    let last = steps.iter().rev().find(|it| !matches!(it, Step::Tick));
    matches!(
        last,
        Some(Step::Grant { .. } | Step::Agree { .. } | Step::Tell { .. })
    )
}
