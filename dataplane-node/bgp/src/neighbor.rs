use bytes::{Bytes, BytesMut};
use rustbgpd_wire::{Message, OpenMessage, RouteRefreshMessage, RouteRefreshSubtype, Safi};

use crate::adj_rib_out::{AdjRibOut, Told};
use crate::framing::{Framing, Unreadable, encode};
use crate::fsm::{Effect, Event as Step, Fsm};
use crate::import::{DefaultRoute, DefaultRouteChange, ImportCounts, Imports};
use crate::moment::first;
use crate::open::{negotiate, offer};
use crate::{Cease, End, Family, Moment, Negotiated, NeighborConfig, State};

/// Who made a connection. A neighbor has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We did.
    Outgoing,
    /// The neighbor did.
    Incoming,
}

/// What happens outside.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// An operator wants the session.
    Start,
    /// An operator does not want it any more, until the next start.
    Stop(Cease),
    /// The connection that [`Action::Dial`] asked for is there.
    Dialled,
    /// The neighbor has made a connection, to be kept only if [`Action::Take`] follows.
    Accepted,
    /// Bytes came.
    Received(Direction, &'a [u8]),
    /// A connection could not be made, was closed by the neighbor, or broke.
    Failed(Direction),
    /// The neighbor has not taken what was sent, for longer than the hold time (RFC 9687).
    NotTaken(Direction),
    /// BFD has lost the neighbor (RFC 5882 section 4.2).
    BfdDown,
    /// [`Neighbor::deadline`] has come.
    Due,
}

/// What is to be done outside, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a connection.
    Dial,
    /// Keep the connection that was accepted; it is the incoming one from now on.
    Take,
    /// Close the connection that was accepted.
    Refuse,
    /// Send bytes.
    Send(Direction, Bytes),
    /// Close a connection, once what was to be sent has been; or stop to make one. Nothing more of it is to be reported.
    Close(Direction),
    /// The session is established.
    Up(Negotiated),
    /// It is no longer.
    Down(End),
    /// A connection ended before there was a session.
    Failed(End),
    /// A default route that is imported.
    Default(DefaultRouteChange),
}

/// A neighbor: sessions, one after the other, and what is announced in them.
///
/// Each of two connections is a machine of RFC 4271 section 8.2: one makes connections, one waits for the neighbor's. Where both get as far
/// as an OPEN, one of them goes (section 6.8).
#[derive(Debug)]
pub struct Neighbor {
    config: NeighborConfig,
    outgoing: Connection,
    incoming: Connection,
    is_started: bool,
    routes: AdjRibOut,
    imports: Imports,
    last_end: Option<(Moment, End)>,
    sessions: u64,
}

#[derive(Debug)]
struct Connection {
    fsm: Fsm,
    input: Framing,
}

/// How many ways a neighbor can be made of seeds; each machine has its own.
const SEED_OF_INCOMING: u64 = 1 << 63;

// === impl Direction ===

impl Direction {
    const BOTH: [Self; 2] = [Self::Outgoing, Self::Incoming];

    fn other(self) -> Self {
        match self {
            Self::Outgoing => Self::Incoming,
            Self::Incoming => Self::Outgoing,
        }
    }
}

// === impl Neighbor ===

impl Neighbor {
    /// A neighbor that is idle; `seed` is random.
    pub fn new(config: NeighborConfig, seed: u64) -> Self {
        let connection = |is_listening, seed| Connection {
            fsm: Fsm::new(is_listening, seed),
            input: Framing::default(),
        };
        Self {
            config,
            outgoing: connection(false, seed),
            incoming: connection(true, seed ^ SEED_OF_INCOMING),
            is_started: false,
            routes: AdjRibOut::default(),
            imports: Imports::default(),
            last_end: None,
            sessions: 0,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &NeighborConfig {
        &self.config
    }

    /// The state of the connection that is ahead.
    pub fn state(&self) -> State {
        let states = Direction::BOTH.map(|direction| self.fsm(direction).state());
        states[0].max(states[1])
    }

    /// What the session has agreed on, while there is one.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.fsm(self.established()?).negotiated()
    }

    /// How the last connection ended, and when.
    pub fn last_end(&self) -> Option<&(Moment, End)> {
        self.last_end.as_ref()
    }

    /// Sessions that there have been.
    pub fn sessions(&self) -> u64 {
        self.sessions
    }

    /// What came of the neighbor's routes.
    pub fn import_counts(&self) -> ImportCounts {
        self.imports.counts()
    }

    /// The neighbor's default route, if it is asked for and there is one.
    pub fn default_route(&self, family: Family) -> Option<DefaultRoute> {
        self.imports.route(family)
    }

    /// What is announced.
    pub fn routes(&self) -> &AdjRibOut {
        &self.routes
    }

    /// What is announced, to be changed. [`Neighbor::updates`] has something to send then.
    pub fn routes_mut(&mut self) -> &mut AdjRibOut {
        &mut self.routes
    }

    /// When [`Event::Due`] is to happen.
    pub fn deadline(&self) -> Option<Moment> {
        let machines = [self.outgoing.fsm.deadline(), self.incoming.fsm.deadline()];
        first([first(machines), self.imports.deadline()])
    }

    /// Takes an event, and says what is to be done.
    pub fn step(&mut self, now: Moment, event: Event<'_>) -> Vec<Action> {
        let mut actions = vec![];
        match event {
            Event::Start => self.start(now, &mut actions),
            Event::Stop(cease) => {
                self.is_started = false;
                for direction in Direction::BOTH {
                    self.feed(now, direction, Step::Stop(cease.clone()), &mut actions);
                }
            }
            Event::Dialled => self.feed(now, Direction::Outgoing, Step::Connected, &mut actions),
            Event::Accepted => self.accept(now, &mut actions),
            Event::Received(direction, bytes) => {
                self.connection(direction).input.push(bytes);
                self.read(now, direction, &mut actions);
            }
            Event::Failed(direction) => {
                self.feed(now, direction, Step::ConnectionFailed, &mut actions);
            }
            Event::NotTaken(direction) => {
                self.feed(now, direction, Step::SendHoldExpired, &mut actions);
            }
            Event::BfdDown => {
                for direction in Direction::BOTH {
                    if self.fsm(direction).state().has_connection() {
                        self.feed(now, direction, Step::BfdDown, &mut actions);
                    }
                }
            }
            Event::Due => self.due(now, &mut actions),
        }
        self.wake_dormant(now);
        actions
    }

    /// Bytes that tell the neighbor of routes, about as many as `budget`, while there is a session and something to tell. The
    /// shell asks for more when the connection has taken these.
    pub fn updates(&mut self, now: Moment, budget: usize) -> Option<(Direction, Bytes)> {
        let direction = self.established()?;
        let mut bytes = BytesMut::new();
        while bytes.len() < budget
            && let Some(told) = self.routes.next_message()
        {
            let message = match told {
                Told::Update(update) => Message::Update(update.to_message()),
                Told::Refresh(family, subtype) => {
                    let afi = family.afi();
                    let safi = Safi::Unicast;
                    let message = RouteRefreshMessage::new_with_subtype(afi, safi, subtype);
                    Message::RouteRefresh(message)
                }
            };
            bytes.unsplit(encode(&message));
        }
        if bytes.is_empty() {
            return None;
        }
        self.connection(direction).fsm.sent_update(now);
        Some((direction, bytes.freeze()))
    }

    fn start(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.is_started, true) {
            for direction in Direction::BOTH {
                if self.is_used(direction) {
                    self.feed(now, direction, Step::Start, actions);
                }
            }
        }
    }

    fn due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for direction in Direction::BOTH {
            while let Some(event) = self.fsm(direction).expired(now) {
                self.feed(now, direction, event, actions);
            }
        }
        let changes = self.imports.expire(now);
        actions.extend(changes.into_iter().map(Action::Default));
    }

    fn accept(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.make_way(now, actions);
        if self.incoming.fsm.state() != State::Active {
            actions.push(Action::Refuse);
            return;
        }
        actions.push(Action::Take);
        self.feed(now, Direction::Incoming, Step::Connected, actions);
    }

    /// A neighbor that comes again has given up its connection before, where that tells nothing to the contrary: it has sent no OPEN
    /// over it, or it has restarted without a word (RFC 4724 section 5).
    fn make_way(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.incoming.fsm.state() == State::OpenSent {
            self.feed(now, Direction::Incoming, Step::ConnectionFailed, actions);
        }
        let restarts = self.negotiated().and_then(|it| it.peer_restart);
        let may_restart = restarts.is_some_and(|it| it.families.families().next().is_some());
        if let Some(direction) = self.established().filter(|_| may_restart) {
            self.feed(now, direction, Step::ConnectionFailed, actions);
            self.feed(now, Direction::Incoming, Step::Start, actions);
        }
    }

    /// Takes whole messages from what has come.
    fn read(&mut self, now: Moment, direction: Direction, actions: &mut Vec<Action>) {
        while self.fsm(direction).state().has_connection() {
            match self.connection(direction).input.next_message() {
                Ok(Some(message)) => self.take(now, direction, message, actions),
                Ok(None) => return,
                Err(Unreadable::Message(fault)) => {
                    self.feed(now, direction, Step::Malformed(fault), actions);
                }
                Err(Unreadable::Notification) => {
                    self.feed(now, direction, Step::ConnectionFailed, actions);
                }
            }
        }
        self.connection(direction).input.clear();
    }

    fn take(
        &mut self,
        now: Moment,
        direction: Direction,
        message: Message,
        actions: &mut Vec<Action>,
    ) {
        match message {
            Message::Open(open) => {
                let loser = self.collision(direction, &open);
                if let Some(loser) = loser {
                    self.feed(now, loser, Step::CollisionLost, actions);
                }
                if loser != Some(direction) {
                    self.feed(now, direction, Step::Open(open), actions);
                }
            }
            Message::Keepalive => self.feed(now, direction, Step::Keepalive, actions),
            Message::Notification(message) => {
                let notification = crate::Notification::received(message);
                self.feed(now, direction, Step::Notified(notification), actions);
            }
            Message::Update(update) => {
                self.feed(now, direction, Step::Update, actions);
                let fsm = self.fsm(direction);
                let Some(negotiated) = fsm.negotiated().copied() else {
                    return;
                };
                match self.imports.update(&self.config, &negotiated, &update) {
                    Ok(changes) => actions.extend(changes.into_iter().map(Action::Default)),
                    Err(fault) => self.feed(now, direction, Step::Malformed(fault), actions),
                }
            }
            Message::RouteRefresh(request) => {
                self.feed(now, direction, Step::RouteRefresh, actions);
                let family = request.afi().zip(request.safi());
                let family = family.and_then(|(afi, safi)| Family::of(afi, safi));
                // Others mark the answer to a request, and we make none.
                let is_request = request.subtype() == RouteRefreshSubtype::Normal;
                if let Some(family) = family.filter(|_| is_request) {
                    self.routes.refresh(family);
                }
            }
            // The codec knows no other kinds.
            _ => {}
        }
    }

    /// The connection that has to go, if there are two over which both sides agree (RFC 4271 section 6.8): the one that the router with the
    /// lower identifier has made (or with the lower AS number, RFC 6286 section 2.3), unless there is a session over the other one.
    fn collision(&self, direction: Direction, open: &OpenMessage) -> Option<Direction> {
        let other = self.fsm(direction.other());
        let is_agreed =
            self.fsm(direction).state() == State::OpenSent && negotiate(&self.config, open).is_ok();
        if !is_agreed {
            return None;
        }
        match other.state() {
            State::Idle | State::Connect | State::Active | State::OpenSent => None,
            State::Established => Some(direction),
            State::OpenConfirm => {
                let spec = self.config.spec();
                let ours = (spec.router_id, spec.local_as);
                let is_ours_higher = ours > (open.bgp_identifier, spec.peer_as);
                Some(if is_ours_higher {
                    Direction::Incoming
                } else {
                    Direction::Outgoing
                })
            }
        }
    }

    /// Gives a machine an event, and takes what it wants done.
    fn feed(&mut self, now: Moment, direction: Direction, event: Step, actions: &mut Vec<Action>) {
        let before = self.fsm(direction).negotiated().copied();
        let was_established = self.fsm(direction).state() == State::Established;
        let config = self.config.clone();
        let effects = self.connection(direction).fsm.step(&config, now, event);
        let send = |message: &Message| Action::Send(direction, encode(message).freeze());
        for effect in effects {
            match effect {
                Effect::Dial => actions.push(Action::Dial),
                Effect::SendOpen => {
                    self.connection(direction).input.clear();
                    let open = offer(&config, self.sessions == 0);
                    actions.push(send(&Message::Open(open)));
                }
                Effect::SendKeepalive => actions.push(send(&Message::Keepalive)),
                Effect::SendNotification(it) => {
                    actions.push(send(&Message::Notification(it.to_wire())));
                }
                Effect::Close => actions.push(Action::Close(direction)),
                Effect::Up(negotiated) => self.up(now, direction, negotiated, actions),
                Effect::Ended(end) => {
                    self.last_end = Some((now, end.clone()));
                    match before.filter(|_| was_established) {
                        Some(negotiated) => self.down(now, &negotiated, end, actions),
                        None => actions.push(Action::Failed(end)),
                    }
                }
            }
        }
    }

    fn up(
        &mut self,
        now: Moment,
        direction: Direction,
        negotiated: Negotiated,
        actions: &mut Vec<Action>,
    ) {
        self.sessions += 1;
        self.routes.begin(&self.config, negotiated);
        actions.push(Action::Up(negotiated));
        let changes = self.imports.begin(&negotiated);
        actions.extend(changes.into_iter().map(Action::Default));
        self.feed(now, direction.other(), Step::CollisionLost, actions);
    }

    fn down(&mut self, now: Moment, negotiated: &Negotiated, end: End, actions: &mut Vec<Action>) {
        self.routes.end();
        let changes = self.imports.end(now, negotiated, end == End::Lost);
        actions.push(Action::Down(end));
        actions.extend(changes.into_iter().map(Action::Default));
    }

    /// A machine that gave way to the other one begins again when that has got nowhere.
    fn wake_dormant(&mut self, now: Moment) {
        for direction in Direction::BOTH {
            let is_wanted = self.is_started && self.is_used(direction);
            let other = self.fsm(direction.other()).state();
            if is_wanted && self.fsm(direction).is_dormant() && other < State::OpenConfirm {
                self.connection(direction).fsm.start_later(now);
            }
        }
    }

    fn is_used(&self, direction: Direction) -> bool {
        match direction {
            Direction::Outgoing => !self.config.spec().is_passive,
            Direction::Incoming => true,
        }
    }

    fn established(&self) -> Option<Direction> {
        let is_established =
            |direction: &Direction| self.fsm(*direction).state() == State::Established;
        Direction::BOTH.into_iter().find(is_established)
    }

    fn fsm(&self, direction: Direction) -> &Fsm {
        match direction {
            Direction::Outgoing => &self.outgoing.fsm,
            Direction::Incoming => &self.incoming.fsm,
        }
    }

    fn connection(&mut self, direction: Direction) -> &mut Connection {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }
}

#[cfg(test)]
mod tests;
