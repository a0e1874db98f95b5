//! Values that tests of BFD begin with.

use std::num::{NonZeroU8, NonZeroU32};

use super::{SessionConfig, SessionSpec};
use crate::bfd::{Diagnostic, Packet, State};

/// 50 ms, three times.
pub(crate) fn spec() -> SessionSpec {
    SessionSpec {
        discriminator: NonZeroU32::MIN,
        desired_min_tx_micros: 50_000,
        required_min_rx_micros: 50_000,
        detect_mult: NonZeroU8::new(3).expect("three is not zero"),
        is_passive: false,
        is_independent: false,
    }
}

pub(crate) fn config(change: impl FnOnce(&mut SessionSpec)) -> SessionConfig {
    let mut spec = spec();
    change(&mut spec);
    spec.try_into().expect("these settings are valid")
}

/// A partner's packet in that state.
pub(crate) fn packet(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        is_poll: false,
        is_final: false,
        is_independent: false,
        is_demand: false,
        detect_mult: NonZeroU8::new(3).expect("three is not zero"),
        my_discriminator: NonZeroU32::new(9).expect("nine is not zero"),
        your_discriminator: 1,
        desired_min_tx_micros: 50_000,
        required_min_rx_micros: 50_000,
        required_min_echo_rx_micros: 0,
    }
}
