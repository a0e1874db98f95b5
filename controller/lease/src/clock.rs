use lbfabric_model::lease::Moment;
use nix::time::{ClockId, clock_gettime};

/// The moment that it is, by the clock that runs on while the machine sleeps.
pub fn now() -> Moment {
    let time =
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had this clock since 2.6.39");
    let seconds = u64::try_from(time.tv_sec()).expect("the machine was started in the past");
    let nanos = u64::try_from(time.tv_nsec()).expect("a second's part is not negative");
    Moment::from_nanos(seconds * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes() {
        let before = now();
        while now() == before {}
        assert!(now() > before);
    }
}
