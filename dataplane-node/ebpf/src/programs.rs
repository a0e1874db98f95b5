//! The entry points.
//!
//! ```text
//!            packet            vip                ring          dnat | fullnat | dsr | tunnel
//! frame ──► headers ──► service of the VIP ──► server ──────────► rewrite ──► exit
//!                  └──► answer of a server ──► dnat | fullnat ──► route ────► exit
//! ```
#![expect(
    unsafe_code,
    reason = "packets and maps are memory that the kernel hands over by address"
)]

mod affinity;
mod bucket;
mod decap;
mod dnat;
mod dsr;
mod ecn;
mod exit;
mod frame;
mod fullnat;
mod headers;
mod ipv4;
mod ipv6;
mod l4;
mod lb;
mod maps;
mod packet;
mod rewrite;
mod ring;
mod route;
mod tunnel;
mod vip;
mod words;

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};
use frame::Frame;

/// Some helpers are only for programs under a licence that the kernel takes for compatible with the GPL; MIT is one, and
/// this is how the kernel spells it.
// SAFETY: no other symbol has this name, and the loader takes the section's bytes for the licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp]
fn lbfabric_lb(context: XdpContext) -> u32 {
    exit::leave(lb::balance(&Frame::new(context)))
}

#[xdp]
fn lbfabric_general(_context: XdpContext) -> u32 {
    XDP_PASS
}

#[xdp]
fn lbfabric_server(context: XdpContext) -> u32 {
    exit::leave(decap::unpack(&Frame::new(context)))
}

#[xdp]
fn lbfabric_pass(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// Nothing panics: a program that could would need this loop, which the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
