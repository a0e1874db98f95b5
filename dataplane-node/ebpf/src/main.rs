//! The XDP programs, and what belongs to them.
//!
//! | program | where | what it does |
//! | --- | --- | --- |
//! | `lbfabric_lb` | a node's interfaces | takes packets for the VIPs to servers, and the servers' answers back |
//! | those of `NextProgram` | behind it, by tail calls | what only some packets need |
//! | `lbfabric_server` | a server's interfaces | unpacks tunnelled packets for the VIPs |
//! | `lbfabric_peer4`, `lbfabric_peer6` | a server's root cgroup | tell programs their clients' addresses, of which full NAT has told |
//! | `lbfabric_pass` | the peer of a veth | passes everything: a veth delivers redirected frames only to such a peer |
//!
//! Whatever does not concern a VIP leaves as it came, and every way out of the first two is counted.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod programs;

/// There is nothing to run on the host.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
