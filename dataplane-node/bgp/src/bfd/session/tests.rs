use super::testing::{config, packet};
use super::*;

mod link;

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn in_state(state: State) -> Session {
    let mut session = Session::new(config(|_| ()), 1, at(0));
    match state {
        State::Down => {}
        State::AdminDown => {
            session.disable(at(0));
        }
        State::Init => {
            session.receive(at(0), &packet(State::Down));
        }
        State::Up => {
            session.receive(at(0), &packet(State::Init));
        }
    }
    assert_eq!(session.state(), state);
    session
}

/// What happens to a session.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Packet(State),
    Expiry,
    Disable,
    Enable,
}

/// RFC 5880 sections 6.8.6, 6.8.4 and 6.8.16: state, what happens, state after it, diagnostic after it.
const TABLE: [(State, Happens, State, u8); 28] = {
    use Happens::{Disable, Enable, Expiry, Packet};
    use State::{AdminDown, Down, Init, Up};
    [
        (AdminDown, Packet(AdminDown), AdminDown, 7),
        (AdminDown, Packet(Down), AdminDown, 7),
        (AdminDown, Packet(Init), AdminDown, 7),
        (AdminDown, Packet(Up), AdminDown, 7),
        (AdminDown, Expiry, AdminDown, 7),
        (AdminDown, Disable, AdminDown, 7),
        (AdminDown, Enable, Down, 0),
        (Down, Packet(AdminDown), Down, 0),
        (Down, Packet(Down), Init, 0),
        (Down, Packet(Init), Up, 0),
        (Down, Packet(Up), Down, 0),
        (Down, Expiry, Down, 0),
        (Down, Disable, AdminDown, 7),
        (Down, Enable, Down, 0),
        (Init, Packet(AdminDown), Down, 3),
        (Init, Packet(Down), Init, 0),
        (Init, Packet(Init), Up, 0),
        (Init, Packet(Up), Up, 0),
        (Init, Expiry, Down, 1),
        (Init, Disable, AdminDown, 7),
        (Init, Enable, Init, 0),
        (Up, Packet(AdminDown), Down, 3),
        (Up, Packet(Down), Down, 3),
        (Up, Packet(Init), Up, 0),
        (Up, Packet(Up), Up, 0),
        (Up, Expiry, Down, 1),
        (Up, Disable, AdminDown, 7),
        (Up, Enable, Up, 0),
    ]
};

#[test]
fn every_state_and_event() {
    for (from, happens, to, diagnostic) in TABLE {
        let mut session = in_state(from);
        let output = match happens {
            Happens::Packet(state) => session.receive(at(10), &packet(state)),
            Happens::Expiry => session.due(at(10_000)),
            Happens::Disable => session.disable(at(10)),
            Happens::Enable => session.enable(at(10)),
        };
        let row = format!("{from:?} {happens:?}");
        assert_eq!(session.state(), to, "{row}");
        assert_eq!(session.diagnostic().number(), diagnostic, "{row}");
        let change = output.change.map(|change| (change.from, change.to));
        assert_eq!(change, (from != to).then_some((from, to)), "{row}");
        // The partner is told of a change at once.
        if from != to {
            assert_eq!(output.packet.map(|it| it.state), Some(to), "{row}");
        }
        // A session that hears nothing waits for nothing, also where it is disabled.
        let hears = matches!(happens, Happens::Packet(_)) && to != State::AdminDown;
        let was_expecting = from == State::Init || from == State::Up;
        let expects = hears || was_expecting && matches!(happens, Happens::Enable);
        assert_eq!(session.detection.is_some(), expects, "{row}");
    }
}

#[test]
fn the_table_has_every_pair() {
    let number = |happens: Happens| match happens {
        Happens::Packet(state) => state as usize,
        Happens::Expiry => 4,
        Happens::Disable => 5,
        Happens::Enable => 6,
    };
    let pairs = TABLE.map(|(state, happens, _, _)| state as usize * 7 + number(happens));
    let mut sorted = pairs;
    sorted.sort_unstable();
    assert_eq!(sorted.to_vec(), (0..28).collect::<Vec<_>>());
}

#[test]
fn a_poll_is_answered_in_every_state_but_the_disabled_one() {
    for state in State::ALL {
        let mut session = in_state(state);
        let mut poll = packet(State::Down);
        poll.is_poll = true;
        let answer = session.receive(at(10), &poll).packet;
        let is_enabled = state != State::AdminDown;
        assert_eq!(
            answer.map(|it| (it.is_final, it.is_poll)),
            is_enabled.then_some((true, false))
        );
    }
}

#[test]
fn slow_until_it_is_up() {
    for state in [State::Down, State::AdminDown, State::Init] {
        let session = in_state(state);
        assert_eq!(session.transmit_interval(), Some(millis(1000)), "{state:?}");
        assert_eq!(session.packet(false).desired_min_tx_micros, 1_000_000);
    }
    let session = in_state(State::Up);
    assert_eq!(session.transmit_interval(), Some(millis(50)));
    assert!(session.packet(false).is_poll);
}

#[test]
fn intervals_are_the_slower_of_what_both_can() {
    let mut session = in_state(State::Up);
    let mut slow = packet(State::Up);
    slow.required_min_rx_micros = 80_000;
    slow.desired_min_tx_micros = 30_000;
    slow.detect_mult = NonZeroU8::new(5).unwrap();
    session.receive(at(0), &slow);
    assert_eq!(session.transmit_interval(), Some(millis(80)));
    assert_eq!(session.detection_time(), Some(millis(5 * 50)));
    slow.desired_min_tx_micros = 60_000;
    session.receive(at(0), &slow);
    assert_eq!(session.detection_time(), Some(millis(5 * 60)));
    assert_eq!(session.detection, Some(at(300)));
}

#[test]
fn slower_packets_wait_for_an_answer_and_faster_ones_do_not() {
    let mut session = in_state(State::Up);
    let mut answer = packet(State::Up);
    answer.is_final = true;
    session.receive(at(0), &answer);
    assert!(!session.packet(false).is_poll);
    session.configure(at(0), config(|it| it.desired_min_tx_micros = 200_000));
    let told = session.packet(false);
    assert_eq!((told.is_poll, told.desired_min_tx_micros), (true, 200_000));
    assert_eq!(session.transmit_interval(), Some(millis(50)));
    session.receive(at(0), &answer);
    assert_eq!(session.transmit_interval(), Some(millis(200)));
    session.configure(at(0), config(|it| it.desired_min_tx_micros = 60_000));
    assert_eq!(session.transmit_interval(), Some(millis(60)));
    assert!(session.next_packet <= Some(at(60)));
}

#[test]
fn faster_packets_are_expected_once_they_were_answered() {
    let mut session = in_state(State::Up);
    let mut fast = packet(State::Up);
    fast.is_final = true;
    fast.desired_min_tx_micros = 10_000;
    session.receive(at(0), &fast);
    assert_eq!(session.detection_time(), Some(millis(150)));
    session.configure(at(0), config(|it| it.required_min_rx_micros = 10_000));
    assert_eq!(session.detection_time(), Some(millis(150)));
    session.receive(at(0), &fast);
    assert_eq!(session.detection_time(), Some(millis(30)));
    session.configure(at(0), config(|it| it.required_min_rx_micros = 100_000));
    assert_eq!(session.detection_time(), Some(millis(300)));
}

#[test]
fn an_answer_to_what_was_before_ends_no_poll() {
    let mut session = in_state(State::Up);
    session.configure(at(0), config(|it| it.desired_min_tx_micros = 200_000));
    let mut answer = packet(State::Up);
    answer.is_final = true;
    session.receive(at(0), &answer);
    assert!(session.packet(false).is_poll);
    assert_eq!(session.transmit_interval(), Some(millis(50)));
    session.receive(at(0), &answer);
    assert!(!session.packet(false).is_poll);
    assert_eq!(session.transmit_interval(), Some(millis(200)));
}

#[test]
fn a_passive_one_waits_to_be_spoken_to() {
    let mut session = Session::new(config(|it| it.is_passive = true), 1, at(0));
    assert_eq!(
        (session.deadline(), session.due(at(0))),
        (None, Output::default())
    );
    let output = session.receive(at(0), &packet(State::Down));
    assert_eq!(output.packet.map(|it| it.state), Some(State::Init));
    let output = session.due(at(10_000));
    assert_eq!((session.deadline(), output.packet), (None, None));
}

#[test]
fn a_partner_that_wants_no_packets_gets_none() {
    let mut session = in_state(State::Up);
    let mut none = packet(State::Up);
    none.required_min_rx_micros = 0;
    session.receive(at(0), &none);
    assert_eq!(
        (session.next_packet, session.transmit_interval()),
        (None, None)
    );
    let mut demand = packet(State::Up);
    demand.is_demand = true;
    session.receive(at(0), &demand);
    // A poll runs.
    assert!(session.next_packet.is_some());
    demand.is_final = true;
    session.receive(at(0), &demand);
    assert_eq!(session.next_packet, None);
}

#[test]
fn a_partner_that_is_gone_is_forgotten() {
    let mut session = in_state(State::Up);
    assert_eq!(session.packet(false).your_discriminator, 9);
    session.due(at(151));
    assert_eq!(session.packet(false).your_discriminator, 0);
    assert_eq!(session.detection_time(), None);
}

#[test]
fn packets_are_spread_and_sooner_where_one_decides() {
    for (mult, least, most) in [(3, 37_500, 50_000), (1, 37_500, 45_000)] {
        let mut session = Session::new(
            config(|it| it.detect_mult = NonZeroU8::new(mult).unwrap()),
            1,
            at(0),
        );
        let mut now = at(0);
        let mut waits = vec![];
        for _ in 0..2000 {
            session.receive(now, &packet(State::Init));
            now = session.next_packet.unwrap();
            let before = now;
            assert!(session.due(now).packet.is_some());
            waits.push(session.next_packet.unwrap() - before);
        }
        let ends = (waits.iter().min(), waits.iter().max());
        let (Some(min), Some(max)) = ends else {
            panic!("nothing was sent");
        };
        let micros = Duration::from_micros;
        assert!(
            *min >= micros(least) && *min < micros(least + 200),
            "{min:?}"
        );
        assert!(*max <= micros(most) && *max > micros(most - 200), "{max:?}");
    }
}

#[test]
fn what_is_refused() {
    let of = |tx, rx| {
        let mut spec = testing::spec();
        (spec.desired_min_tx_micros, spec.required_min_rx_micros) = (tx, rx);
        SessionConfig::try_from(spec).err()
    };
    assert_eq!(of(10_000, 60_000_000), None);
    assert_eq!(of(9_999, 10_000), Some(InvalidSession::TooShort(9_999)));
    assert_eq!(
        of(10_000, 60_000_001),
        Some(InvalidSession::TooLong(60_000_001))
    );
}
