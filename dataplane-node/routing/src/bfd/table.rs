use std::collections::BTreeMap;
use std::time::Duration;

use lbfabric_bgp::Moment;
use lbfabric_bgp::bfd::{Change, Demultiplexer, Output, Packet, Path, Session, State};
use tracing::{debug, error, info};

use super::{BfdKey, BfdReport, BfdRoute, OnLoss, Sender};
use crate::clock::{Clock, random};
use crate::config::BfdTimers;

/// All sessions, by whoever opened them.
pub(super) struct Table {
    clock: Clock,
    entries: BTreeMap<BfdKey, Entry>,
    demultiplexer: Demultiplexer<BfdKey>,
}

struct Entry {
    session: Session,
    path: Path,
    sender: Sender,
    on_loss: OnLoss,
    /// Nobody wants it any more, but the partner is to hear of that until then.
    ends_at: Option<Moment>,
}

/// For partners whose detection time is not known.
const FAREWELL: Duration = Duration::from_secs(3);

// === impl Table ===

impl Default for Table {
    fn default() -> Self {
        Self {
            clock: Clock::new(),
            entries: BTreeMap::new(),
            demultiplexer: Demultiplexer::default(),
        }
    }
}

impl Table {
    pub(super) fn open(
        &mut self,
        key: BfdKey,
        route: &BfdRoute,
        timers: BfdTimers,
        sender: Sender,
        on_loss: OnLoss,
    ) {
        let path = route.path;
        let number = u32::try_from(random() >> 32).unwrap_or(0);
        let discriminator = self.demultiplexer.free_discriminator(number);
        let config = match timers.with_discriminator(discriminator) {
            Ok(config) => config,
            Err(error) => {
                error!(?path, %error, "times of BFD that nobody checked");
                return;
            }
        };
        // One that says good-bye on the same path would contradict this one.
        self.entries.retain(|_, entry| entry.path != path);
        self.demultiplexer
            .insert(discriminator, path, route.least_ttl, key);
        let entry = Entry {
            session: Session::new(config, random(), self.clock.now()),
            path,
            sender,
            on_loss,
            ends_at: None,
        };
        self.entries.insert(key, entry);
    }

    pub(super) fn close(&mut self, key: BfdKey) {
        let now = self.clock.now();
        if let Some(entry) = self.entries.get_mut(&key) {
            let told_for = entry.session.detection_time().unwrap_or(FAREWELL);
            // Packets are slow when a session is not up.
            entry.ends_at = Some(now + told_for.max(FAREWELL));
            let output = entry.session.disable(now);
            entry.carry_out(output);
        }
    }

    pub(super) fn receive(&mut self, packet: &Packet, path: Path, ttl: u8) {
        let key = match self.demultiplexer.find(packet, path, ttl) {
            Ok(key) => key,
            Err(stranger) => {
                debug!(%stranger, "a BFD packet of no session");
                return;
            }
        };
        if let Some(entry) = self.entries.get_mut(&key) {
            let output = entry.session.receive(self.clock.now(), packet);
            entry.carry_out(output);
        }
    }

    /// Does what has become due.
    pub(super) fn due(&mut self) {
        let now = self.clock.now();
        for entry in self.entries.values_mut() {
            if entry.session.deadline().is_some_and(|at| at <= now) {
                let output = entry.session.due(now);
                entry.carry_out(output);
            }
        }
        let is_over = |_: &BfdKey, entry: &mut Entry| entry.ends_at.is_some_and(|at| at <= now);
        for (_, entry) in self.entries.extract_if(.., is_over) {
            self.demultiplexer.remove(entry.session.discriminator());
        }
    }

    /// How long nothing becomes due.
    pub(super) fn until_deadline(&self) -> Option<Duration> {
        let entries = self.entries.values();
        let deadlines = entries.flat_map(|entry| [entry.session.deadline(), entry.ends_at]);
        let first = deadlines.flatten().min()?;
        Some(first.since(self.clock.now()))
    }

    pub(super) fn report(&self) -> Vec<BfdReport> {
        let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let report = |entry: &Entry| BfdReport {
            path: entry.path,
            state: entry.session.state(),
            partner_state: entry.session.partner_state(),
            diagnostic: entry.session.diagnostic(),
            detection_micros: entry.session.detection_time().map(micros),
            transmit_micros: entry.session.transmit_interval().map(micros),
        };
        self.entries.values().map(report).collect()
    }
}

// === impl Entry ===

impl Entry {
    fn carry_out(&mut self, output: Output) {
        let Output { packet, change } = output;
        if let Some(change) = change {
            // Before everything else: whoever waits for it withdraws routes.
            if self.is_loss(change) {
                (self.on_loss)();
            }
            let path = self.path;
            let Change {
                from,
                to,
                diagnostic,
            } = change;
            info!(?path, ?from, ?to, ?diagnostic, "BFD");
        }
        if let Some(packet) = packet {
            self.sender.send(&packet);
        }
    }

    /// A partner whose operator has ended BFD alone is not lost (RFC 5882 section 4.2), nor is one whom we ended it with.
    fn is_loss(&self, change: Change) -> bool {
        change.from == State::Up
            && change.to == State::Down
            && self.session.partner_state() != State::AdminDown
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU8, NonZeroU32};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use lbfabric_bgp::bfd::Diagnostic;

    use super::*;

    fn packet(state: State) -> Packet {
        Packet {
            diagnostic: Diagnostic::NONE,
            state,
            is_poll: false,
            is_final: false,
            is_independent: false,
            is_demand: false,
            detect_mult: NonZeroU8::MAX,
            my_discriminator: NonZeroU32::MIN,
            your_discriminator: 0,
            desired_min_tx_micros: 60_000_000,
            required_min_rx_micros: 60_000_000,
            required_min_echo_rx_micros: 0,
        }
    }

    #[test]
    fn a_partner_that_is_lost_is_told_from_one_that_ends_bfd_alone() {
        let path = Path::SingleHop {
            remote: [127, 0, 0, 1].into(),
            // The loopback.
            interface: 1,
        };
        let route = BfdRoute {
            path,
            local: [127, 0, 0, 1].into(),
            // Nobody listens at the port of discarded packets.
            remote: ([127, 0, 0, 1], 9).into(),
            least_ttl: 255,
        };
        let losses = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&losses);
        let on_loss = Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let mut table = Table::default();
        let key = BfdKey(0);
        let sender = Sender::open(&route).unwrap();
        table.open(key, &route, BfdTimers::DEFAULT, sender, on_loss);
        let mut lost_after = |states: &[State]| {
            for state in states {
                table.receive(&packet(*state), path, 255);
            }
            (table.report()[0].state, losses.load(Ordering::Relaxed))
        };
        assert_eq!(lost_after(&[State::Down, State::Up]), (State::Up, 0));
        assert_eq!(lost_after(&[State::AdminDown]), (State::Down, 0));
        assert_eq!(lost_after(&[State::Down, State::Up]), (State::Up, 0));
        assert_eq!(lost_after(&[State::Down]), (State::Down, 1));
        assert_eq!(lost_after(&[State::Down, State::Up]), (State::Up, 1));
        // One that we end is no loss either, and a packet with a lower TTL is nobody's.
        table.close(key);
        table.receive(&packet(State::Down), path, 254);
        assert_eq!(table.report()[0].state, State::AdminDown);
        assert_eq!(losses.load(Ordering::Relaxed), 1);
    }
}
