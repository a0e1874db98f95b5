use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use lbfabric_bgp::Moment;
use lbfabric_bgp::bfd::{Change, Demultiplexer, Output, Packet, Path, Session, State};
use tracing::{debug, error, info};

use super::{BfdFacts, BfdKey, BfdReport, BfdRoute, HandedBfdSession, OnLoss, Sender};
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
    route: BfdRoute,
    sender: Sender,
    on_loss: OnLoss,
    /// Nobody wants it any more, but the partner is to hear of that until then.
    ends_at: Option<Moment>,
    resumed: Option<Resumed>,
}

/// What there is to one of another process, until its partner is known to have kept it.
#[derive(Clone, Copy, Debug)]
struct Resumed {
    /// Another one is that of a partner that has begun anew, as its BGP session is another one: that is no loss.
    partner_discriminator: u32,
    /// Nobody has asked for it yet. It ends then.
    unclaimed_until: Option<Moment>,
}

/// For partners whose detection time is not known.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long a session of another process waits for the BGP session beside it: as long as routers usually keep routes (RFC 4724 section 4).
const UNCLAIMED: Duration = Duration::from_mins(3);

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
        if let Some(resumed) = self.take_resumed(route, timers) {
            let discriminator = resumed.session.discriminator();
            self.demultiplexer
                .insert(discriminator, path, route.least_ttl, key);
            self.entries.insert(key, Entry { on_loss, ..resumed });
            return;
        }
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
        self.entries.retain(|_, entry| entry.route.path != path);
        self.demultiplexer
            .insert(discriminator, path, route.least_ttl, key);
        let entry = Entry {
            session: Session::new(config, random(), self.clock.now()),
            route: *route,
            sender,
            on_loss,
            ends_at: None,
            resumed: None,
        };
        self.entries.insert(key, entry);
    }

    /// Goes on with a session of another process, until somebody opens it.
    pub(super) fn resume(&mut self, key: BfdKey, handed: HandedBfdSession) {
        let HandedBfdSession { socket, facts } = handed;
        let BfdFacts { route, session } = facts;
        let now = self.clock.now();
        self.demultiplexer
            .insert(session.discriminator(), route.path, route.least_ttl, key);
        let entry = Entry {
            session: Session::resume(session, random(), now),
            sender: Sender::resume(socket, &route),
            route,
            on_loss: Box::new(|| ()),
            ends_at: None,
            resumed: Some(Resumed {
                partner_discriminator: session.partner_discriminator(),
                unclaimed_until: Some(now + UNCLAIMED),
            }),
        };
        self.entries.insert(key, entry);
    }

    /// Gives sessions that are up to another process. Here they only repeat from now on what they said; the others end.
    pub(super) fn hand_over(&mut self) -> io::Result<Vec<HandedBfdSession>> {
        let mut handed = vec![];
        let sockets = self.entries.values().map(|entry| entry.sender.copy());
        let sockets: Vec<_> = sockets.collect::<io::Result<_>>()?;
        let mut sockets = sockets.into_iter();
        self.entries.retain(|_, entry| {
            let given = sockets.next().zip(entry.session.hand_over());
            let route = entry.route;
            handed.extend(given.map(|(socket, session)| HandedBfdSession {
                socket,
                facts: BfdFacts { route, session },
            }));
            entry.ends_at.is_some() || entry.session.state() == State::Up
        });
        Ok(handed)
    }

    /// The session of another process on that route that nobody has asked for yet.
    fn take_resumed(&mut self, route: &BfdRoute, timers: BfdTimers) -> Option<Entry> {
        let is_it = |entry: &Entry| {
            let resumed = entry.resumed;
            let is_free = resumed.is_some_and(|it| it.unclaimed_until.is_some());
            is_free && entry.route == *route && entry.ends_at.is_none()
        };
        let mut entries = self.entries.iter();
        let (key, config) = entries.find_map(|(key, entry)| {
            let discriminator = entry.session.discriminator();
            let config = timers.with_discriminator(discriminator).ok()?;
            is_it(entry).then_some((*key, config))
        })?;
        let mut entry = self.entries.remove(&key)?;
        if let Some(resumed) = &mut entry.resumed {
            resumed.unclaimed_until = None;
        }
        entry.session.configure(self.clock.now(), config);
        Some(entry)
    }

    pub(super) fn close(&mut self, key: BfdKey) {
        let now = self.clock.now();
        if let Some(entry) = self.entries.get_mut(&key) {
            let told_for = entry.session.detection_time().unwrap_or(FAREWELL);
            // Packets are slow when a session is not up.
            entry.ends_at = Some(now + told_for.max(FAREWELL));
            entry.resumed = None;
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
            let is_anew = entry.begins_anew(packet);
            let output = entry.session.receive(self.clock.now(), packet);
            if is_anew {
                entry.tell(output);
            } else {
                entry.carry_out(output);
            }
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
        let unclaimed = self.entries.iter().filter(|(_, entry)| {
            let until = entry.resumed.and_then(|it| it.unclaimed_until);
            until.is_some_and(|at| at <= now)
        });
        let unclaimed: Vec<_> = unclaimed.map(|(key, _)| *key).collect();
        for key in unclaimed {
            self.close(key);
        }
        let is_over = |_: &BfdKey, entry: &mut Entry| entry.ends_at.is_some_and(|at| at <= now);
        for (_, entry) in self.entries.extract_if(.., is_over) {
            self.demultiplexer.remove(entry.session.discriminator());
        }
    }

    /// How long nothing becomes due.
    pub(super) fn until_deadline(&self) -> Option<Duration> {
        let entries = self.entries.values();
        let deadlines = entries.flat_map(|entry| {
            let unclaimed = entry.resumed.and_then(|it| it.unclaimed_until);
            [entry.session.deadline(), entry.ends_at, unclaimed]
        });
        let first = deadlines.flatten().min()?;
        Some(first.since(self.clock.now()))
    }

    pub(super) fn report(&self) -> Vec<BfdReport> {
        let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let report = |entry: &Entry| BfdReport {
            path: entry.route.path,
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
        // Before everything else: whoever waits for it withdraws routes.
        if output.change.is_some_and(|change| self.is_loss(change)) {
            (self.on_loss)();
        }
        self.tell(output);
    }

    fn tell(&self, output: Output) {
        let Output { packet, change } = output;
        if let Some(change) = change {
            let path = self.route.path;
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

    /// Whether a session of another process is a new one to its partner, of which it hears for the first time.
    fn begins_anew(&mut self, packet: &Packet) -> bool {
        let Some(resumed) = self.resumed else {
            return false;
        };
        let is_other = packet.my_discriminator.get() != resumed.partner_discriminator;
        if is_other && resumed.unclaimed_until.is_some() {
            let partner_discriminator = packet.my_discriminator.get();
            self.resumed = Some(Resumed {
                partner_discriminator,
                ..resumed
            });
        } else if resumed.unclaimed_until.is_none() {
            self.resumed = None;
        }
        is_other
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

    fn route() -> BfdRoute {
        BfdRoute {
            path: Path::SingleHop {
                remote: [127, 0, 0, 1].into(),
                // The loopback.
                interface: 1,
            },
            local: [127, 0, 0, 1].into(),
            // Nobody listens at the port of discarded packets.
            remote: ([127, 0, 0, 1], 9).into(),
            least_ttl: 255,
        }
    }

    fn counted() -> (Arc<AtomicU32>, OnLoss) {
        let losses = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&losses);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (losses, Box::new(count))
    }

    /// A table with a session that another one has given, whose partner has number 1.
    fn resumed() -> Table {
        let route = route();
        let mut old = Table::default();
        let sender = Sender::open(&route).unwrap();
        old.open(BfdKey(0), &route, BfdTimers::DEFAULT, sender, counted().1);
        for state in [State::Down, State::Up] {
            old.receive(&packet(state), route.path, 255);
        }
        let mut handed = old.hand_over().unwrap();
        assert_eq!(handed.len(), 1);
        // It finds no loss any more, and speaks on.
        assert!(old.until_deadline().is_some());
        let mut table = Table::default();
        table.resume(BfdKey(7), handed.remove(0));
        assert_eq!(table.report()[0].state, State::Up);
        table
    }

    fn claim(table: &mut Table) -> Arc<AtomicU32> {
        let (losses, on_loss) = counted();
        let route = route();
        let sender = Sender::open(&route).unwrap();
        table.open(BfdKey(8), &route, BfdTimers::DEFAULT, sender, on_loss);
        assert_eq!(table.entries.len(), 1);
        losses
    }

    #[test]
    fn a_session_of_another_process_is_lost_like_others() {
        let mut table = resumed();
        let losses = claim(&mut table);
        assert_eq!(table.report()[0].state, State::Up);
        table.receive(&packet(State::Down), route().path, 255);
        assert_eq!(table.report()[0].state, State::Down);
        assert_eq!(losses.load(Ordering::Relaxed), 1);
        // Whoever asked for it ends it, too.
        table.close(BfdKey(8));
        assert_eq!(table.report()[0].state, State::AdminDown);
    }

    #[test]
    fn a_partner_that_begins_anew_with_us_is_no_loss() {
        let mut table = resumed();
        let losses = claim(&mut table);
        let anew = Packet {
            my_discriminator: NonZeroU32::MAX,
            ..packet(State::Down)
        };
        table.receive(&anew, route().path, 255);
        assert_eq!(table.report()[0].state, State::Down);
        assert_eq!(losses.load(Ordering::Relaxed), 0);
        // Once it is known, it is lost like others.
        for state in [State::Down, State::Up, State::Down] {
            let packet = Packet { state, ..anew };
            table.receive(&packet, route().path, 255);
        }
        assert_eq!(losses.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_session_that_nobody_asks_for_ends() {
        let mut table = resumed();
        table.due();
        assert_eq!(table.report()[0].state, State::Up);
        let now = table.clock.now();
        for entry in table.entries.values_mut() {
            let resumed = entry.resumed.as_mut().expect("it is");
            resumed.unclaimed_until = Some(now);
        }
        table.due();
        assert_eq!(table.report()[0].state, State::AdminDown);
    }

    #[test]
    fn a_partner_that_is_lost_is_told_from_one_that_ends_bfd_alone() {
        let route = route();
        let path = route.path;
        let (losses, on_loss) = counted();
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
