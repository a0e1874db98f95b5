use super::{
    Step,
    world::{Broken, NOW, Setup, World, name, owner},
};
use crate::lease::{Adopted, Epoch, Round};

impl World {
    /// What may happen next.
    pub(super) fn steps(&self, setup: &Setup, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        self.steps_of_leaders(setup, steps);
        for (controller, it) in self.controllers.iter().enumerate() {
            if self.left.elections > 0 && (it.leader.is_none() || it.term < self.term) {
                for voter in (0..self.controllers.len()).filter(|it| *it != controller) {
                    steps.push(Step::Elect {
                        controller,
                        voter,
                        survives: false,
                    });
                    if self.controllers.iter().any(|it| !it.pending.is_empty()) {
                        steps.push(Step::Elect {
                            controller,
                            voter,
                            survives: true,
                        });
                    }
                }
            }
            if self.left.controller_restarts > 0 {
                steps.push(Step::RestartController { controller });
            }
        }
        for (node, it) in self.nodes.iter().enumerate() {
            for at in 0..it.grants.len() {
                steps.push(Step::Grant { node, at });
            }
            if setup.tells && it.asks_controllers.is_some() {
                let all = 0..self.controllers.len();
                steps.extend(all.map(|controller| Step::Tell { controller, node }));
            }
            if it.asks_peers.is_some() {
                let peers = (0..self.nodes.len()).filter(|it| *it != node);
                steps.extend(peers.map(|peer| Step::Agree { peer, node }));
            }
            if self.left.node_restarts > 0 {
                steps.push(Step::RestartNode { node });
            }
        }
    }

    fn steps_of_leaders(&self, setup: &Setup, steps: &mut Vec<Step>) {
        for (leader, it) in self.controllers.iter().enumerate() {
            if it.leader.is_none() {
                continue;
            }
            for (node, asking) in self.nodes.iter().enumerate() {
                let controller = leader;
                let is_heard = setup.others_are_heard && self.is_idle(node, controller);
                if asking.request.is_some() && !is_heard {
                    steps.push(Step::Request { node, controller });
                }
                let is_newest = it.term == self.term;
                if self.left.moves > 0 && is_newest && !asking.map.vips.is_empty() {
                    let to = (node + 1) % self.nodes.len();
                    steps.push(Step::Move { leader, to });
                }
            }
            for (follower, other) in self.controllers.iter().enumerate() {
                if follower != leader && other.term <= it.pending_term {
                    steps.push(Step::Round { leader, follower });
                }
            }
            if self.left.commits > 0 && !it.pending.is_empty() && it.pending_term == self.term {
                steps.push(Step::Commit { leader });
            }
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self, setup: &Setup, step: Step) {
        match step {
            Step::Tick => self.tick(setup),
            Step::Request { node, controller } => self.request(setup, node, controller),
            Step::Grant { node, at } => {
                let grant = self.nodes[node].grants.iter().nth(at).cloned();
                let mut grant = grant.expect("the step was offered");
                self.nodes[node].grants.remove(&grant);
                if setup.broken == Broken::OwnerCountsFromArrival {
                    grant.sent = NOW;
                }
                let actions = self.nodes[node].owner.granted(NOW, grant);
                self.own(node, actions);
                if setup.broken == Broken::OnePeerIsEnough
                    && let Some(holding) = &mut self.nodes[node].owner.holding
                {
                    holding.peers = holding.peers.iter().take(1).cloned().collect();
                }
            }
            Step::Round { leader, follower } => self.round(setup, leader, follower),
            Step::Commit { leader } => {
                self.left.commits -= 1;
                self.commit(setup, leader);
            }
            Step::Elect {
                controller,
                voter,
                survives,
            } => {
                self.left.elections -= 1;
                self.elect(setup, controller, voter, survives);
            }
            Step::Tell { controller, node } => self.tell(setup, controller, node),
            Step::Agree { peer, node } => self.agree(setup, peer, node),
            Step::RestartController { controller } => {
                self.left.controller_restarts -= 1;
                let it = &mut self.controllers[controller];
                it.leader = None;
                it.witness = crate::lease::Witness::new(NOW);
                if setup.broken == Broken::WitnessForgets {
                    it.witness.started = crate::lease::Moment::default();
                }
            }
            Step::RestartNode { node } => self.restart_node(setup, node),
            Step::Move { leader, to } => {
                self.left.moves -= 1;
                let rules = setup.rules(Some(to));
                let it = self.controllers[leader].leader.as_mut();
                let actions = it.expect("the step was offered").place(NOW, rules);
                self.lead(setup, leader, actions);
            }
        }
    }

    fn tick(&mut self, setup: &Setup) {
        self.pass_time();
        for node in 0..self.nodes.len() {
            let actions = self.nodes[node].owner.tick(NOW);
            self.own(node, actions);
        }
        for controller in 0..self.controllers.len() {
            let Some(leader) = &mut self.controllers[controller].leader else {
                continue;
            };
            let mut actions = leader.tick(NOW);
            if setup.broken == Broken::LeaderDoesNotAsk {
                actions.extend(leader.round(
                    NOW,
                    &Round {
                        started: NOW,
                        reports: Vec::new(),
                    },
                ));
            }
            self.lead(setup, controller, actions);
        }
        if setup.others_are_heard {
            self.hear_others(setup);
        }
    }

    /// A node without VIPs says so to the newest leader.
    fn hear_others(&mut self, setup: &Setup) {
        for node in 0..self.nodes.len() {
            for controller in 0..self.controllers.len() {
                if self.is_idle(node, controller) {
                    self.request(setup, node, controller);
                }
            }
        }
    }

    fn is_idle(&self, node: usize, controller: usize) -> bool {
        let it = &self.controllers[controller];
        let leader = it.leader.as_ref();
        it.pending_term == self.term
            && leader.is_some_and(|it| it.assignments.of(&name(node)).next().is_none())
    }

    pub(super) fn request(&mut self, setup: &Setup, node: usize, controller: usize) {
        let request = self.nodes[node].request.clone();
        let leader = &mut self.controllers[controller].leader;
        if let (Some(leader), Some(request)) = (leader, request) {
            let actions = leader.request(NOW, request);
            self.lead(setup, controller, actions);
        }
    }

    pub(super) fn round(&mut self, setup: &Setup, leader: usize, follower: usize) {
        let term = self.controllers[leader].pending_term;
        let mut reports = Vec::new();
        for it in [leader, follower] {
            let it = &mut self.controllers[it];
            it.term = it.term.max(term);
            reports.push(it.witness.report(NOW, setup.timers));
        }
        if setup.broken == Broken::LeaderForgetsWitnesses {
            reports.clear();
        }
        let round = Round {
            started: NOW,
            reports,
        };
        if let Some(it) = &mut self.controllers[leader].leader {
            let actions = it.round(NOW, &round);
            self.lead(setup, leader, actions);
        }
    }

    pub(super) fn commit(&mut self, setup: &Setup, leader: usize) {
        let it = &mut self.controllers[leader];
        let assign = it.pending.remove(0);
        self.epoch += 1;
        let has_changed = self.committed.apply(Epoch(self.epoch), &assign);
        let Some(core) = &mut it.leader else {
            return;
        };
        let actions = if has_changed {
            core.applied(NOW, self.committed.clone())
        } else {
            core.refused(NOW, &[assign])
        };
        self.lead(setup, leader, actions);
    }

    pub(super) fn tell(&mut self, setup: &Setup, controller: usize, node: usize) {
        let witness = &mut self.controllers[controller].witness;
        let it = &mut self.nodes[node];
        let Some(asked) = it.asks_controllers else {
            return;
        };
        if !witness.ask(NOW, &name(node), setup.timers) {
            return;
        }
        let actions = it.owner.nobody_leads(NOW, controller as u64, asked);
        self.own(node, actions);
    }

    pub(super) fn agree(&mut self, setup: &Setup, peer: usize, node: usize) {
        let Some(asked) = self.nodes[node].asks_peers else {
            return;
        };
        let before = self.nodes[peer].owner.takes_from;
        if !self.nodes[peer].owner.peer_asks(NOW) {
            return;
        }
        if setup.broken == Broken::PeerDoesNotWait {
            self.nodes[peer].owner.takes_from = before;
        }
        let owner = &mut self.nodes[node].owner;
        let actions = owner.peer_agrees(NOW, name(peer), asked);
        if setup.broken == Broken::HeldOwnerAsksControllers
            && let Some(holding) = &mut owner.holding
        {
            holding.leased_until = holding.leased_until.max(holding.held_until);
        }
        self.own(node, actions);
    }

    /// The agent's, and the machine's if its map has run out by then.
    fn restart_node(&mut self, setup: &Setup, node: usize) {
        self.left.node_restarts -= 1;
        self.sessions += 1;
        let it = &mut self.nodes[node];
        let adopted = Adopted {
            vips: it.map.vips.clone(),
            until: it.map.until,
        };
        it.owner = owner(setup, node, self.sessions, adopted);
        it.request = None;
        it.asks_controllers = None;
        it.asks_peers = None;
    }
}
