//! All that can go wrong, at once and for long. So many faults make more worlds than a search gets through, so they are walked through at random.

use stateright::Model as _;

use super::{
    Step,
    bounds::{FAST, SLOW, setup},
    world::{Broken, Limits, Setup, World},
};
use crate::lease::{LossPolicy, Timers};

/// Messages are lost, repeated and late, whoever can restart does, elections are lost and won, and every clock runs as it likes.
fn at_once() -> Setup {
    let nodes = [[SLOW, SLOW], [SLOW, FAST], [FAST, SLOW]];
    let controllers = [
        [SLOW, FAST, FAST],
        [FAST, SLOW, FAST],
        [FAST, FAST, SLOW],
        [SLOW, SLOW, SLOW],
    ];
    let rates = nodes.iter().flat_map(|nodes| {
        let with = |controllers: &[u64; 3]| (nodes.to_vec(), controllers.to_vec());
        controllers.iter().map(with)
    });
    Setup {
        rates: rates.collect(),
        grants: 2,
        others_are_heard: false,
        limits: Limits {
            elections: 2,
            commits: 3,
            controller_restarts: 2,
            node_restarts: 2,
            moves: 2,
        },
        tells: true,
        policy: LossPolicy::Hold,
        ..setup()
    }
}

/// A walk's length, in steps: some leases, as about one step in seven is one of time.
const STEPS: usize = 80;
/// How many walks there are. Optimized, there are more than anybody waits for otherwise.
const WALKS: u64 = if cfg!(debug_assertions) { 300 } else { 100_000 };

/// Numbers that nobody chose (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (z ^ (z >> 31)) % bound as u64;
        usize::try_from(drawn).unwrap()
    }
}

fn is_fault(step: &Step) -> bool {
    match step {
        Step::Elect { .. }
        | Step::RestartController { .. }
        | Step::RestartNode { .. }
        | Step::Move { .. } => true,
        Step::Tick
        | Step::Request { .. }
        | Step::Grant { .. }
        | Step::Round { .. }
        | Step::Commit { .. }
        | Step::Tell { .. }
        | Step::Agree { .. } => false,
    }
}

/// Where a walk has come to, and how.
struct Walk {
    world: World,
    steps: Vec<Step>,
    /// Whether the VIP was with another node than the first.
    is_given_away: bool,
}

/// Walks until the end, or until there are two owners.
fn walk(setup: &Setup, seed: u64) -> Walk {
    let mut dice = Dice(seed);
    let mut worlds = setup.init_states();
    let mut walk = Walk {
        world: worlds.swap_remove(dice.below(worlds.len())),
        steps: vec![],
        is_given_away: false,
    };
    let first = walk.world.answering();
    for _ in 0..STEPS {
        let mut steps = vec![];
        setup.actions(&walk.world, &mut steps);
        // Faults are few, so they are kept for later; time passes as often as anything else is said.
        let wants_fault = dice.below(10) == 0;
        let some: Vec<Step> = steps
            .iter()
            .copied()
            .filter(|step| is_fault(step) == wants_fault)
            .collect();
        let step = match some.len() {
            _ if dice.below(6) == 0 => Step::Tick,
            0 => continue,
            count => some[dice.below(count)],
        };
        walk.world.step(setup, step);
        walk.world.normalize();
        walk.steps.push(step);
        let owners = walk.world.answering();
        walk.is_given_away |= owners.len() == 1 && owners != first;
        if owners.len() > 1 {
            break;
        }
    }
    walk
}

#[test]
fn however_much_goes_wrong_at_once_there_are_never_two_owners_and_one_again() {
    let setup = at_once();
    let (mut given_away, mut lost) = (0, 0);
    for seed in 0..WALKS {
        let Walk {
            world,
            steps,
            is_given_away,
        } = walk(&setup, seed);
        let owners = world.answering();
        assert!(owners.len() <= 1, "walk {seed}: {owners:?} by {steps:?}");
        assert!(
            world.settles(&setup),
            "walk {seed}: none again by {steps:?}"
        );
        given_away += u64::from(is_given_away);
        lost += u64::from(owners.is_empty());
    }
    eprintln!("{WALKS} walks: {given_away} gave the VIP away, {lost} ended without an owner");
    // Walks on which nothing happens would prove nothing.
    assert!(given_away > WALKS / 20 && lost > WALKS / 20);
}

/// Without a rule a walk comes to two owners. These two are found soon; the others take more walks, and a search finds them as well.
#[test]
fn walks_find_what_is_wrong() {
    for broken in [Broken::NewLeaderDoesNotWait, Broken::LeaderDoesNotAsk] {
        finds(
            &Setup {
                broken,
                ..at_once()
            },
            &format!("{broken:?}"),
        );
    }
    if cfg!(debug_assertions) {
        return;
    }
    for broken in [Broken::OwnerCountsFromArrival, Broken::PeerDoesNotWait] {
        finds(
            &Setup {
                broken,
                ..at_once()
            },
            &format!("{broken:?}"),
        );
    }
    let timers = Timers::of_units(4, 0);
    finds(
        &Setup {
            timers,
            ..at_once()
        },
        "no margin",
    );
}

fn finds(setup: &Setup, what: &str) {
    let found = (0..WALKS).find(|seed| walk(setup, *seed).world.answering().len() > 1);
    eprintln!("{what}: found by walk {found:?}");
    assert!(found.is_some(), "{what} was not found");
}
