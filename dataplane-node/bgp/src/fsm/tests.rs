use std::fmt::Write;

use super::*;
use crate::testing::{config, peer_open};

const STATES: [State; 6] = [
    State::Idle,
    State::Connect,
    State::Active,
    State::OpenSent,
    State::OpenConfirm,
    State::Established,
];

fn at(secs: u64) -> Moment {
    Moment::after_start(Duration::from_secs(secs))
}

/// A machine that has come to the state by the shortest way.
fn in_state(is_listening: bool, state: State) -> Fsm {
    let mut fsm = Fsm::new(is_listening, 1);
    let way = match state {
        State::Idle => 0,
        State::Connect => 1,
        State::Active => 2,
        State::OpenSent => 3,
        State::OpenConfirm => 4,
        State::Established => 5,
    };
    let to_active = if is_listening {
        vec![]
    } else {
        vec![Event::ConnectionFailed]
    };
    let mut steps = vec![vec![Event::Start], to_active];
    let further = [Event::Connected, Event::Open(peer_open()), Event::Keepalive];
    steps.extend(further.map(|event| vec![event]));
    for event in steps.into_iter().take(way).flatten() {
        fsm.step(&config(), at(1), event);
    }
    fsm
}

fn events() -> Vec<(&'static str, Event)> {
    let fault = Notification::bad_length(1);
    let mut stranger = peer_open();
    stranger.bgp_identifier = [0; 4].into();
    let said = Notification::from(&Cease::PeerDeconfigured);
    let stop = Cease::AdministrativeShutdown(String::new());
    vec![
        ("Start", Event::Start),
        ("Stop", Event::Stop(stop)),
        ("ConnectRetryExpired", Event::ConnectRetryExpired),
        ("HoldExpired", Event::HoldExpired),
        ("KeepaliveExpired", Event::KeepaliveExpired),
        ("IdleHoldExpired", Event::IdleHoldExpired),
        ("Connected", Event::Connected),
        ("ConnectionFailed", Event::ConnectionFailed),
        ("SendHoldExpired", Event::SendHoldExpired),
        ("BfdDown", Event::BfdDown),
        ("Open", Event::Open(peer_open())),
        ("Open, refused", Event::Open(stranger)),
        ("Malformed", Event::Malformed(fault)),
        ("CollisionLost", Event::CollisionLost),
        ("Notified", Event::Notified(said)),
        ("Keepalive", Event::Keepalive),
        ("Update", Event::Update),
        ("RouteRefresh", Event::RouteRefresh),
    ]
}

/// Every event is in the table: a new one does not compile before it has a number here.
fn number(event: &Event) -> usize {
    match event {
        Event::Start => 0,
        Event::Stop(_) => 1,
        Event::ConnectRetryExpired => 2,
        Event::HoldExpired => 3,
        Event::KeepaliveExpired => 4,
        Event::IdleHoldExpired => 5,
        Event::Connected => 6,
        Event::ConnectionFailed => 7,
        Event::SendHoldExpired => 8,
        Event::BfdDown => 9,
        Event::Open(_) => 10,
        Event::Malformed(_) => 11,
        Event::CollisionLost => 12,
        Event::Notified(_) => 13,
        Event::Keepalive => 14,
        Event::Update => 15,
        Event::RouteRefresh => 16,
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Idle => "Idle",
        State::Connect => "Connect",
        State::Active => "Active",
        State::OpenSent => "OpenSent",
        State::OpenConfirm => "OpenConfirm",
        State::Established => "Established",
    }
}

/// What is done, the state after it, and the timers that run then: connect retry, hold, keepalive, idle hold.
fn cell(fsm: &mut Fsm, event: Event) -> String {
    let mut cell = String::new();
    for effect in fsm.step(&config(), at(2), event) {
        match effect {
            Effect::Dial => cell.push_str("dial "),
            Effect::SendOpen => cell.push_str("open "),
            Effect::SendKeepalive => cell.push_str("keepalive "),
            Effect::SendNotification(it) => {
                write!(cell, "{}/{} ", it.code(), it.subcode()).unwrap();
            }
            Effect::Close => cell.push_str("close "),
            Effect::Up(_) => cell.push_str("up "),
            Effect::Ended(End::Sent(_)) => cell.push_str("sent "),
            Effect::Ended(End::Received(_)) => cell.push_str("received "),
            Effect::Ended(End::Lost) => cell.push_str("lost "),
        }
    }
    let timers = [
        ('c', fsm.timers.connect_retry),
        ('h', fsm.timers.hold),
        ('k', fsm.timers.keepalive),
        ('i', fsm.timers.idle_hold),
    ];
    let running = timers.into_iter().filter(|(_, at)| at.is_some());
    let running: String = running.map(|(letter, _)| letter).collect();
    write!(cell, "{} {running}", name(fsm.state())).unwrap();
    cell.trim_end().to_owned()
}

fn table(is_listening: bool) -> String {
    let mut table = String::new();
    for state in STATES {
        if is_listening && state == State::Connect {
            continue;
        }
        writeln!(table, "{}", name(state)).unwrap();
        for (label, event) in events() {
            let mut fsm = in_state(is_listening, state);
            assert_eq!(fsm.state(), state);
            writeln!(table, "  {label}: {}", cell(&mut fsm, event)).unwrap();
        }
    }
    table
}

fn assert_table(is_listening: bool, expected: &str) {
    let seen = table(is_listening);
    for (seen, expected) in seen.lines().zip(expected.lines()) {
        assert_eq!(seen, expected);
    }
    assert_eq!(seen, expected);
}

#[test]
fn the_table_has_every_event() {
    let numbers: Vec<usize> = events().iter().map(|(_, event)| number(event)).collect();
    let mut known = numbers.clone();
    known.dedup();
    assert_eq!(known, (0..17).collect::<Vec<_>>());
}

#[test]
fn one_that_dials() {
    assert_table(false, include_str!("tests/dialling.txt"));
}

#[test]
fn one_that_listens() {
    assert_table(true, include_str!("tests/listening.txt"));
}

#[test]
fn a_session_holds_while_something_comes() {
    let mut fsm = in_state(false, State::Established);
    for event in [Event::Keepalive, Event::Update, Event::RouteRefresh] {
        let before = fsm.timers.hold;
        fsm.step(&config(), at(60), event);
        assert_eq!(fsm.timers.hold, Some(at(60 + 90)));
        assert_ne!(before, None);
    }
    assert!(fsm.expired(at(60)).is_some_and(|it| number(&it) == 4));
    assert!(fsm.expired(at(150)).is_some_and(|it| number(&it) == 3));
}

#[test]
fn a_keepalive_is_sent_in_each_third_of_the_hold_time() {
    let mut fsm = in_state(false, State::Established);
    let mut now = at(1);
    for _ in 0..100 {
        let next = fsm.timers.keepalive.unwrap();
        let wait = next - now;
        assert!(wait >= Duration::from_millis(22_500) && wait <= Duration::from_secs(30));
        now = next;
        let effects = fsm.step(&config(), now, Event::KeepaliveExpired);
        assert_eq!(effects, [Effect::SendKeepalive]);
    }
}

#[test]
fn without_a_hold_time_nothing_is_timed() {
    let mut fsm = in_state(false, State::OpenSent);
    let mut open = peer_open();
    open.hold_time = 0;
    fsm.step(&config(), at(1), Event::Open(open));
    fsm.step(&config(), at(1), Event::Keepalive);
    assert_eq!((fsm.state(), fsm.deadline()), (State::Established, None));
    fsm.sent_update(at(2));
    assert_eq!(fsm.deadline(), None);
}

#[test]
fn it_rests_longer_after_each_end_until_a_session_lasts() {
    let mut fsm = Fsm::new(false, 1);
    let mut now = at(0);
    let mut waits = vec![];
    for session_secs in [0, 0, 0, 0, 0, 0, 0, 0, 0, 29, 30] {
        fsm.step(&config(), now, Event::Start);
        for event in [Event::Connected, Event::Open(peer_open()), Event::Keepalive] {
            fsm.step(&config(), now, event);
        }
        now = now + Duration::from_secs(session_secs);
        fsm.step(&config(), now, Event::ConnectionFailed);
        waits.push(fsm.timers.idle_hold.unwrap() - now);
    }
    let most = [1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 1].map(Duration::from_secs);
    for (wait, most) in waits.into_iter().zip(most) {
        assert!(wait <= most && wait >= most * 3 / 4, "{wait:?} {most:?}");
    }
}
