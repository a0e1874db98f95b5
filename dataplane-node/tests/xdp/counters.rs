//! The names that operators see.

use std::collections::HashSet;

use lbfabric_abi::COUNTER_SLOTS;

use super::kernel::counter_names;

#[test]
fn every_counter_has_its_own_slot_and_name() {
    let counters = counter_names();
    let slots: HashSet<u32> = counters.iter().map(|(slot, _)| *slot).collect();
    let names: HashSet<&str> = counters.iter().map(|(_, name)| *name).collect();
    assert_eq!((slots.len(), names.len()), (counters.len(), counters.len()));
    for (slot, name) in counters {
        assert!(slot < COUNTER_SLOTS, "{name}");
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{name}"
        );
    }
}
