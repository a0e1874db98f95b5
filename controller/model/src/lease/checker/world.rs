use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use crate::{
    Name,
    lease::{
        Adopted, Assign, Assignments, Epoch, Grant, Leader, LeaderAction, LeaseRequest, LossPolicy,
        Moment, NodePlace, Owner, OwnerAction, PlacementRules, Timers, VipPlace, Witness,
    },
};

/// Every actor's now.
pub(super) const NOW: Moment = Moment::from_nanos(24);
pub(super) const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// The node that has the VIP at first.
pub(super) const FIRST: usize = 0;

/// What may happen, and how often.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) timers: Timers,
    pub(super) nodes: usize,
    /// Clock units in a step of time, of nodes and of controllers.
    pub(super) rates: Vec<(Vec<u64>, Vec<u64>)>,
    pub(super) limits: Limits,
    /// How many grants may be on their way to one node: the oldest ones and the newest.
    pub(super) grants: usize,
    /// Whether a node without VIPs is always heard.
    pub(super) others_are_heard: bool,
    /// Whether controllers tell nodes that nobody leads.
    pub(super) tells: bool,
    /// Whether nodes ask their peers.
    pub(super) policy: LossPolicy,
    /// Whether it is checked that every world comes to have an owner when nothing goes wrong any more.
    pub(super) settles: bool,
    pub(super) broken: Broken,
}

/// How much goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Limits {
    pub(super) elections: u8,
    pub(super) commits: u8,
    pub(super) controller_restarts: u8,
    pub(super) node_restarts: u8,
    pub(super) moves: u8,
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// None.
    Nothing,
    /// A new leader gives away what it likes at once.
    NewLeaderDoesNotWait,
    /// A leader grants without knowing whether it leads.
    LeaderDoesNotAsk,
    /// A leader does not mind what owners were told by controllers.
    LeaderForgetsWitnesses,
    /// A restarted controller does not say that it may have told owners something.
    WitnessForgets,
    /// An owner counts its lease from the grant's arrival.
    OwnerCountsFromArrival,
    /// A peer that agrees takes what it is given all the same.
    PeerDoesNotWait,
    /// One peer's leave is enough.
    OnePeerIsEnough,
    /// An owner that its peers hold believes controllers that nobody leads.
    HeldOwnerAsksControllers,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) controllers: Vec<Controller>,
    pub(super) nodes: Vec<Node>,
    /// What the log says.
    pub(super) committed: Assignments,
    pub(super) epoch: u64,
    /// Of the newest election.
    pub(super) term: u64,
    pub(super) sessions: u64,
    pub(super) left: Limits,
    pub(super) others_are_heard: bool,
    pub(super) leaders_ask_nobody: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Controller {
    pub(super) rate: u64,
    /// The newest one that it has voted in or followed.
    pub(super) term: u64,
    pub(super) witness: Witness,
    /// While it leads, or has not found out that it does not.
    pub(super) leader: Option<Leader>,
    /// Proposed in this term.
    pub(super) pending: Vec<Assign>,
    pub(super) pending_term: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) rate: u64,
    pub(super) owner: Owner,
    /// The XDP program's map.
    pub(super) map: Map,
    /// The newest messages from it.
    pub(super) request: Option<LeaseRequest>,
    pub(super) asks_controllers: Option<Moment>,
    pub(super) asks_peers: Option<Moment>,
    /// Messages to it.
    pub(super) grants: BTreeSet<Grant>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Map {
    pub(super) vips: BTreeMap<IpAddr, Epoch>,
    pub(super) until: Moment,
}

// === impl Setup ===

impl Setup {
    pub(super) fn rules(&self, pin: Option<usize>) -> Arc<PlacementRules> {
        let node = NodePlace {
            weight: 1,
            labels: BTreeMap::new(),
            drained: false,
        };
        let vip = VipPlace {
            pin: pin.map(name),
            ..VipPlace::default()
        };
        Arc::new(PlacementRules {
            nodes: (0..self.nodes).map(|it| (name(it), node.clone())).collect(),
            vips: [(VIP, vip)].into(),
        })
    }
}

pub(super) fn name(node: usize) -> Name {
    Name::parse(&format!("n{node}"), "").unwrap()
}

pub(super) fn number(node: &Name) -> usize {
    node.as_str()[1..].parse().unwrap()
}

// === impl World ===

impl World {
    /// Every agent and controller has just started, and the first controller leads.
    pub(super) fn new(setup: &Setup, (nodes, controllers): &(Vec<u64>, Vec<u64>)) -> Self {
        let controllers = controllers.iter().map(|rate| Controller {
            rate: *rate,
            term: 0,
            witness: Witness::new(NOW),
            leader: None,
            pending: Vec::new(),
            pending_term: 0,
        });
        let nodes = nodes.iter().enumerate().map(|(at, rate)| Node {
            rate: *rate,
            owner: owner(setup, at, 0, Adopted::default()),
            map: Map::default(),
            request: None,
            asks_controllers: None,
            asks_peers: None,
            grants: BTreeSet::new(),
        });
        let mut world = Self {
            controllers: controllers.collect(),
            nodes: nodes.collect(),
            committed: Assignments::default(),
            epoch: 0,
            term: 0,
            sessions: 0,
            left: Limits {
                elections: u8::MAX,
                commits: u8::MAX,
                ..Limits::default()
            },
            others_are_heard: setup.others_are_heard,
            leaders_ask_nobody: setup.broken == Broken::LeaderDoesNotAsk,
        };
        world.elect(setup, 0, 1, true);
        world
    }

    /// The nodes that answer for the VIP.
    pub(super) fn answering(&self) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, it)| it.map.vips.contains_key(&VIP) && NOW < it.map.until)
            .map(|(at, _)| at)
            .collect()
    }

    pub(super) fn elect(&mut self, setup: &Setup, controller: usize, voter: usize, survives: bool) {
        self.term += 1;
        let mut survivors = Vec::new();
        for it in &mut self.controllers {
            survivors.append(&mut it.pending);
        }
        for assign in survivors.iter().filter(|_| survives) {
            self.epoch += 1;
            self.committed.apply(Epoch(self.epoch), assign);
        }
        let it = &mut self.controllers[voter];
        it.term = self.term;
        it.leader = None;
        let all = (0..self.controllers.len()).map(|it| it as u64);
        let mut leader = Leader::new(
            NOW,
            self.term,
            setup.timers,
            all.collect(),
            setup.rules(None),
            self.committed.clone(),
        );
        if setup.broken == Broken::NewLeaderDoesNotWait {
            leader.settled_at = NOW;
        }
        let it = &mut self.controllers[controller];
        it.term = self.term;
        it.pending_term = self.term;
        it.leader = Some(leader);
    }

    /// Does what a leader wants done.
    pub(super) fn lead(&mut self, setup: &Setup, controller: usize, actions: Vec<LeaderAction>) {
        for action in actions {
            match action {
                LeaderAction::Grant(node, grant) => {
                    let node = &mut self.nodes[number(&node)];
                    let says_nothing = grant.vips.as_ref().is_none_or(|it| it.vips.is_empty())
                        && grant.warm.is_empty();
                    if setup.others_are_heard && says_nothing && node.owner.holding.is_none() {
                        continue;
                    }
                    let grants = &mut node.grants;
                    while grants.len() >= setup.grants {
                        grants.pop_last();
                    }
                    grants.insert(grant);
                }
                LeaderAction::Propose(assigns) => {
                    let it = &mut self.controllers[controller];
                    // Of an older term nothing is committed any more.
                    if it.pending_term == self.term {
                        it.pending.extend(assigns);
                    }
                }
                LeaderAction::Round => {}
            }
        }
    }

    /// Does what an owner wants done.
    pub(super) fn own(&mut self, node: usize, actions: Vec<OwnerAction>) {
        let it = &mut self.nodes[node];
        for action in actions {
            match action {
                OwnerAction::Answer(vip, epoch) => {
                    it.map.vips.insert(vip, epoch);
                }
                OwnerAction::Stop(vip) => {
                    it.map.vips.remove(&vip);
                }
                OwnerAction::Until(until) => it.map.until = until,
                OwnerAction::Warm(vip) => {
                    for action in it.owner.ready(NOW, vip) {
                        if let OwnerAction::Request(request) = action {
                            it.request = Some(request);
                        }
                    }
                }
                OwnerAction::Request(request) => it.request = Some(request),
                OwnerAction::AskControllers(asked) => it.asks_controllers = Some(asked),
                OwnerAction::AskPeers(asked, _) => it.asks_peers = Some(asked),
            }
        }
    }
}

pub(super) fn owner(setup: &Setup, node: usize, session: u64, adopted: Adopted) -> Owner {
    Owner::new(
        NOW,
        name(node),
        session,
        setup.timers,
        setup.policy,
        adopted,
    )
}

pub(super) fn units(number: u64) -> Duration {
    Duration::from_nanos(number)
}
