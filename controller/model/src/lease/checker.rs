//! Leases in a world where everything goes wrong, explored by `stateright`.
//!
//! The world is made of the state machines that production runs. Around them is what they cannot see: a log that commits, terms and votes, messages
//! that are late, lost or repeated, restarts, and clocks that run at different speeds. Every moment in a world is relative to its actor's now, which is
//! the same number always, so that worlds that differ by the time of day alone are one.
//!
//! A step of time is a third of a lease by a slow clock and half of one by a fast clock: much coarser than in production, and clocks differ by much more, as
//! the margin makes up for it in the same way.

mod bounds;
mod breaks;
mod moments;
mod settle;
mod steps;
mod walks;
mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};

use self::world::{Setup, World};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Time passes.
    Tick,
    /// A node's newest request reaches a controller that leads, or believes so.
    Request { node: usize, controller: usize },
    /// A grant reaches its node: the oldest on its way, or another one.
    Grant { node: usize, at: usize },
    /// A controller follows a leader in a round.
    Round { leader: usize, follower: usize },
    /// What the leader has proposed is committed.
    Commit { leader: usize },
    /// A controller is elected, with the vote of another one. What older leaders have proposed is in its log, or lost.
    Elect {
        controller: usize,
        voter: usize,
        survives: bool,
    },
    /// A controller tells a node that nobody leads.
    Tell { controller: usize, node: usize },
    /// A peer agrees that a node holds its VIPs.
    Agree { peer: usize, node: usize },
    /// A controller starts anew.
    RestartController { controller: usize },
    /// An agent starts anew; its machine's map stays.
    RestartNode { node: usize },
    /// The operator wants the VIP elsewhere.
    Move { leader: usize, to: usize },
}

impl Model for Setup {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let worlds = self.rates.iter().map(|rates| World::settled(self, rates));
        worlds.collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.steps(self, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.step(self, step);
        next.normalize();
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two owners", |_, world: &World| {
                world.answering().len() <= 1
            }),
            Property::always("an owner again", |setup: &Setup, world: &World| {
                !setup.settles || world.settles(setup)
            }),
            Property::sometimes("given away", |_, world: &World| {
                world.answering().iter().any(|it| *it != world::FIRST)
            }),
        ]
    }
}

/// How many worlds a check looks at, some of them more than once. Optimized, it looks at all, or at more than anybody waits for.
const WORLDS: usize = if cfg!(debug_assertions) {
    100_000
} else {
    10_000_000
};

/// Explores a setup, and says how far.
fn explore(setup: Setup) {
    assert_eq!(setup.init_states()[0].answering(), [world::FIRST]);
    let checker = setup.checker().threads(2).target_state_count(WORLDS);
    let checker = checker.spawn_bfs().join();
    eprintln!(
        "{} worlds, {} steps deep",
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

/// Explores a setup with a rule left out until there are two owners. How it came to that.
fn two_owners(setup: Setup) -> Vec<Step> {
    let checker = setup.checker().threads(2).target_state_count(WORLDS);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let path = checker.discovery("never two owners");
    let path = path.unwrap_or_else(|| panic!("none in {} worlds", checker.unique_state_count()));
    let steps = path.into_actions();
    eprintln!("{} worlds; {steps:?}", checker.unique_state_count());
    steps
}
