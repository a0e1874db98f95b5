use std::num::NonZeroU8;
use std::ops::RangeInclusive;

use lbfabric_proto::v1;

use super::parse_number;
use crate::Violation;

/// BFD beside a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bfd {
    /// How often packets are sent and expected.
    pub interval_ms: u16,
    /// How many packets have to be missing.
    pub multiplier: NonZeroU8,
    /// Whether nothing is sent before the neighbor does.
    pub is_passive: bool,
}

/// Shorter ones no thread can keep to, and longer ones detect nothing that BGP would not.
const INTERVAL_MS: RangeInclusive<u16> = 10..=60_000;
const INTERVAL_MS_DEFAULT: u16 = 50;
const MULTIPLIER_DEFAULT: NonZeroU8 = NonZeroU8::new(3).expect("3 is not 0");

// === impl Bfd ===

impl Bfd {
    pub(super) fn parse(
        spec: v1::BfdSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let v1::BfdSpec {
            interval_ms,
            multiplier,
            passive,
        } = spec;
        let interval_ms = parse_number(
            interval_ms,
            INTERVAL_MS_DEFAULT,
            INTERVAL_MS,
            &format!("{path}.interval_ms"),
            violations,
        );
        let multiplier = parse_number(
            multiplier,
            MULTIPLIER_DEFAULT.get(),
            1..=u8::MAX,
            &format!("{path}.multiplier"),
            violations,
        );
        Some(Self {
            interval_ms: interval_ms?,
            multiplier: NonZeroU8::new(multiplier?)?,
            is_passive: passive,
        })
    }

    pub(super) fn to_spec(self) -> v1::BfdSpec {
        let Self {
            interval_ms,
            multiplier,
            is_passive,
        } = self;
        v1::BfdSpec {
            interval_ms: interval_ms.into(),
            multiplier: multiplier.get().into(),
            passive: is_passive,
        }
    }
}
