use std::time::Duration;

use rustbgpd_wire::{MessageType, NotificationCode, OpenMessage};

use crate::chance::Chance;
use crate::config::NeighborConfig;
use crate::moment::first;
use crate::open::{Negotiated, negotiate};
use crate::{Cease, Moment, Notification};

/// Where a session is (RFC 4271 section 8.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Does nothing, or waits before it begins again.
    #[default]
    Idle,
    /// Makes a connection.
    Connect,
    /// Waits for a connection, or for the time to make one.
    Active,
    /// Has sent its OPEN and waits for the neighbor's.
    OpenSent,
    /// Both have agreed; waits for the neighbor to say so.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

/// How a connection, or the session over it, came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// We ended it, and said why.
    Sent(Notification),
    /// The neighbor did, and said why.
    Received(Notification),
    /// It broke, or nobody answered.
    Lost,
}

/// What happens to a connection. In comments: the events of RFC 4271 section 8.1.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// 1, 3, and where the machine listens 4, 5.
    Start,
    /// 2, 8: no new start follows by itself.
    Stop(Cease),
    /// 9.
    ConnectRetryExpired,
    /// 10.
    HoldExpired,
    /// 11.
    KeepaliveExpired,
    /// 13.
    IdleHoldExpired,
    /// 16, 17.
    Connected,
    /// 18.
    ConnectionFailed,
    /// RFC 9687: what was sent is not taken.
    SendHoldExpired,
    /// RFC 9384: BFD has lost the neighbor.
    BfdDown,
    /// 19; whether it can be accepted is decided here, so that it is 22, too.
    Open(OpenMessage),
    /// 21, 22, 28: what came cannot be read, or means nothing.
    Malformed(Notification),
    /// 23.
    CollisionLost,
    /// 24, 25.
    Notified(Notification),
    /// 26.
    Keepalive,
    /// 27.
    Update,
    /// RFC 2918.
    RouteRefresh,
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Make a connection.
    Dial,
    /// Send our OPEN.
    SendOpen,
    /// Send a KEEPALIVE.
    SendKeepalive,
    /// Send this before the connection is closed.
    SendNotification(Notification),
    /// Close the connection, or stop to make one.
    Close,
    /// The session is established.
    Up(Negotiated),
    /// The connection, and the session if there was one, has ended.
    Ended(End),
}

/// One connection to a neighbor: the machine of RFC 4271 section 8, without `DelayOpen` (its timer would spare a router that has
/// many neighbors a collision; here two machines share a neighbor instead, see [`crate::Neighbor`]).
///
/// ```text
///            Start            Connected           OPEN             KEEPALIVE
///   Idle ───────────► Connect ─────────► OpenSent ──────► OpenConfirm ──────────► Established
///    ▲ │              │  ▲                │    │               │                       │
///    │ │ Start,       ▼  │ retry          │    │ error, NOTIFICATION, hold time        │
///    │ └────────────► Active ◄────────────┘    │               │                       │
///    │   listening           connection fails  │               │                       │
///    └─────────────────────────────────────────┴───────────────┴───────────────────────┘
/// ```
///
/// It differs from the letter of the RFC where all routers do: a connection that cannot be made leads from `Connect` to `Active`,
/// an error in a header is named in every state, and a NOTIFICATION is never answered.
#[derive(Clone, Debug)]
pub(crate) struct Fsm {
    state: State,
    /// Waits for the neighbor's connection and makes none.
    is_listening: bool,
    timers: Timers,
    negotiated: Option<Negotiated>,
    /// Ends since the last session that was worth its name; `ConnectRetryCounter`.
    failures: u32,
    established_at: Option<Moment>,
    chance: Chance,
}

/// Those that run have a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Timers {
    connect_retry: Option<Moment>,
    hold: Option<Moment>,
    keepalive: Option<Moment>,
    idle_hold: Option<Moment>,
}

/// How long a connection may take to be made, and how long until the next one is tried.
const CONNECT_RETRY: Duration = Duration::from_secs(5);
/// How long the neighbor may take for its OPEN. The RFC suggests four minutes, which a router that was lost meanwhile would be missed for.
const OPEN_HOLD: Duration = Duration::from_mins(1);
/// How long the machine is idle after an end, at first; it doubles with each further one.
const IDLE_HOLD: Duration = Duration::from_secs(1);
/// Doublings of it.
const IDLE_HOLD_DOUBLINGS: u32 = 6;
/// A session that lasted as long has nothing to do with the end before it.
const SETTLED: Duration = Duration::from_secs(30);

// === impl State ===

impl State {
    /// Whether there is a connection over which messages go.
    pub(crate) fn has_connection(self) -> bool {
        match self {
            Self::Idle | Self::Connect | Self::Active => false,
            Self::OpenSent | Self::OpenConfirm | Self::Established => true,
        }
    }
}

// === impl Fsm ===

impl Fsm {
    pub(crate) fn new(is_listening: bool, seed: u64) -> Self {
        Self {
            state: State::Idle,
            is_listening,
            timers: Timers::default(),
            negotiated: None,
            failures: 0,
            established_at: None,
            chance: Chance::new(seed),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// From `OpenConfirm` on.
    pub(crate) fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_ref()
    }

    /// When the next timer expires.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let timers = self.timers;
        first([
            timers.connect_retry,
            timers.hold,
            timers.keepalive,
            timers.idle_hold,
        ])
    }

    /// The event of a timer that has expired. The hold timer comes first: a session that is dead sends nothing.
    pub(crate) fn expired(&self, now: Moment) -> Option<Event> {
        let timers = self.timers;
        let is_due = |timer: Option<Moment>| timer.is_some_and(|at| at <= now);
        match () {
            () if is_due(timers.hold) => Some(Event::HoldExpired),
            () if is_due(timers.keepalive) => Some(Event::KeepaliveExpired),
            () if is_due(timers.connect_retry) => Some(Event::ConnectRetryExpired),
            () if is_due(timers.idle_hold) => Some(Event::IdleHoldExpired),
            () => None,
        }
    }

    /// Idle until it is told to start.
    pub(crate) fn is_dormant(&self) -> bool {
        self.state == State::Idle && self.timers.idle_hold.is_none()
    }

    /// Lets a machine that is idle start when some time has gone by.
    pub(crate) fn start_later(&mut self, now: Moment) {
        if self.state == State::Idle {
            let doublings = self.failures.saturating_sub(1).min(IDLE_HOLD_DOUBLINGS);
            let wait = self.chance.part(IDLE_HOLD * 2_u32.pow(doublings), 75, 100);
            self.timers.idle_hold = Some(now + wait);
        }
    }

    /// An UPDATE was sent, which tells the neighbor as much as a KEEPALIVE.
    pub(crate) fn sent_update(&mut self, now: Moment) {
        if self.state == State::Established {
            self.restart_keepalive(now);
        }
    }

    /// Takes an event to the next state.
    pub(crate) fn step(
        &mut self,
        config: &NeighborConfig,
        now: Moment,
        event: Event,
    ) -> Vec<Effect> {
        match self.state {
            State::Idle => self.idle(now, &event),
            State::Connect | State::Active => self.without_connection(now, &event),
            State::OpenSent => self.open_sent(config, now, event),
            State::OpenConfirm => self.open_confirm(now, event),
            State::Established => self.established(now, event),
        }
    }

    fn idle(&mut self, now: Moment, event: &Event) -> Vec<Effect> {
        match event {
            Event::Start | Event::IdleHoldExpired => {
                self.timers = Timers::default();
                if self.is_listening {
                    self.state = State::Active;
                    return vec![];
                }
                self.dial(now)
            }
            Event::Stop(_) | Event::CollisionLost => {
                self.timers = Timers::default();
                vec![]
            }
            // Idle refuses connections.
            Event::Connected => vec![Effect::Close],
            Event::ConnectRetryExpired
            | Event::HoldExpired
            | Event::KeepaliveExpired
            | Event::ConnectionFailed
            | Event::SendHoldExpired
            | Event::BfdDown
            | Event::Open(_)
            | Event::Malformed(_)
            | Event::Notified(_)
            | Event::Keepalive
            | Event::Update
            | Event::RouteRefresh => vec![],
        }
    }

    /// `Connect` and `Active`.
    fn without_connection(&mut self, now: Moment, event: &Event) -> Vec<Effect> {
        match event {
            Event::Start => vec![],
            // The one that listens makes no connection.
            Event::ConnectRetryExpired if self.is_listening => vec![],
            Event::ConnectRetryExpired if self.state == State::Active => self.dial(now),
            Event::ConnectRetryExpired => {
                let mut effects = vec![Effect::Close];
                effects.extend(self.dial(now));
                effects
            }
            Event::Connected => {
                self.timers = Timers {
                    hold: Some(now + OPEN_HOLD),
                    ..Timers::default()
                };
                self.state = State::OpenSent;
                vec![Effect::SendOpen]
            }
            Event::ConnectionFailed if self.state == State::Connect => {
                self.wait_for_retry(now);
                vec![Effect::Close]
            }
            Event::Stop(_) | Event::CollisionLost => {
                self.state = State::Idle;
                self.timers = Timers::default();
                vec![Effect::Close]
            }
            Event::HoldExpired
            | Event::KeepaliveExpired
            | Event::IdleHoldExpired
            | Event::ConnectionFailed
            | Event::SendHoldExpired
            | Event::BfdDown
            | Event::Open(_)
            | Event::Malformed(_)
            | Event::Notified(_)
            | Event::Keepalive
            | Event::Update
            | Event::RouteRefresh => {
                self.rest(now);
                vec![Effect::Close]
            }
        }
    }

    fn open_sent(&mut self, config: &NeighborConfig, now: Moment, event: Event) -> Vec<Effect> {
        match event {
            Event::Open(open) => match negotiate(config, &open) {
                Ok(negotiated) => {
                    self.negotiated = Some(negotiated);
                    self.state = State::OpenConfirm;
                    self.restart_hold(now);
                    self.restart_keepalive(now);
                    vec![Effect::SendKeepalive]
                }
                Err(notification) => self.end(now, End::Sent(notification)),
            },
            Event::ConnectionFailed => {
                self.wait_for_retry(now);
                vec![Effect::Close, Effect::Ended(End::Lost)]
            }
            event => self.with_connection(now, event),
        }
    }

    fn open_confirm(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        match (event, self.negotiated) {
            (Event::Keepalive, Some(negotiated)) => {
                self.state = State::Established;
                self.established_at = Some(now);
                self.restart_hold(now);
                vec![Effect::Up(negotiated)]
            }
            (Event::KeepaliveExpired, Some(_)) => {
                self.restart_keepalive(now);
                vec![Effect::SendKeepalive]
            }
            (event, _) => self.with_connection(now, event),
        }
    }

    fn established(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        match event {
            Event::Keepalive | Event::Update | Event::RouteRefresh => {
                self.restart_hold(now);
                vec![]
            }
            Event::KeepaliveExpired => {
                self.restart_keepalive(now);
                vec![Effect::SendKeepalive]
            }
            event => self.with_connection(now, event),
        }
    }

    /// What the states with a connection have in common: almost everything ends it.
    fn with_connection(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let unspecific = || Notification::new(NotificationCode::FsmError, 0, vec![]);
        match event {
            // There is a connection: another one is another machine's.
            Event::Start | Event::Connected => vec![],
            Event::Stop(cease) => self.stop(now, &cease),
            Event::CollisionLost => self.stop(now, &Cease::Collision),
            Event::BfdDown => self.end(now, End::Sent((&Cease::BfdDown).into())),
            Event::HoldExpired => self.end(now, End::Sent(Notification::hold_timer_expired())),
            Event::SendHoldExpired => {
                self.end(now, End::Sent(Notification::send_hold_timer_expired()))
            }
            Event::ConnectRetryExpired | Event::KeepaliveExpired | Event::IdleHoldExpired => {
                self.end(now, End::Sent(unspecific()))
            }
            Event::ConnectionFailed => self.end(now, End::Lost),
            Event::Malformed(notification) => self.end(now, End::Sent(notification)),
            Event::Notified(notification) => self.end(now, End::Received(notification)),
            Event::Open(_) => self.unexpected(now, MessageType::Open),
            Event::Keepalive => self.unexpected(now, MessageType::Keepalive),
            Event::Update => self.unexpected(now, MessageType::Update),
            Event::RouteRefresh => self.unexpected(now, MessageType::RouteRefresh),
        }
    }

    fn unexpected(&mut self, now: Moment, message: MessageType) -> Vec<Effect> {
        let subcode = match self.state {
            State::Idle | State::Connect | State::Active => 0,
            State::OpenSent => 1,
            State::OpenConfirm => 2,
            State::Established => 3,
        };
        self.end(now, End::Sent(Notification::unexpected(subcode, message)))
    }

    /// Ends the connection for good.
    fn stop(&mut self, now: Moment, cease: &Cease) -> Vec<Effect> {
        let effects = self.end(now, End::Sent(cease.into()));
        self.failures = 0;
        self.timers = Timers::default();
        effects
    }

    /// Ends the connection; the machine begins again when it has rested.
    fn end(&mut self, now: Moment, end: End) -> Vec<Effect> {
        self.rest(now);
        let mut effects = match &end {
            End::Sent(notification) => vec![Effect::SendNotification(notification.clone())],
            End::Received(_) | End::Lost => vec![],
        };
        effects.extend([Effect::Close, Effect::Ended(end)]);
        effects
    }

    fn rest(&mut self, now: Moment) {
        let since = self.established_at.take();
        if since.is_some_and(|since| now - since >= SETTLED) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.negotiated = None;
        self.state = State::Idle;
        self.timers = Timers::default();
        self.start_later(now);
    }

    fn dial(&mut self, now: Moment) -> Vec<Effect> {
        self.state = State::Connect;
        self.restart_connect_retry(now);
        vec![Effect::Dial]
    }

    fn wait_for_retry(&mut self, now: Moment) {
        self.state = State::Active;
        self.timers = Timers::default();
        if !self.is_listening {
            self.restart_connect_retry(now);
        }
    }

    fn restart_connect_retry(&mut self, now: Moment) {
        // RFC 4271 section 10: so much jitter for this timer and the next.
        let wait = self.chance.part(CONNECT_RETRY, 75, 100);
        self.timers.connect_retry = Some(now + wait);
    }

    fn restart_keepalive(&mut self, now: Moment) {
        let third = self.hold_time().map(|hold_time| hold_time / 3);
        self.timers.keepalive = third.map(|third| now + self.chance.part(third, 75, 100));
    }

    fn restart_hold(&mut self, now: Moment) {
        self.timers.hold = self.hold_time().map(|hold_time| now + hold_time);
    }

    fn hold_time(&self) -> Option<Duration> {
        let secs = self.negotiated?.hold_time_secs;
        (secs > 0).then(|| Duration::from_secs(secs.into()))
    }
}

#[cfg(test)]
mod tests;
