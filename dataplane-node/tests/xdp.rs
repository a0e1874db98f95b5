//! Golden packets: the XDP programs run on packets built here, by `BPF_PROG_TEST_RUN` in this machine's kernel. Each test
//! compares how the packet leaves, every byte of it, and the counter that moved.
//!
//! They load programs, and some make a network namespace: they need root, and fail without it.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod xdp {
    mod affinity;
    mod answers;
    mod checksums;
    mod churn;
    mod counters;
    mod decap;
    mod dnat;
    mod dsr;
    mod fabric;
    mod fullnat;
    mod kernel;
    mod malformed;
    mod nat_room;
    mod nat_states;
    mod network;
    mod packets;
    mod ports_taken;
    mod selection;
    mod sessions;
    mod tunnel;
    mod untouched;
}
