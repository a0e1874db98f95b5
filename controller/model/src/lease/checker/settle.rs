use super::world::{Limits, Setup, World};

/// What is left of a fault is over after this: an old lease, and what a peer or an older leader can count on, by the slowest clock.
const STEPS: usize = 14;

impl World {
    /// The world in which everything has started well, with what may go wrong from here on.
    pub(super) fn settled(setup: &Setup, rates: &(Vec<u64>, Vec<u64>)) -> Self {
        let mut world = Self::new(setup, rates);
        world.settle(setup, STEPS);
        for node in &mut world.nodes {
            node.grants.clear();
        }
        world.left = setup.limits;
        world.normalize();
        assert_eq!(world.answering().len(), 1);
        world
    }

    /// Whether there is exactly one owner once nothing has gone wrong for a while.
    pub(super) fn settles(&self, setup: &Setup) -> bool {
        let mut world = self.clone();
        world.left = Limits {
            elections: u8::MAX,
            commits: u8::MAX,
            ..Limits::default()
        };
        world.settle(setup, STEPS);
        world.answering().len() == 1
    }

    /// Nothing goes wrong for some time.
    fn settle(&mut self, setup: &Setup, steps: usize) {
        let leads = |world: &Self| {
            let mut all = world.controllers.iter();
            all.position(|it| it.leader.is_some() && it.pending_term == world.term)
        };
        let leader = leads(self).unwrap_or_else(|| {
            self.elect(setup, 0, 1, true);
            0
        });
        for (at, it) in self.controllers.iter_mut().enumerate() {
            if at != leader {
                it.leader = None;
            }
        }
        for _ in 0..steps {
            self.step(setup, super::Step::Tick);
            for controller in &mut self.controllers {
                controller.witness.heard_leader(super::world::NOW);
            }
            // A planned move takes three exchanges.
            for _ in 0..4 {
                self.exchange(setup, leader);
            }
            self.normalize();
        }
    }

    fn exchange(&mut self, setup: &Setup, leader: usize) {
        for follower in 0..self.controllers.len() {
            if follower != leader {
                self.round(setup, leader, follower);
            }
        }
        for node in 0..self.nodes.len() {
            self.request(setup, node, leader);
        }
        while !self.controllers[leader].pending.is_empty() {
            self.commit(setup, leader);
        }
        for node in 0..self.nodes.len() {
            while !self.nodes[node].grants.is_empty() {
                self.step(setup, super::Step::Grant { node, at: 0 });
            }
        }
    }
}
