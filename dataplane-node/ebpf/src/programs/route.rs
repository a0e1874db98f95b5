//! The way of an answer to its client: the kernel's routing table knows it.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_PROHIBIT, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LKUP_RET_UNREACHABLE, bpf_fib_lookup as FibLookup,
};
use lbfabric_abi::{DropReason, NextHop, Verdict};

use super::{
    exit::Exit,
    frame::Frame,
    packet::{Family, Packet},
    rewrite,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const SUCCESS: i64 = BPF_FIB_LKUP_RET_SUCCESS as i64;
const BLACKHOLE: i64 = BPF_FIB_LKUP_RET_BLACKHOLE as i64;
const UNREACHABLE: i64 = BPF_FIB_LKUP_RET_UNREACHABLE as i64;
const PROHIBIT: i64 = BPF_FIB_LKUP_RET_PROHIBIT as i64;

/// Sends a translated answer on. What the routing table alone cannot settle, an unknown neighbour above all, goes to the
/// kernel, which forwards it and counts down the time to live itself.
#[inline(never)]
pub(crate) fn answer(frame: &Frame, packet: &Packet, verdict: Verdict) -> Result<Exit, DropReason> {
    let mut lookup = question(frame, packet);
    match frame.fib_lookup(&mut lookup) {
        SUCCESS => {
            let hop = NextHop {
                ifindex: lookup.ifindex,
                source_mac: lookup.smac,
                mac: lookup.dmac,
            };
            rewrite::hop(frame, packet, &hop)?;
            Ok(Exit::send(verdict, hop.ifindex, frame.ingress_ifindex()))
        }
        BLACKHOLE | UNREACHABLE | PROHIBIT => Err(DropReason::NoRoute),
        _ => Ok(Exit::pass(Verdict::PassToRoute)),
    }
}

/// The fields of `struct bpf_fib_lookup` that routing goes by.
#[inline(always)]
fn question(frame: &Frame, packet: &Packet) -> FibLookup {
    // SAFETY: integers and unions of integers.
    let mut lookup: FibLookup = unsafe { core::mem::zeroed() };
    lookup.l4_protocol = packet.flow.protocol;
    lookup.sport = u16::from_ne_bytes(packet.flow.source_port_be);
    lookup.dport = u16::from_ne_bytes(packet.flow.destination_port_be);
    lookup.ifindex = frame.ingress_ifindex();
    // A longer one exceeds every MTU as well.
    let length = packet.length.min(0xffff) as u16;
    lookup.__bindgen_anon_1.tot_len = length;
    let (source, destination) = (packet.flow.source.words(), packet.flow.destination.words());
    match packet.family {
        Family::Ipv4 => {
            lookup.family = AF_INET;
            lookup.__bindgen_anon_2.tos = packet.traffic_class;
            lookup.__bindgen_anon_3.ipv4_src = source[3];
            lookup.__bindgen_anon_4.ipv4_dst = destination[3];
        }
        Family::Ipv6 => {
            lookup.family = AF_INET6;
            // Routing rules go by the traffic class; the flow label does not lead anywhere.
            lookup.__bindgen_anon_2.flowinfo = (u32::from(packet.traffic_class) << 20).to_be();
            lookup.__bindgen_anon_3.ipv6_src = source;
            lookup.__bindgen_anon_4.ipv6_dst = destination;
        }
    }
    lookup
}
