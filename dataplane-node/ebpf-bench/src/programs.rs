//! The entry points.
#![expect(
    unsafe_code,
    reason = "packets and maps are memory that the kernel hands over by address"
)]

#[path = "../../ebpf/src/programs/bytes.rs"]
#[expect(
    dead_code,
    reason = "the product's, which reads and writes single bytes as well"
)]
mod bytes;
mod distance;
mod floor;
mod restore;

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_TX},
    macros::xdp,
    programs::XdpContext,
};

/// As the product's programs say it.
// SAFETY: no other symbol has this name, and the loader takes the section's bytes for the licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp(frags)]
fn restore(context: XdpContext) -> u32 {
    // What comes back found nothing to go on with.
    restore::run(&context);
    XDP_ABORTED
}

#[xdp(frags)]
fn empty(_context: XdpContext) -> u32 {
    XDP_TX
}

#[xdp(frags)]
fn floor(context: XdpContext) -> u32 {
    floor::forward(&context).unwrap_or(XDP_ABORTED)
}

/// Nothing panics: a program that could would need this loop, which the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
