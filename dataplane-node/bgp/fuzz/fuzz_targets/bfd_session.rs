//! Packets of a partner that follows no rule, and times between them, given to a session.
#![no_main]

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use lbfabric_bgp::Moment;
use lbfabric_bgp::bfd::{Output, Packet, Session, SessionConfig, SessionSpec, State};
use libfuzzer_sys::fuzz_target;

fn config(byte: u8) -> SessionConfig {
    let spec = SessionSpec {
        discriminator: NonZeroU32::MIN,
        desired_min_tx_micros: 10_000 * (1 + u32::from(byte & 15)),
        required_min_rx_micros: 10_000 * (1 + u32::from(byte >> 4)),
        detect_mult: NonZeroU8::MIN.saturating_add(byte & 3),
        is_passive: byte & 4 != 0,
        is_independent: byte & 8 != 0,
    };
    spec.try_into().expect("these settings are valid")
}

/// What holds after every step, whatever the partner says.
fn check(session: &Session, before: State, output: Output, is_answer: bool) {
    let state = session.state();
    match output.change {
        Some(change) => assert_eq!((change.from, change.to), (before, state)),
        None => assert_eq!(before, state),
    }
    // Nobody is up who has not heard the partner, and does not listen for it.
    let is_heard = session.detection_time().is_some();
    assert!(state < State::Init || is_heard && session.deadline().is_some());
    if let Some(packet) = output.packet {
        assert_eq!(Packet::read(&packet.to_bytes()), Ok(packet));
        assert_eq!(packet.state, state);
        assert_eq!(packet.is_final, is_answer);
        assert!(!(packet.is_poll && packet.is_final));
        assert!(state == State::Up || packet.desired_min_tx_micros >= 1_000_000);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut now = Moment::default();
    let mut session = Session::new(config(*seed), (*seed).into(), now);
    while let Some(([what, value], more)) = rest.split_first_chunk::<2>() {
        rest = more;
        let before = session.state();
        let is_disabled = before == State::AdminDown;
        let (output, is_answer) = match what % 8 {
            0..4 => {
                let Some((packet, more)) = rest.split_first_chunk::<{ Packet::LEN }>() else {
                    return;
                };
                rest = more;
                now = now + Duration::from_millis((*value).into());
                let Ok(packet) = Packet::read(packet) else {
                    continue;
                };
                let output = session.receive(now, &packet);
                (output, packet.is_poll && !is_disabled)
            }
            4 => {
                now = now + Duration::from_millis(u64::from(*value) * 16);
                (session.due(now), false)
            }
            5 => {
                // As a shell does it: at the deadline, and not again at the same time.
                let Some(deadline) = session.deadline() else {
                    continue;
                };
                now = now.max(deadline);
                let output = session.due(now);
                assert!(session.deadline().is_none_or(|again| again > now));
                (output, false)
            }
            6 if value & 1 == 0 => (session.disable(now), false),
            6 => (session.enable(now), false),
            _ => {
                session.configure(now, config(*value));
                (Output::default(), false)
            }
        };
        check(&session, before, output, is_answer);
    }
});
