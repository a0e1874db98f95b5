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
    mod icmp;
    mod icmp_own;
    mod icmp_packets;
    mod kernel;
    mod malformed;
    mod network;
    mod packets;
    mod ports_taken;
    mod selection;
    mod tunnel;
    mod untouched;
}
