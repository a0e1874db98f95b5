//! Golden packets: the XDP programs run on packets built here, by `BPF_PROG_TEST_RUN` in this machine's kernel. Each test
//! compares how the packet leaves, every byte of it, and the counter that moved.
//!
//! They load programs, and some make a network namespace: they need root, and fail without it.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[cfg(target_arch = "x86_64")]
#[path = "guest/initramfs.rs"]
mod initramfs;
#[cfg(target_arch = "x86_64")]
#[path = "guest/machine.rs"]
mod machine;

mod xdp {
    mod affinity;
    mod answers;
    mod arp;
    mod checksums;
    mod churn;
    mod clamp;
    mod client_address;
    mod counters;
    mod decap;
    mod dnat;
    mod drops;
    mod dsr;
    mod exact;
    mod exact_clash;
    mod exact_fabric;
    mod exact_icmp;
    mod exact_table;
    mod explain;
    mod explained_fabric;
    mod fabric;
    mod fragments;
    mod fullnat;
    mod fuzz;
    mod generator;
    mod guard;
    mod gue;
    mod gue_decap;
    mod hairpin;
    mod icmp;
    mod icmp_own;
    mod icmp_packets;
    mod keeper;
    mod kernel;
    mod leases;
    #[cfg(target_arch = "x86_64")]
    mod linux_6_1;
    mod loads;
    mod losses;
    mod malformed;
    mod martians;
    mod nat_flows;
    mod nat_room;
    mod nat_states;
    mod neighbor_discovery;
    mod network;
    mod outer_source;
    mod packets;
    mod ports_taken;
    mod predecessor;
    mod prefixes;
    mod quic;
    mod reference;
    mod selection;
    mod sent_back;
    mod sessions;
    mod shapes;
    mod told_client;
    mod tunnel;
    mod untouched;
    mod verdicts;
}
