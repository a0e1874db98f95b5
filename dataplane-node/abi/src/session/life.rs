use crate::{
    SESSION_IDLE_CLOSED_SECS, SESSION_IDLE_CLOSING_SECS, SESSION_IDLE_OPEN_SECS,
    SESSION_IDLE_OPENING_SECS, SESSION_IDLE_RESET_SECS, SESSION_IDLE_UDP_SECS,
    SESSION_IDLE_UDP_SINGLE_SECS,
};

/// Whether there is a session, and what is known of it: one word, written by compare-and-exchange only.
///
/// ```text
/// 63        40 39   32 31          0
/// ┌───────────┬───────┬─────────────┐
/// │ generation│ state │ tick        │
/// └───────────┴───────┴─────────────┘
/// ```
///
/// The generation counts the flows that the place has had, so that who has read a session sees whether it is still the same.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLife(pub u64);

/// What is known of a flow: bits of [`SessionState`], or [`SessionState::FREE`], or [`SessionState::BUSY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState(pub u8);

/// A moment of the clock that sessions age by: steps of 2^30 ns, about 1.07 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTick(pub u32);

/// What a packet says of its flow: bits of [`SessionPacket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPacket(pub u8);

// === impl SessionState ===

impl SessionState {
    /// There is no session.
    pub const FREE: Self = Self(0);
    /// A CPU, or the agent, is writing it.
    pub const BUSY: Self = Self(Self::BUSY_BIT);
    /// There is a session; of its flow the client's first packet was seen.
    pub const OPENING: Self = Self(Self::OPEN);

    const OPEN: u8 = 1;
    const BUSY_BIT: u8 = 1 << 1;
    /// The server has answered.
    const ANSWERED: u8 = 1 << 2;
    /// The client has gone on after that: no flood does.
    const CONFIRMED: u8 = 1 << 3;
    const CLIENT_FIN: u8 = 1 << 4;
    const SERVER_FIN: u8 = 1 << 5;
    /// The last packet was a reset.
    const RESET: u8 = 1 << 6;

    /// Whether there is a session that nobody is writing.
    #[inline(always)]
    pub const fn is_open(self) -> bool {
        self.0 & Self::OPEN != 0
    }

    /// Whether either side has closed the connection: a SYN opens another.
    #[inline(always)]
    pub const fn is_closing(self) -> bool {
        self.0 & (Self::CLIENT_FIN | Self::SERVER_FIN | Self::RESET) != 0
    }

    /// Whether both sides have closed the connection, or one has reset it: nothing is lost with it but late packets.
    #[inline(always)]
    pub const fn is_closed(self) -> bool {
        const BOTH: u8 = SessionState::CLIENT_FIN | SessionState::SERVER_FIN;
        self.0 & BOTH == BOTH || self.0 & Self::RESET != 0
    }

    /// Whether both sides have spoken, and the client after that.
    #[inline(always)]
    pub const fn is_confirmed(self) -> bool {
        self.0 & Self::CONFIRMED != 0
    }

    /// After a packet from the client. Without branches, as are all that the programs ask for each packet.
    #[inline(always)]
    #[must_use]
    pub const fn after_client(self, packet: SessionPacket) -> Self {
        // Moves `ANSWERED` to `CONFIRMED`; a SYN sent again confirms nothing.
        let confirmed = (self.0 & Self::ANSWERED) << 1 & !(packet.0 << 2);
        let fin = (packet.0 & SessionPacket::FIN) << 4;
        Self(self.0 & !Self::RESET | confirmed | fin | packet.reset())
    }

    /// After a packet from the server.
    #[inline(always)]
    #[must_use]
    pub const fn after_server(self, packet: SessionPacket) -> Self {
        let fin = (packet.0 & SessionPacket::FIN) << 5;
        Self(self.0 & !Self::RESET | Self::ANSWERED | fin | packet.reset())
    }

    /// For how long a flow in this state may be silent, in ticks.
    #[inline(always)]
    pub const fn idle_ticks(self, is_tcp: bool) -> u32 {
        const BOTH: u8 = SessionState::CLIENT_FIN | SessionState::SERVER_FIN;
        if !is_tcp {
            return if self.is_confirmed() {
                SessionTick::of_secs(SESSION_IDLE_UDP_SECS)
            } else {
                SessionTick::of_secs(SESSION_IDLE_UDP_SINGLE_SECS)
            };
        }
        if self.0 & Self::RESET != 0 {
            SessionTick::of_secs(SESSION_IDLE_RESET_SECS)
        } else if self.0 & BOTH == BOTH {
            SessionTick::of_secs(SESSION_IDLE_CLOSED_SECS)
        } else if self.0 & BOTH != 0 {
            SessionTick::of_secs(SESSION_IDLE_CLOSING_SECS)
        } else if self.is_confirmed() {
            SessionTick::of_secs(SESSION_IDLE_OPEN_SECS)
        } else {
            SessionTick::of_secs(SESSION_IDLE_OPENING_SECS)
        }
    }
}

// === impl SessionPacket ===

impl SessionPacket {
    const FIN: u8 = 1;
    const SYN: u8 = 1 << 1;
    const RST: u8 = 1 << 2;

    /// From the flags of a TCP header (RFC 9293 section 3.1); zero of any other packet.
    #[inline(always)]
    pub const fn of_tcp(flags: u8) -> Self {
        Self(flags & (Self::FIN | Self::SYN | Self::RST))
    }

    /// Whether it asks for a connection, or answers to that.
    #[inline(always)]
    pub const fn is_syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    #[inline(always)]
    const fn reset(self) -> u8 {
        (self.0 & Self::RST) << 4
    }
}

// === impl SessionLife ===

impl SessionLife {
    const AGE: u32 = (1 << 24) - 1;
    /// A session that its writer has left busy for so long is nobody's: the agent may have been killed.
    const BUSY_TICKS: u32 = 10;

    #[inline(always)]
    const fn new(generation: u64, state: SessionState, tick: SessionTick) -> Self {
        Self(generation << 40 | (state.0 as u64) << 32 | tick.0 as u64)
    }

    #[inline(always)]
    const fn generation(self) -> u64 {
        self.0 >> 40
    }

    /// What is known of the flow.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "8 bits")]
    pub const fn state(self) -> SessionState {
        SessionState((self.0 >> 32) as u8)
    }

    /// When a packet of the flow was last seen.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "32 bits")]
    pub const fn tick(self) -> SessionTick {
        SessionTick(self.0 as u32)
    }

    /// Whether two lives are of one flow.
    #[inline(always)]
    pub const fn is_of(self, other: Self) -> bool {
        self.generation() == other.generation()
    }

    /// The same flow in another state.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, state: SessionState, now: SessionTick) -> Self {
        Self::new(self.generation(), state, now)
    }

    /// Of the next flow, which is being written.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(self, now: SessionTick) -> Self {
        Self::new(
            (self.generation() + 1) & 0x00ff_ffff,
            SessionState::BUSY,
            now,
        )
    }

    /// How many ticks ago a packet was last seen; a CPU that looked at the clock a moment later makes it zero, not a
    /// century.
    #[inline(always)]
    pub const fn age(self, now: SessionTick) -> u32 {
        let age = now.0.wrapping_sub(self.tick().0);
        if age > u32::MAX / 2 { 0 } else { age }
    }

    /// Whether the flow was silent for longer than its state allows, or its writer has not come back.
    #[inline(always)]
    pub const fn is_expired(self, is_tcp: bool, now: SessionTick) -> bool {
        let state = self.state();
        let idle = if state.is_open() {
            state.idle_ticks(is_tcp)
        } else {
            Self::BUSY_TICKS
        };
        state.0 != SessionState::FREE.0 && self.age(now) > idle
    }

    /// Whether a new flow that needs its place or its port may have it: it has expired, or no client has confirmed it and it
    /// was silent for `patience` ticks.
    #[inline(always)]
    pub const fn is_takeable(self, is_tcp: bool, now: SessionTick, patience: u32) -> bool {
        let state = self.state();
        let is_unconfirmed = state.is_open() && !state.is_confirmed();
        self.is_expired(is_tcp, now) || is_unconfirmed && self.age(now) >= patience
    }

    /// Of several sessions, the one with the largest number is looked at first for that: those that no client has confirmed
    /// come before others, each kind by age. Without branches: the verifier would follow them for each session of a line.
    #[inline(always)]
    pub const fn rank(self, now: SessionTick) -> u32 {
        // A CPU that looked at the clock a moment later may have written it.
        let age = now.0.wrapping_sub(self.tick().0).wrapping_add(1) & Self::AGE;
        let unconfirmed = (self.0 >> 32 & !(self.0 >> 35)) as u32 & 1;
        unconfirmed << 24 | age
    }
}

// === impl SessionTick ===

impl SessionTick {
    const BITS: u32 = 30;

    /// The tick of a moment of `CLOCK_MONOTONIC`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it wraps after 146 years")]
    pub const fn at(monotonic_ns: u64) -> Self {
        Self((monotonic_ns >> Self::BITS) as u32)
    }

    /// Ticks that last at least as long.
    #[expect(clippy::cast_possible_truncation, reason = "hours")]
    pub const fn of_secs(secs: u32) -> u32 {
        (secs as u64 * 1_000_000_000).div_ceil(1 << Self::BITS) as u32
    }
}
