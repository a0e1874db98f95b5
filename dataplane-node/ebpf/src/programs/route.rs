//! The way of an answer to its client. The kernel's routing table knows it, and what it has said is remembered for a
//! moment: a lookup costs more than all the rest.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_PROHIBIT, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LKUP_RET_UNREACHABLE, bpf_fib_lookup as FibLookup,
};
use lbfabric_abi::{Address, DropReason, FilterRegion, NextHop, Verdict};

use super::{
    aligned::Aligned,
    exit::Exit,
    frame::Frame,
    headers::Headers,
    ip::Ip,
    maps,
    packet::Family,
    rewrite::{self, Rewritten},
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const SUCCESS: i64 = BPF_FIB_LKUP_RET_SUCCESS as i64;
const BLACKHOLE: i64 = BPF_FIB_LKUP_RET_BLACKHOLE as i64;
const UNREACHABLE: i64 = BPF_FIB_LKUP_RET_UNREACHABLE as i64;
const PROHIBIT: i64 = BPF_FIB_LKUP_RET_PROHIBIT as i64;

/// Entries of `ROUTES`, for each CPU.
pub(crate) const ROUTES: u32 = 1024;
/// For so long a route is used without asking again. Changes of routes and neighbours take effect after it.
const REMEMBERED_NS: u64 = 100_000_000;

/// A way that the routing table has given. Rules that go by ports or by the traffic class decide for the first packet of
/// those that share it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Route {
    source: Address,
    destination: Address,
    hop: NextHop,
    until_ns: u64,
    mtu: u32,
    zero: u32,
}

/// What the routing table says.
pub(crate) enum Way {
    /// The neighbour to send to, and the largest packet.
    Hop(Aligned<NextHop>, u32),
    /// The kernel has to forward it.
    Kernel,
}

/// The way of a packet between these addresses, if it is remembered and has room for `length` bytes.
#[inline(always)]
pub(crate) fn remembered<I: Ip>(
    source: I::Address,
    destination: I::Address,
    length: u64,
) -> Option<&'static NextHop> {
    // SAFETY: the slot of this CPU; nothing else runs on it meanwhile that writes there.
    let route = unsafe { &*maps::route(index::<I>(destination))? };
    let is_known = I::of(&route.destination) == destination
        && I::of(&route.source) == source
        && maps::coarse_clock() < route.until_ns
        && length <= u64::from(route.mtu);
    is_known.then_some(&route.hop)
}

/// Sends a translated answer on. What the routing table alone cannot settle, an unknown neighbour above all, goes to the
/// kernel, which forwards it and counts down the time to live itself.
#[inline(always)]
pub(crate) fn send<I: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    new: &Rewritten<I>,
    verdict: Verdict,
) -> Result<Exit, DropReason> {
    headers.check_ttl()?;
    match find(frame, headers, new)? {
        Way::Hop(hop, mtu) => {
            remember(new, &hop, mtu);
            rewrite::flow(frame, headers, new, 1)?;
            rewrite::link(frame, &hop)?;
            Ok(Exit::send(verdict, hop.ifindex, frame.ingress_ifindex()))
        }
        Way::Kernel => {
            rewrite::flow(frame, headers, new, 0)?;
            Ok(Exit::pass(Verdict::PassToRoute))
        }
    }
}

/// Asks the routing table for a packet's way.
#[inline(always)]
pub(crate) fn find<I: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    new: &Rewritten<I>,
) -> Result<Way, DropReason> {
    let mut lookup = question(frame, headers, new);
    match frame.fib_lookup(&mut lookup) {
        SUCCESS => {
            let hop = Aligned(NextHop {
                ifindex: lookup.ifindex,
                source_mac: lookup.smac,
                mac: lookup.dmac,
            });
            // SAFETY: the kernel leaves the largest packet of the way in this member.
            let mtu = unsafe { lookup.__bindgen_anon_1.mtu_result };
            Ok(Way::Hop(hop, mtu.into()))
        }
        BLACKHOLE | UNREACHABLE | PROHIBIT => Err(DropReason::NoRoute),
        _ => Ok(Way::Kernel),
    }
}

#[inline(always)]
fn remember<I: Ip>(new: &Rewritten<I>, hop: &NextHop, mtu: u32) {
    if let Some(route) = maps::route(index::<I>(new.destination)) {
        let entry = Route {
            source: I::to_abi(new.source),
            destination: I::to_abi(new.destination),
            hop: *hop,
            until_ns: maps::coarse_clock() + REMEMBERED_NS,
            mtu,
            zero: 0,
        };
        // SAFETY: the slot of this CPU; nothing else runs on it meanwhile that looks there.
        unsafe { *route = entry };
    }
}

/// Where a destination's route is remembered.
#[inline(always)]
fn index<I: Ip>(destination: I::Address) -> u32 {
    let bit = I::bit(FilterRegion::Vip, destination);
    (bit.word ^ bit.bit << 4) % ROUTES
}

/// The fields of `struct bpf_fib_lookup` that routing goes by.
#[inline(always)]
fn question<I: Ip>(frame: &Frame, headers: &Headers<I>, new: &Rewritten<I>) -> FibLookup {
    // SAFETY: integers and unions of integers.
    let mut lookup: FibLookup = unsafe { core::mem::zeroed() };
    lookup.l4_protocol = headers.protocol;
    #[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
    {
        (lookup.sport, lookup.dport) = (new.ports as u16, (new.ports >> 16) as u16);
    }
    lookup.ifindex = frame.ingress_ifindex();
    // A longer one exceeds every MTU as well.
    #[expect(clippy::cast_possible_truncation, reason = "limited")]
    let length = headers.length.min(0xffff) as u16;
    lookup.__bindgen_anon_1.tot_len = length;
    // SAFETY: `Headers` are whole in the frame.
    let class = unsafe { I::traffic_class(headers.ip) };
    let (source, destination) = (
        I::to_abi(new.source).words(),
        I::to_abi(new.destination).words(),
    );
    match I::FAMILY {
        Family::Ipv4 => {
            lookup.family = AF_INET;
            lookup.__bindgen_anon_2.tos = class;
            lookup.__bindgen_anon_3.ipv4_src = source[3];
            lookup.__bindgen_anon_4.ipv4_dst = destination[3];
        }
        Family::Ipv6 => {
            lookup.family = AF_INET6;
            // Routing rules go by the traffic class; the flow label does not lead anywhere.
            lookup.__bindgen_anon_2.flowinfo = (u32::from(class) << 20).to_be();
            lookup.__bindgen_anon_3.ipv6_src = source;
            lookup.__bindgen_anon_4.ipv6_dst = destination;
        }
    }
    lookup
}
