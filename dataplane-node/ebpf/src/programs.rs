//! The entry points.
//!
//! ```text
//! lbfabric_lb ──────► general ──► deliver            other programs follow by tail calls: NextProgram
//!   plain packets │     │ ├─────► fullnat_forward ──► fullnat_admit     new flows
//!   of steady     │     │ ├─────► fullnat_answer
//!   slots         │     │ ├─────► exact_forward ──► exact_admit         DNAT with sessions
//!                 │     │ └─────► guard ──► choose ──► deliver, fullnat_forward, exact_forward
//!                 │     ├───────► answer             servers' answers to DNAT
//!                 │     ├───────► icmp ──► icmp_to_client     echo, and errors about the services' packets
//!                 │     │          └─────► neighbor            neighbor discovery; ARP comes there directly
//!                 │     ├───────► fragment ──► deliver
//!                 │     ├───────► clamp ──► ...      SYNs whose MSS option is to fit the way
//!                 │     └───────► client_address ──► clamp, fullnat_forward     SYNs that tell the server their client
//!                 └──► fullnat_plain_answer          plain answers of sessions; the others go on to general
//!        deliver, fullnat_..., exact_..., icmp_to_client ──► too_big  what cannot go on, and whose sender is told
//! ```
#![expect(
    unsafe_code,
    reason = "packets and maps are memory that the kernel hands over by address"
)]

mod admit;
mod affinity;
mod aligned;
mod answer;
mod atomic;
mod bucket;
mod bytes;
mod clamp;
mod client_address;
mod decap;
mod deliver;
mod dnat;
mod dsr;
mod ecn;
mod exact;
mod exit;
mod extensions;
mod fit;
mod fragments;
mod frame;
mod fullnat;
mod general;
mod guard;
mod gue;
mod headers;
mod icmp;
mod ip;
mod maps;
mod martian;
mod neighbor;
mod own;
mod packet;
mod parse;
mod plain;
mod predecessor;
mod quic;
mod rewrite;
mod ring;
mod route;
mod session;
mod tags;
mod tokens;
mod told_client;
mod too_big;
mod tunnel;
mod v4;
mod v6;
mod vip;

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS,
    macros::{cgroup_sock_addr, xdp},
    programs::{SockAddrContext, XdpContext},
};
use frame::Frame;

/// Some helpers are only for programs under a licence that the kernel takes for compatible with the GPL; MIT is one, and
/// this is how the kernel spells it.
// SAFETY: no other symbol has this name, and the loader takes the section's bytes for the licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp(frags)]
// It is large, and one that is only called by the entry may go on with no other program.
#[inline(always)]
fn lbfabric_lb(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave_as_is(&frame, plain::balance(&frame))
}

#[xdp(frags)]
fn lbfabric_general(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave_as_is(&frame, general::balance(&frame))
}

#[xdp(frags)]
fn lbfabric_deliver(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, deliver::forward(&frame))
}

#[xdp(frags)]
fn lbfabric_answer(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, answer::translate(&frame).into())
}

#[xdp(frags)]
fn lbfabric_fullnat_forward(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, fullnat::forward(&frame))
}

#[xdp(frags)]
fn lbfabric_fullnat_answer(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, fullnat::answer(&frame).into())
}

#[xdp(frags)]
fn lbfabric_guard(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, guard::check())
}

#[xdp(frags)]
fn lbfabric_choose(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, general::choose_for_guard(&frame))
}

#[xdp(frags)]
fn lbfabric_icmp(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, icmp::handle(&frame))
}

#[xdp(frags)]
fn lbfabric_icmp_to_client(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, icmp::to_client::handle(&frame))
}

#[xdp(frags)]
fn lbfabric_neighbor(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, neighbor::handle(&frame))
}

#[xdp(frags)]
fn lbfabric_too_big(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, too_big::tell(&frame).into())
}

#[xdp(frags)]
fn lbfabric_fullnat_admit(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, fullnat::admit(&frame))
}

#[xdp(frags)]
fn lbfabric_exact_forward(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, exact::forward(&frame))
}

#[xdp(frags)]
fn lbfabric_exact_admit(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, exact::admit(&frame))
}

#[xdp(frags)]
fn lbfabric_fullnat_plain_answer(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave_as_is(&frame, fullnat::answer_plain(&frame))
}

#[xdp(frags)]
fn lbfabric_fragment(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, fragments::follow(&frame))
}

#[xdp(frags)]
fn lbfabric_clamp(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, clamp::forward(&frame))
}

#[xdp(frags)]
fn lbfabric_client_address(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave(&frame, client_address::tell(&frame))
}

/// What the kernel wants to hear from a hook that does not refuse.
const PROCEED: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
fn lbfabric_peer4(context: SockAddrContext) -> i32 {
    told_client::name4(&context);
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
fn lbfabric_peer6(context: SockAddrContext) -> i32 {
    told_client::name6(&context);
    PROCEED
}

#[xdp(frags)]
fn lbfabric_server(context: XdpContext) -> u32 {
    let frame = Frame::new(context);
    exit::leave_as_is(&frame, decap::unpack(&frame).into())
}

#[xdp(frags)]
fn lbfabric_pass(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// Nothing panics: a program that could would need this loop, which the verifier refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
