//! What holds, however much goes wrong.

use super::{
    explore,
    world::{Broken, Limits, Setup},
};
use crate::lease::{LossPolicy, Timers};

/// Slow and fast clocks, in units for a step of time.
pub(super) const SLOW: u64 = 2;
pub(super) const FAST: u64 = 4;
/// In units: two steps by a slow clock, one by a fast one.
const LEASE: u64 = 4;
/// What brings the lease by a fast clock to two steps.
const MARGIN: u64 = 4;

/// Two nodes, three controllers, of which the first leads, and has a slow clock as nodes do.
pub(super) fn setup() -> Setup {
    Setup {
        timers: Timers::of_units(LEASE, MARGIN),
        nodes: 2,
        grants: 1,
        others_are_heard: true,
        rates: vec![(vec![SLOW, SLOW], vec![SLOW, FAST, FAST])],
        limits: Limits {
            commits: 1,
            ..Limits::default()
        },
        tells: false,
        policy: LossPolicy::Release,
        settles: false,
        broken: Broken::Nothing,
    }
}

/// As [`setup`], where the leader's clock is fast.
pub(super) fn fast_leader() -> Setup {
    Setup {
        rates: vec![(vec![SLOW, SLOW], vec![FAST, SLOW, FAST])],
        ..setup()
    }
}

/// As [`setup`], where nodes keep their VIPs without controllers.
pub(super) fn holding() -> Setup {
    Setup {
        policy: LossPolicy::Hold,
        others_are_heard: false,
        ..fast_leader()
    }
}

#[test]
fn leaders_change() {
    let limits = Limits {
        elections: 1,
        ..setup().limits
    };
    explore(Setup { limits, ..setup() });
}

#[test]
fn nobody_leads() {
    let limits = Limits {
        controller_restarts: 1,
        ..setup().limits
    };
    let tells = true;
    explore(Setup {
        limits,
        tells,
        ..fast_leader()
    });
}

#[test]
fn controllers_are_lost() {
    explore(holding());
}

#[test]
fn agents_restart_and_the_vip_is_moved() {
    let limits = Limits {
        node_restarts: 1,
        moves: 1,
        ..setup().limits
    };
    explore(Setup {
        limits,
        ..fast_leader()
    });
}

#[test]
fn grants_overtake_each_other() {
    let limits = Limits {
        commits: 2,
        ..setup().limits
    };
    explore(Setup {
        grants: 2,
        limits,
        ..fast_leader()
    });
}

#[test]
fn there_is_an_owner_again() {
    let limits = Limits {
        moves: 1,
        node_restarts: 1,
        ..setup().limits
    };
    let settles = true;
    explore(Setup {
        limits,
        settles,
        ..fast_leader()
    });
}
