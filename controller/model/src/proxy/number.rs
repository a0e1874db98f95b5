//! Numbers that may be left out.

use crate::Violation;

/// A number of a range, inclusive, or the default for 0.
pub(super) fn or_default(
    path: &str,
    value: u32,
    default: u32,
    (min, max): (u32, u32),
    violations: &mut Vec<Violation>,
) -> u32 {
    if value == 0 {
        return default;
    }
    if !(min..=max).contains(&value) {
        violations.push(Violation::new(
            path,
            format!("{value} is out of range: use {min} to {max}, or leave it out for {default}"),
        ));
    }
    value
}

/// A number up to a highest one, or the default if there is none.
pub(super) fn at_most(
    path: &str,
    value: Option<u32>,
    default: u32,
    max: u32,
    violations: &mut Vec<Violation>,
) -> u32 {
    let value = value.unwrap_or(default);
    if value > max {
        violations.push(Violation::new(
            path,
            format!("{value} is out of range: use 0 to {max}, or leave it out for {default}"),
        ));
    }
    value
}
