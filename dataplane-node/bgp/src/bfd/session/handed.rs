use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::str::FromStr;

use super::{Intervals, Partner, Poll, Session, SessionConfig, SessionSpec};
use crate::Moment;
use crate::bfd::{Diagnostic, State};

/// A session that is up, for another process to go on with: the partner is to notice nothing. As text, the members one behind the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedSession {
    config: SessionConfig,
    partner: Partner,
}

/// A text that says no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no facts of a BFD session")]
pub struct NoHandedSession;

// === impl Session ===

impl Session {
    /// Gives the session away, if it is up. This one only repeats from now on what it last said, so that nothing is missing at the partner
    /// until the other one speaks; it finds no loss any more.
    pub fn hand_over(&mut self) -> Option<HandedSession> {
        if self.state != State::Up {
            return None;
        }
        self.detection = None;
        Some(HandedSession {
            config: self.config,
            partner: self.partner,
        })
    }

    /// Goes on with a session that another process has given away; `seed` is random. It sends at once, and waits for the partner as
    /// from now on.
    pub fn resume(handed: HandedSession, seed: u64, now: Moment) -> Self {
        let HandedSession { config, partner } = handed;
        let mut session = Self::new(config, seed, now);
        session.state = State::Up;
        session.diagnostic = Diagnostic::NONE;
        session.partner = partner;
        session.in_use = Intervals {
            min_tx_micros: config.spec().desired_min_tx_micros,
            min_rx_micros: config.spec().required_min_rx_micros,
        };
        // What was changed last may have had no answer yet.
        session.poll = Poll::Running;
        session.next_packet = session.may_send().then_some(now);
        session.detection = session.detection_time().map(|time| now + time);
        session
    }
}

// === impl HandedSession ===

impl HandedSession {
    /// Our number for the session.
    pub fn discriminator(&self) -> NonZeroU32 {
        self.config.spec().discriminator
    }

    /// The partner's.
    pub fn partner_discriminator(&self) -> u32 {
        self.partner.discriminator
    }
}

impl fmt::Display for HandedSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionSpec {
            discriminator,
            desired_min_tx_micros,
            required_min_rx_micros,
            detect_mult,
            is_passive,
            is_independent,
        } = self.config.spec();
        write!(
            out,
            "{discriminator} {desired_min_tx_micros} {required_min_rx_micros} {detect_mult} {is_passive} {is_independent} "
        )?;
        let Partner {
            discriminator,
            state,
            desired_min_tx_micros,
            required_min_rx_micros,
            detect_mult,
            is_demand,
        } = self.partner;
        let state = state as u8;
        write!(
            out,
            "{discriminator} {state} {desired_min_tx_micros} {required_min_rx_micros} {detect_mult} {is_demand}"
        )
    }
}

impl FromStr for HandedSession {
    type Err = NoHandedSession;

    fn from_str(text: &str) -> Result<Self, NoHandedSession> {
        fn next<'a, T: FromStr>(
            words: &mut impl Iterator<Item = &'a str>,
        ) -> Result<T, NoHandedSession> {
            let word = words.next().ok_or(NoHandedSession)?;
            word.parse().map_err(|_unparsed| NoHandedSession)
        }
        let words = &mut text.split(' ');
        let spec = SessionSpec {
            discriminator: next(words)?,
            desired_min_tx_micros: next(words)?,
            required_min_rx_micros: next(words)?,
            detect_mult: next(words)?,
            is_passive: next(words)?,
            is_independent: next(words)?,
        };
        let partner = Partner {
            discriminator: next::<NonZeroU32>(words)?.get(),
            state: {
                let number: u8 = next(words)?;
                let state = State::ALL.get(usize::from(number));
                *state.ok_or(NoHandedSession)?
            },
            desired_min_tx_micros: next(words)?,
            required_min_rx_micros: next(words)?,
            detect_mult: next::<NonZeroU8>(words)?.get(),
            is_demand: next(words)?,
        };
        let config = spec.try_into().map_err(|_invalid| NoHandedSession)?;
        let handed = Self { config, partner };
        words
            .next()
            .is_none()
            .then_some(handed)
            .ok_or(NoHandedSession)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{config, packet};
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    /// Up since the beginning, as the partner knows too.
    fn up() -> Session {
        let mut session = Session::new(config(|_| ()), 1, at(0));
        session.receive(at(0), &packet(State::Init));
        session.receive(at(0), &packet(State::Up));
        session
    }

    #[test]
    fn the_partner_sees_one_session_go_on() {
        let mut old = up();
        let handed = old.hand_over().expect("it is up");
        // The text is what the other process gets.
        let handed: HandedSession = handed.to_string().parse().expect("it says a session");
        assert_eq!(handed.partner_discriminator(), 9);
        let mut new = Session::resume(handed, 2, at(1_000));
        let said = new.due(at(1_000));
        assert_eq!(said.change, None);
        let said = said.packet.expect("it speaks at once");
        let before = old.due(at(1_000)).packet.expect("it repeats");
        assert_eq!(said.state, State::Up);
        assert_eq!(said.my_discriminator, before.my_discriminator);
        assert_eq!(said.your_discriminator, before.your_discriminator);
        assert_eq!(said.desired_min_tx_micros, before.desired_min_tx_micros);
        let times = |it: &Session| (it.detection_time(), it.transmit_interval());
        assert_eq!(times(&new), times(&up()));
        // It asks whether its intervals are known, once.
        assert!(said.is_poll);
        let mut answer = packet(State::Up);
        answer.is_final = true;
        new.receive(at(1_010), &answer);
        let next = new.due(at(1_060)).packet.expect("every 50 ms");
        assert!(!next.is_poll);
    }

    #[test]
    fn the_old_one_finds_no_loss_and_the_new_one_does() {
        let mut old = up();
        let handed = old.hand_over().expect("it is up");
        let mut new = Session::resume(handed, 2, at(100));
        for millis in (0..10_000).step_by(10) {
            assert_eq!(old.due(at(millis)).change, None);
        }
        assert_eq!(new.due(at(249)).change, None);
        let change = new.due(at(250)).change.expect("150 ms are over");
        assert_eq!((change.from, change.to), (State::Up, State::Down));
    }

    #[test]
    fn only_a_session_that_is_up_is_given() {
        let mut session = Session::new(config(|_| ()), 1, at(0));
        assert_eq!(session.hand_over(), None);
        session.receive(at(0), &packet(State::Down));
        assert_eq!(session.hand_over(), None);
        session.receive(at(0), &packet(State::Init));
        assert!(session.hand_over().is_some());
        session.disable(at(0));
        assert_eq!(session.hand_over(), None);
    }

    #[test]
    fn other_texts_are_no_sessions() {
        let good = up().hand_over().expect("it is up").to_string();
        let words: Vec<&str> = good.split(' ').collect();
        assert_eq!(good.parse::<HandedSession>().map(|_| ()), Ok(()));
        for length in 0..words.len() {
            let short = words[..length].join(" ");
            assert_eq!(short.parse::<HandedSession>(), Err(NoHandedSession));
        }
        let with = |at: usize, word: &str| {
            let mut words = words.clone();
            words[at] = word;
            words.join(" ").parse::<HandedSession>()
        };
        // Discriminators of 0, an interval that no thread keeps, a state that there is not, and one word more.
        for (at, word) in [(0, "0"), (1, "1"), (6, "0"), (7, "4"), (11, "true true")] {
            assert_eq!(with(at, word), Err(NoHandedSession), "{at} {word}");
        }
    }
}
