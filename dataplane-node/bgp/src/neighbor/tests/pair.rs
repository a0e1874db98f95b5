//! Two neighbors of one another, with connections between them that a test can break.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::testing::Peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    A,
    B,
}

/// What is under way to a side.
#[derive(Clone, Debug)]
enum Delivery {
    Dialled,
    Accepted,
    Bytes(Direction, Bytes),
    Failed(Direction),
}

pub(super) struct Pair {
    now: Moment,
    sides: [Neighbor; 2],
    under_way: VecDeque<(Side, Delivery)>,
    /// Ends of connections that are open, by who holds them.
    open: BTreeSet<(Side, Direction)>,
    /// Nothing gets through, and nobody is told so.
    pub(super) is_cut: bool,
    /// Connections that lost something: nothing comes over them any more. By the end that made them.
    dead: BTreeSet<Side>,
    downs: BTreeMap<Side, Vec<End>>,
    tables: BTreeMap<Side, Peer>,
}

// === impl Side ===

impl Side {
    const BOTH: [Self; 2] = [Self::A, Self::B];

    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Who has made the connection that this is an end of.
fn maker((side, direction): (Side, Direction)) -> Side {
    match direction {
        Direction::Outgoing => side,
        Direction::Incoming => side.other(),
    }
}

// === impl Pair ===

impl Pair {
    pub(super) fn new(change: impl Fn(Side, &mut NeighborSpec)) -> Self {
        let side = |side: Side| {
            let mut spec = spec();
            if side == Side::B {
                (spec.local_as, spec.peer_as) = (spec.peer_as, spec.local_as);
                spec.router_id = Ipv4Addr::new(192, 0, 2, 2);
                spec.next_hops.ipv4 = Some(spec.router_id);
            }
            change(side, &mut spec);
            Neighbor::new(spec.try_into().unwrap(), side as u64)
        };
        Self {
            now: at(0),
            sides: Side::BOTH.map(side),
            under_way: VecDeque::new(),
            open: BTreeSet::new(),
            is_cut: false,
            dead: BTreeSet::new(),
            downs: BTreeMap::new(),
            tables: BTreeMap::new(),
        }
    }

    pub(super) fn neighbor(&self, side: Side) -> &Neighbor {
        &self.sides[side as usize]
    }

    pub(super) fn neighbor_mut(&mut self, side: Side) -> &mut Neighbor {
        &mut self.sides[side as usize]
    }

    pub(super) fn states(&self) -> [State; 2] {
        Side::BOTH.map(|side| self.neighbor(side).state())
    }

    pub(super) fn sessions(&self) -> [u64; 2] {
        Side::BOTH.map(|side| self.neighbor(side).sessions())
    }

    pub(super) fn established(&self, side: Side) -> Option<Direction> {
        self.neighbor(side).established()
    }

    pub(super) fn first_down(&self, side: Side) -> Option<&End> {
        self.downs.get(&side)?.first()
    }

    pub(super) fn start(&mut self) {
        for side in Side::BOTH {
            self.step(side, Event::Start);
        }
    }

    pub(super) fn step(&mut self, side: Side, event: Event<'_>) {
        let is_accepted = matches!(event, Event::Accepted);
        let now = self.now;
        let actions = self.neighbor_mut(side).step(now, event);
        let is_decided = |it: &&Action| matches!(it, Action::Take | Action::Refuse);
        let decisions = actions.iter().filter(is_decided).count();
        assert_eq!(decisions, usize::from(is_accepted), "{actions:?}");
        for action in actions {
            self.act(side, action);
        }
        while let Some((direction, bytes)) = self.neighbor_mut(side).updates(now, 4096) {
            self.act(side, Action::Send(direction, bytes));
        }
    }

    fn act(&mut self, side: Side, action: Action) {
        let other = side.other();
        match action {
            Action::Dial => self.send(other, Delivery::Accepted),
            Action::Take => {
                self.dead.remove(&other);
                self.open.insert((side, Direction::Incoming));
                self.send(other, Delivery::Dialled);
            }
            Action::Refuse => self.send(other, Delivery::Failed(Direction::Outgoing)),
            Action::Send(direction, bytes) => {
                assert!(self.open.contains(&(side, direction)), "sent over nothing");
                self.send(other, Delivery::Bytes(direction.other(), bytes));
            }
            Action::Close(direction) => {
                self.open.remove(&(side, direction));
                self.send(other, Delivery::Failed(direction.other()));
            }
            Action::Up(_) => {
                self.tables.insert(side, Peer::default());
            }
            Action::Down(end) => {
                self.tables.remove(&side);
                self.downs.entry(side).or_default().push(end);
            }
            Action::Failed(_) | Action::Default(_) => {}
        }
    }

    fn send(&mut self, to: Side, delivery: Delivery) {
        let maker = match &delivery {
            Delivery::Bytes(direction, _) => Some(maker((to, *direction))),
            Delivery::Dialled | Delivery::Accepted | Delivery::Failed(_) => None,
        };
        if self.is_cut {
            self.dead.extend(maker);
        } else if maker.is_none_or(|maker| !self.dead.contains(&maker)) {
            self.under_way.push_back((to, delivery));
        }
    }

    fn is_dialling(&self, side: Side) -> bool {
        self.neighbor(side).outgoing.fsm.state() == State::Connect
    }

    fn deliver(&mut self, side: Side, delivery: Delivery) {
        match delivery {
            Delivery::Accepted => self.step(side, Event::Accepted),
            Delivery::Dialled if self.is_dialling(side) => {
                self.open.insert((side, Direction::Outgoing));
                self.step(side, Event::Dialled);
            }
            // It was given up meanwhile.
            Delivery::Dialled => self.send(side.other(), Delivery::Failed(Direction::Incoming)),
            Delivery::Bytes(direction, bytes) => {
                if self.open.contains(&(side, direction)) {
                    self.step(side, Event::Received(direction, &bytes));
                    self.note_updates(side, &bytes);
                }
            }
            Delivery::Failed(direction) => {
                let was_open = self.open.remove(&(side, direction));
                if was_open || direction == Direction::Outgoing && self.is_dialling(side) {
                    self.step(side, Event::Failed(direction));
                }
            }
        }
    }

    fn note_updates(&mut self, side: Side, bytes: &Bytes) {
        let mut framing = Framing::default();
        framing.push(bytes);
        while let Ok(Some(message)) = framing.next_message() {
            if let (Message::Update(update), Some(peer)) = (message, self.tables.get_mut(&side)) {
                peer.update(&update);
            }
        }
    }

    /// Breaks all connections; sides that are not told find out by themselves.
    fn reset(&mut self, is_told: [bool; 2]) {
        self.under_way.clear();
        let open: Vec<_> = self.open.iter().copied().collect();
        self.dead.extend(open.iter().map(|end| maker(*end)));
        for (side, direction) in open {
            if is_told[side as usize] && self.open.remove(&(side, direction)) {
                self.is_cut = true;
                self.step(side, Event::Failed(direction));
                self.is_cut = false;
            }
        }
    }

    /// Lets time go by, from one thing that happens to the next.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            if let Some((side, delivery)) = self.under_way.pop_front() {
                self.now = self.now + Duration::from_micros(50);
                self.deliver(side, delivery);
                continue;
            }
            let due = |side| self.neighbor(side).deadline();
            let next = first(Side::BOTH.map(due)).filter(|next| *next <= end);
            let Some(next) = next else {
                break;
            };
            self.now = self.now.max(next);
            for side in Side::BOTH {
                let deadline = self.neighbor(side).deadline();
                if deadline.is_some_and(|deadline| deadline <= self.now) {
                    self.step(side, Event::Due);
                    let again = self.neighbor(side).deadline();
                    assert!(again.is_none_or(|again| again > self.now), "due again");
                }
            }
        }
        self.now = self.now.max(end);
    }

    /// Both have a session, over the same connection, and there is no other.
    pub(super) fn assert_one_session(&self) {
        assert_eq!(self.states(), [State::Established; 2]);
        let [a, b] = Side::BOTH.map(|side| self.established(side));
        assert_eq!(a.map(Direction::other), b);
        assert_eq!(self.open.len(), 2, "{:?}", self.open);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Run(u64),
    Reset(bool, bool),
    Cut(bool),
    Stop(bool),
    Start(bool),
    Bfd(bool),
    Route(bool, u8, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u64..20_000).prop_map(Op::Run),
        6 => (0_u64..5).prop_map(Op::Run),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Op::Reset(a, b)),
        2 => any::<bool>().prop_map(Op::Cut),
        1 => any::<bool>().prop_map(Op::Stop),
        1 => any::<bool>().prop_map(Op::Start),
        1 => any::<bool>().prop_map(Op::Bfd),
        3 => (any::<bool>(), 0_u8..4, any::<bool>()).prop_map(|(a, it, has)| Op::Route(a, it, has)),
    ]
}

fn side(is_a: bool) -> Side {
    if is_a { Side::A } else { Side::B }
}

fn apply(pair: &mut Pair, op: &Op) {
    match *op {
        Op::Run(millis) => pair.run(Duration::from_millis(millis)),
        Op::Reset(a, b) => pair.reset([a, b]),
        Op::Cut(is_cut) => pair.is_cut = is_cut,
        Op::Stop(is_a) => pair.step(side(is_a), Event::Stop(Cease::PeerDeconfigured)),
        Op::Start(is_a) => pair.step(side(is_a), Event::Start),
        Op::Bfd(is_a) => pair.step(side(is_a), Event::BfdDown),
        Op::Route(is_a, number, has) => {
            let prefix = Prefix::host(Ipv4Addr::new(203, 0, 113, number).into());
            let routes = pair.neighbor_mut(side(is_a)).routes_mut();
            routes.set(prefix, vip().1.filter(|_| has));
        }
    }
}

proptest! {
    /// Whatever happened: once it is over, there is one session, and each knows what the other one announces.
    #[test]
    fn there_is_a_session_again(
        ops in proptest::collection::vec(op(), 0..40),
        restarts in any::<bool>(),
        passive in proptest::option::of(any::<bool>()),
    ) {
        let mut pair = Pair::new(|this, spec| {
            spec.hold_time_secs = 9;
            spec.is_passive = passive.map(side) == Some(this);
            spec.graceful_restart = restarts.then_some(crate::GracefulRestart {
                restart_time_secs: 30,
                has_restarted: false,
            });
        });
        pair.start();
        for op in &ops {
            apply(&mut pair, op);
        }
        pair.is_cut = false;
        pair.start();
        // A time for what was lost unnoticed before an OPEN came, twice the longest rest, and a connection's time.
        pair.run(Duration::from_secs(60 + 64 + 64 + 6));
        pair.assert_one_session();
        for from in Side::BOTH {
            let routes = pair.neighbor(from).routes();
            let told: Vec<Prefix> = routes.sent().map(|(prefix, _)| prefix).collect();
            let known = pair.tables[&from.other()].routes.keys().copied();
            prop_assert_eq!(&told, &known.collect::<Vec<_>>());
            prop_assert_eq!(told.len(), routes.desired_count());
            prop_assert!(routes.is_settled());
        }
    }
}
