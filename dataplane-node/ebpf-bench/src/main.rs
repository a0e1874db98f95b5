//! The programs that `make bench-l4` measures with and against. They are no part of the product.
//!
//! | program | what it does |
//! | --- | --- |
//! | `restore` | makes the frame what it was before the last repeat, with the next flow, and goes on with the program under test |
//! | `empty` | nothing: what the loop itself costs |
//! | `floor` | the least that a load balancer can do: parse, find the VIP, look into the ring, encapsulate, count |
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod programs;

/// There is nothing to run on the host.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
