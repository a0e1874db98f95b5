//! Two sessions over a link that delays packets, by less or more, and loses some.

use std::collections::BTreeMap;

use super::*;

struct Link {
    now: Moment,
    ends: [Session; 2],
    /// Packets under way by the time of their arrival; the number keeps those of the same time apart.
    under_way: BTreeMap<(Moment, usize), (usize, Packet)>,
    sent: usize,
    chance: Chance,
    delay: Duration,
    delay_jitter: Duration,
    /// Of a hundred packets, so many are lost; not more than so many in a row to one end.
    loss_percent: u64,
    losses_in_row_max: u32,
    losses_in_row: [u32; 2],
    lost: usize,
    is_cut: bool,
    changes: Vec<(Moment, usize, Change)>,
    arrivals: [Vec<Moment>; 2],
}

impl Link {
    fn new(change: impl Fn(usize, &mut SessionSpec)) -> Self {
        let end = |index: usize| {
            let config = config(|spec| {
                spec.discriminator = NonZeroU32::MIN.saturating_add(u32::try_from(index).unwrap());
                change(index, spec);
            });
            Session::new(config, index as u64, at(0))
        };
        Self {
            now: at(0),
            ends: [end(0), end(1)],
            under_way: BTreeMap::new(),
            sent: 0,
            chance: Chance::new(5),
            delay: Duration::from_micros(200),
            delay_jitter: Duration::ZERO,
            loss_percent: 0,
            losses_in_row_max: 0,
            losses_in_row: [0; 2],
            lost: 0,
            is_cut: false,
            changes: vec![],
            arrivals: [vec![], vec![]],
        }
    }

    fn is_lost(&mut self, to: usize) -> bool {
        let drawn = self.chance.part(Duration::from_micros(100), 0, 99);
        let is_drawn = drawn < Duration::from_micros(self.loss_percent);
        let is_lost = self.is_cut || is_drawn && self.losses_in_row[to] < self.losses_in_row_max;
        self.losses_in_row[to] = if is_lost {
            self.losses_in_row[to] + 1
        } else {
            0
        };
        self.lost += usize::from(is_lost);
        is_lost
    }

    fn take(&mut self, from: usize, output: Output) {
        if let Some(change) = output.change {
            self.changes.push((self.now, from, change));
        }
        let Some(packet) = output.packet else {
            return;
        };
        self.sent += 1;
        if !self.is_lost(1 - from) {
            let late = self.chance.part(self.delay_jitter, 0, 100);
            let arrival = self.now + self.delay + late;
            self.under_way
                .insert((arrival, self.sent), (1 - from, packet));
        }
    }

    /// A packet that has come is read before a deadline is reported.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let deadlines = [self.ends[0].deadline(), self.ends[1].deadline()];
            let next = first([arrival, first(deadlines)]).filter(|next| *next <= end);
            let Some(next) = next else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, packet)) = self.under_way.pop_first().unwrap();
                self.arrivals[to].push(self.now);
                let packet = Packet::read(&packet.to_bytes()).unwrap();
                let output = self.ends[to].receive(self.now, &packet);
                self.take(to, output);
                continue;
            }
            for (index, deadline) in deadlines.into_iter().enumerate() {
                if deadline == Some(next) {
                    let output = self.ends[index].due(self.now);
                    self.take(index, output);
                }
            }
        }
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }

    fn come_up(&mut self) {
        self.run(millis(1100));
        assert_eq!(self.states(), [State::Up; 2]);
        self.changes.clear();
    }

    /// Cuts the link; how long after the last arrival each end noticed.
    fn detection(&mut self) -> [Duration; 2] {
        self.run(millis(777));
        self.is_cut = true;
        self.run(Duration::from_millis(10));
        let last = [0, 1].map(|end: usize| *self.arrivals[end].last().unwrap());
        self.changes.clear();
        self.run(Duration::from_secs(5));
        [0, 1].map(|end| {
            let found = self.changes.iter().find(|(_, index, _)| *index == end);
            let (when, _, change) = found.expect("the loss is noticed");
            let expired = Diagnostic::DETECTION_TIME_EXPIRED;
            assert_eq!((change.from, change.to), (State::Up, State::Down));
            assert_eq!(change.diagnostic, expired);
            *when - last[end]
        })
    }
}

#[test]
fn it_comes_up_within_a_round_trip_of_the_first_packet() {
    let mut link = Link::new(|_, _| ());
    link.run(millis(2));
    assert_eq!(link.states(), [State::Up; 2]);
    let mut link = Link::new(|index, spec| spec.is_passive = index == 1);
    link.run(millis(2));
    assert_eq!(link.states(), [State::Up; 2]);
}

#[test]
fn intervals_are_agreed_on_and_a_loss_is_noticed_in_that_time() {
    // Desired, required and multiplier of both; the interval and the detection time of each.
    type Case = ([(u64, u64, u8); 2], [u64; 2], [u64; 2]);
    let cases: [Case; 5] = [
        ([(50, 50, 3), (50, 50, 3)], [50, 50], [150, 150]),
        ([(10, 10, 3), (10, 10, 3)], [10, 10], [30, 30]),
        ([(10, 300, 3), (50, 20, 5)], [20, 300], [1500, 60]),
        ([(100, 100, 1), (100, 100, 1)], [100, 100], [100, 100]),
        ([(2000, 10, 2), (10, 10, 2)], [2000, 10], [20, 4000]),
    ];
    for (settings, intervals, detections) in cases {
        let mut link = Link::new(|index, spec| {
            let (tx, rx, mult) = settings[index];
            spec.desired_min_tx_micros = u32::try_from(tx * 1000).unwrap();
            spec.required_min_rx_micros = u32::try_from(rx * 1000).unwrap();
            spec.detect_mult = NonZeroU8::new(mult).unwrap();
        });
        link.run(Duration::from_secs(6));
        assert_eq!(link.states(), [State::Up; 2]);
        let seen = [0, 1].map(|end: usize| link.ends[end].transmit_interval());
        assert_eq!(seen, intervals.map(|it| Some(millis(it))));
        assert_eq!(link.detection(), detections.map(millis));
    }
}

#[test]
fn packets_come_as_often_as_agreed() {
    let mut link = Link::new(|_, _| ());
    link.come_up();
    link.arrivals = [vec![], vec![]];
    link.run(Duration::from_mins(1));
    for arrivals in &link.arrivals {
        // 60 s of intervals from 37.5 to 50 ms.
        assert!(
            arrivals.len() > 1200 && arrivals.len() < 1600,
            "{}",
            arrivals.len()
        );
        for pair in arrivals.windows(2) {
            let wait = pair[1] - pair[0];
            assert!(
                wait >= Duration::from_micros(37_500) && wait <= millis(50),
                "{wait:?}"
            );
        }
    }
}

#[test]
fn losses_below_the_limit_are_no_loss_of_the_partner() {
    for interval in [10_000, 50_000] {
        let mut link = Link::new(|_, spec| {
            (spec.desired_min_tx_micros, spec.required_min_rx_micros) = (interval, interval);
        });
        link.come_up();
        // Two in a row of three.
        (link.loss_percent, link.losses_in_row_max) = (40, 2);
        link.run(Duration::from_mins(10));
        assert_eq!((link.states(), link.changes.len()), ([State::Up; 2], 0));
        assert!(link.lost > 5000, "{}", link.lost);
    }
}

#[test]
fn losses_and_delays_together_below_the_limit() {
    let mut link = Link::new(|_, _| ());
    link.come_up();
    (link.loss_percent, link.losses_in_row_max) = (40, 1);
    link.delay_jitter = millis(49);
    link.run(Duration::from_mins(10));
    assert_eq!((link.states(), link.changes.len()), ([State::Up; 2], 0));
    assert!(link.lost > 5000, "{}", link.lost);
}

#[test]
fn three_losses_in_a_row_are_one() {
    let mut link = Link::new(|_, _| ());
    link.come_up();
    (link.loss_percent, link.losses_in_row_max) = (60, 5);
    link.run(Duration::from_mins(1));
    assert!(!link.changes.is_empty());
    link.loss_percent = 0;
    link.run(Duration::from_secs(2));
    assert_eq!(link.states(), [State::Up; 2]);
}

#[test]
fn other_intervals_come_into_force_without_a_loss() {
    let mut link = Link::new(|_, _| ());
    link.come_up();
    (link.loss_percent, link.losses_in_row_max) = (30, 1);
    link.delay_jitter = millis(5);
    for (tx, rx) in [
        (10_000, 10_000),
        (400_000, 50_000),
        (20_000, 300_000),
        (50_000, 50_000),
    ] {
        for index in 0..2 {
            let config = config(|spec| {
                spec.discriminator = link.ends[index].discriminator();
                (spec.desired_min_tx_micros, spec.required_min_rx_micros) = (tx, rx);
            });
            link.ends[index].configure(link.now, config);
        }
        link.run(Duration::from_secs(20));
        let slower = Duration::from_micros(u64::from(tx.max(rx)));
        for end in &link.ends {
            assert_eq!(end.transmit_interval(), Some(slower));
            assert_eq!(end.detection_time(), Some(slower * 3));
        }
    }
    assert_eq!((link.states(), link.changes.len()), ([State::Up; 2], 0));
}

#[test]
fn an_operator_takes_a_session_down_and_up_again() {
    let mut link = Link::new(|_, _| ());
    link.come_up();
    let output = link.ends[0].disable(link.now);
    link.take(0, output);
    link.run(Duration::from_secs(10));
    assert_eq!(link.states(), [State::AdminDown, State::Down]);
    let signaled = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
    assert_eq!(link.ends[1].diagnostic(), signaled);
    assert_eq!(link.ends[1].partner_state(), State::AdminDown);
    let output = link.ends[0].enable(link.now);
    link.take(0, output);
    link.run(millis(1100));
    assert_eq!(link.states(), [State::Up; 2]);
}

#[test]
fn a_partner_that_begins_anew_is_noticed_at_once() {
    let mut link = Link::new(|_, _| ());
    link.come_up();
    let config = config(|spec| spec.discriminator = NonZeroU32::new(77).unwrap());
    link.ends[1] = Session::new(config, 3, link.now);
    link.run(millis(2));
    assert_eq!(
        link.changes[0].2.diagnostic,
        Diagnostic::NEIGHBOR_SIGNALED_DOWN
    );
    link.run(millis(1100));
    assert_eq!(link.states(), [State::Up; 2]);
}
