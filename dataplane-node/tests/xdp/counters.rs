//! The names that operators see.

use std::collections::HashSet;

use lbfabric_abi::{COUNTER_SLOTS, Mode, NextProgram};

use super::{fabric::Fabric, kernel::counter_names};

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

/// The kernel gives up at a million; other kernels follow more paths than this one.
#[test]
fn the_verifier_is_far_from_its_limit() {
    let fabric = Fabric::new(Mode::Dnat);
    let behind = NextProgram::ALL.iter().map(|next| next.program());
    let mut programs = vec!["lbfabric_lb", "lbfabric_server", "lbfabric_pass"];
    programs.extend(behind);
    for program in programs {
        let followed = fabric.kernel.verified_instructions(program);
        println!("{program}: {followed}");
        assert!(followed < 250_000, "{program}: {followed}");
    }
}
