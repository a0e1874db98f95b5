use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::packet::{Diagnostic, Packet, State};
use crate::Moment;
use crate::chance::Chance;
use crate::moment::first;

mod config;
mod handed;
#[cfg(test)]
pub(super) mod testing;

pub use config::{InvalidSession, SessionConfig, SessionSpec};
pub use handed::{HandedSession, NoHandedSession};

/// One session (RFC 5880 section 6.8) in asynchronous mode.
///
/// ```text
///            Down, AdminDown,            Init
///            time expired        ┌──────────────────────┐
///           ┌──────────┐         │                      ▼
///           │   Down ◄─┼─────────┼──────────────────── Up ◄─┐ Init, Up
///           ▼    │  ▲  │         │   Down, AdminDown,       │
///           └────┤  └──┼─────────┼── time expired           │
///                │     │         │                          │
///                └─ Down ──► Init┴──────────────────────────┘
///                                     Init, Up
/// ```
///
/// The words at arrows are the partner's state in a packet. `AdminDown` is left by [`Session::enable`] alone.
#[derive(Clone, Debug)]
pub struct Session {
    config: SessionConfig,
    is_enabled: bool,
    state: State,
    diagnostic: Diagnostic,
    partner: Partner,
    /// What is used until the partner has answered a poll: sending slower, or expecting faster, would make it or us give up.
    in_use: Intervals,
    poll: Poll,
    next_packet: Option<Moment>,
    detection: Option<Moment>,
    chance: Chance,
}

/// What is to be done, and what has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// A packet to send at once.
    pub packet: Option<Packet>,
    /// The session's state is another one.
    pub change: Option<Change>,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub diagnostic: Diagnostic,
}

/// What the partner has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partner {
    discriminator: u32,
    state: State,
    desired_min_tx_micros: u32,
    required_min_rx_micros: u32,
    detect_mult: u8,
    is_demand: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Intervals {
    min_tx_micros: u32,
    min_rx_micros: u32,
}

/// A poll sequence (RFC 5880 section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    None,
    Running,
    /// Something changed after it began: another one follows, since the answer may be to what was before.
    RunningAndAgain,
}

/// A session that is not up sends no more often (RFC 5880 section 6.8.3).
const SLOW_MICROS: u32 = 1_000_000;

// === impl Partner ===

impl Partner {
    /// Before the first packet (RFC 5880 section 6.8.1).
    const UNKNOWN: Self = Self {
        discriminator: 0,
        state: State::Down,
        desired_min_tx_micros: 0,
        required_min_rx_micros: 1,
        detect_mult: 0,
        is_demand: false,
    };
}

// === impl Session ===

impl Session {
    /// A session that is down; `seed` is random. It sends at once unless it is passive.
    pub fn new(config: SessionConfig, seed: u64, now: Moment) -> Self {
        let mut session = Self {
            in_use: Intervals {
                min_tx_micros: config.spec().desired_min_tx_micros.max(SLOW_MICROS),
                min_rx_micros: config.spec().required_min_rx_micros,
            },
            config,
            is_enabled: true,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            partner: Partner::UNKNOWN,
            poll: Poll::None,
            next_packet: None,
            detection: None,
            chance: Chance::new(seed),
        };
        session.next_packet = session.may_send().then_some(now);
        session
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it was last not up.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// The state that the partner last told.
    pub fn partner_state(&self) -> State {
        self.partner.state
    }

    /// How often it sends, before jitter; none if it does not.
    pub fn transmit_interval(&self) -> Option<Duration> {
        let micros = self
            .in_use
            .min_tx_micros
            .max(self.partner.required_min_rx_micros);
        self.may_send()
            .then(|| Duration::from_micros(micros.into()))
    }

    /// How long nothing may come (RFC 5880 section 6.8.4); none before the first packet.
    pub fn detection_time(&self) -> Option<Duration> {
        let interval = self
            .in_use
            .min_rx_micros
            .max(self.partner.desired_min_tx_micros);
        let time = Duration::from_micros(interval.into()) * self.partner.detect_mult.into();
        (self.partner.discriminator != 0).then_some(time)
    }

    /// When [`Session::due`] is to be called.
    pub fn deadline(&self) -> Option<Moment> {
        first([self.next_packet, self.detection])
    }

    /// Takes a packet that [`super::Demultiplexer`] has found to be this session's (RFC 5880 section 6.8.6).
    pub fn receive(&mut self, now: Moment, packet: &Packet) -> Output {
        self.partner = Partner {
            discriminator: packet.my_discriminator.get(),
            state: packet.state,
            desired_min_tx_micros: packet.desired_min_tx_micros,
            required_min_rx_micros: packet.required_min_rx_micros,
            detect_mult: packet.detect_mult.get(),
            is_demand: packet.is_demand,
        };
        if packet.is_final {
            self.end_poll();
        }
        if self.state == State::AdminDown {
            return Output::default();
        }
        let change = self
            .next_state(packet.state)
            .and_then(|(state, diagnostic)| self.enter(state, diagnostic));
        self.detection = self.detection_time().map(|time| now + time);
        self.bring_forward(now);
        let is_answer = packet.is_poll;
        let is_told = change.is_some() && self.may_send();
        if is_told {
            self.schedule(now);
        }
        Output {
            packet: (is_answer || is_told).then(|| self.packet(is_answer)),
            change,
        }
    }

    /// Does what has become due.
    pub fn due(&mut self, now: Moment) -> Output {
        let mut change = None;
        if self.detection.is_some_and(|at| at <= now) {
            self.detection = None;
            self.partner = Partner::UNKNOWN;
            self.poll = Poll::None;
            if matches!(self.state, State::Init | State::Up) {
                change = self.enter(State::Down, Diagnostic::DETECTION_TIME_EXPIRED);
            }
        }
        let is_due = change.is_some() || self.next_packet.is_some_and(|at| at <= now);
        if is_due {
            self.schedule(now);
        }
        Output {
            packet: (is_due && self.may_send()).then(|| self.packet(false)),
            change,
        }
    }

    /// An operator does not want the session (RFC 5880 section 6.8.16). It goes on telling the partner so, until it is dropped.
    pub fn disable(&mut self, now: Moment) -> Output {
        self.is_enabled = false;
        self.detection = None;
        self.switch(now, State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN)
    }

    /// An operator wants the session again.
    pub fn enable(&mut self, now: Moment) -> Output {
        if self.is_enabled {
            return Output::default();
        }
        self.is_enabled = true;
        self.switch(now, State::Down, Diagnostic::NONE)
    }

    /// Takes other settings. What the partner has to know first is used when it has answered (RFC 5880 section 6.8.3).
    pub fn configure(&mut self, now: Moment, config: SessionConfig) {
        let before = self.desired();
        self.config = config;
        let desired = self.desired();
        if desired == before {
            return;
        }
        if self.state == State::Up {
            self.in_use.min_tx_micros = self.in_use.min_tx_micros.min(desired.min_tx_micros);
            self.in_use.min_rx_micros = self.in_use.min_rx_micros.max(desired.min_rx_micros);
        } else {
            self.in_use = desired;
        }
        self.start_poll();
        self.bring_forward(now);
    }

    /// What a packet in that state makes of ours.
    fn next_state(&self, told: State) -> Option<(State, Diagnostic)> {
        let signaled_down = (State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
        let keep = self.diagnostic;
        match (self.state, told) {
            (State::AdminDown, _)
            | (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up) => None,
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                Some(signaled_down)
            }
            (State::Down, State::Down) => Some((State::Init, keep)),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                Some((State::Up, keep))
            }
        }
    }

    fn enter(&mut self, to: State, diagnostic: Diagnostic) -> Option<Change> {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        if from == to {
            return None;
        }
        self.in_use = self.desired();
        self.poll = Poll::None;
        if to == State::Up {
            // The partner is told of faster packets.
            self.start_poll();
        }
        Some(Change {
            from,
            to,
            diagnostic,
        })
    }

    fn switch(&mut self, now: Moment, to: State, diagnostic: Diagnostic) -> Output {
        let change = self.enter(to, diagnostic);
        self.schedule(now);
        Output {
            packet: (change.is_some() && self.may_send()).then(|| self.packet(false)),
            change,
        }
    }

    fn start_poll(&mut self) {
        self.poll = match self.poll {
            Poll::None if self.state == State::Up => Poll::Running,
            Poll::None => Poll::None,
            Poll::Running | Poll::RunningAndAgain => Poll::RunningAndAgain,
        };
    }

    fn end_poll(&mut self) {
        self.poll = match self.poll {
            Poll::None => Poll::None,
            Poll::Running => {
                self.in_use = self.desired();
                Poll::None
            }
            Poll::RunningAndAgain => Poll::Running,
        };
    }

    /// The intervals that packets tell.
    fn desired(&self) -> Intervals {
        let spec = self.config.spec();
        let least = match self.state {
            State::Up => 0,
            State::AdminDown | State::Down | State::Init => SLOW_MICROS,
        };
        Intervals {
            min_tx_micros: spec.desired_min_tx_micros.max(least),
            min_rx_micros: spec.required_min_rx_micros,
        }
    }

    /// RFC 5880 section 6.8.7.
    fn may_send(&self) -> bool {
        let partner = self.partner;
        let waits = self.config.spec().is_passive && partner.discriminator == 0;
        let is_spared = partner.is_demand
            && self.state == State::Up
            && partner.state == State::Up
            && self.poll == Poll::None;
        !waits && !is_spared && partner.required_min_rx_micros != 0
    }

    fn schedule(&mut self, now: Moment) {
        // With a multiplier of 1 a packet must come before the partner's time is over (section 6.8.7).
        let most = if self.config.spec().detect_mult.get() == 1 {
            90
        } else {
            100
        };
        let interval = self.transmit_interval();
        self.next_packet = interval.map(|interval| now + self.chance.part(interval, 75, most));
    }

    /// Sends earlier where that is due by now; a packet that is due earlier stays so.
    fn bring_forward(&mut self, now: Moment) {
        let before = self.next_packet;
        match (before, self.transmit_interval()) {
            (_, None) => self.next_packet = None,
            (Some(before), Some(interval)) if before <= now + interval => {}
            (Some(_) | None, Some(_)) => self.schedule(now),
        }
    }

    fn packet(&self, is_answer: bool) -> Packet {
        let spec = self.config.spec();
        let desired = self.desired();
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            is_poll: self.poll != Poll::None && !is_answer,
            is_final: is_answer,
            is_independent: spec.is_independent,
            is_demand: false,
            detect_mult: spec.detect_mult,
            my_discriminator: spec.discriminator,
            your_discriminator: self.partner.discriminator,
            desired_min_tx_micros: desired.min_tx_micros,
            required_min_rx_micros: desired.min_rx_micros,
            required_min_echo_rx_micros: 0,
        }
    }

    /// Our discriminator.
    pub fn discriminator(&self) -> NonZeroU32 {
        self.config.spec().discriminator
    }

    /// Our multiplier.
    pub fn detect_mult(&self) -> NonZeroU8 {
        self.config.spec().detect_mult
    }
}

#[cfg(test)]
mod tests;
