//! Before each repeat: the frame is made what it was, with another flow.
//!
//! A tail call does not return, and each repeat begins here, so this undoes what the program under test did in the repeat
//! before. Around the empty program it does exactly the same, so that all of it is in what is subtracted.

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_xdp_adjust_head,
    macros::map,
    maps::{Array, PerCpuArray, ProgramArray},
    programs::XdpContext,
};
use lbfabric_ebpf_bench::{
    LISTED_FLOWS, PORT_BITS, PORTS_PER_ADDRESS, SCATTER, Scenario, TEMPLATE_BYTES, Vary,
};

use super::{
    bytes::{load2, load4, load8, store2, store4, store8, swap2},
    distance::distance,
};

#[map]
static SCENARIO: Array<Scenario> = Array::with_max_entries(1, 0);
#[map]
static LISTED: Array<[u64; 2]> = Array::with_max_entries(LISTED_FLOWS, 0);
#[map]
static TURN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Where the IP header lies.
const IP: usize = 14;

/// What the packet's addresses and ports become.
struct Turn {
    address: u64,
    port: u64,
}

#[inline(always)]
pub(crate) fn run(context: &XdpContext) -> Option<()> {
    let scenario = SCENARIO.get(0)?;
    let turn = TURN.get_ptr_mut(0)?;
    // SAFETY: the slot of this CPU; nothing else runs on it meanwhile that writes there.
    let flow = unsafe {
        let number = *turn;
        *turn = number.wrapping_add(1);
        // Those that are listed lie there in such an order.
        let scatter = if scenario.vary == Vary::Listed as u32 {
            1
        } else {
            SCATTER
        };
        number.wrapping_mul(scatter) & u64::from(scenario.flow_mask)
    };

    let length = distance(context.data(), context.data_end());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "lengths of frames"
    )]
    let excess = length as i32 - scenario.length as i32;
    // Also where nothing has changed: then it costs the same.
    // SAFETY: the context is the one that the kernel gave the program.
    if unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), excess) } != 0 {
        return None;
    }
    let frame = context.data();
    if frame + TEMPLATE_BYTES > context.data_end() {
        return None;
    }
    let from = scenario.template.as_ptr() as usize;
    // SAFETY: both have `TEMPLATE_BYTES`, as the check just above says of the frame.
    unsafe {
        if scenario.is_ipv6 == 0 {
            write4(frame, from, scenario.vary, flow)?;
        } else {
            write6(frame, from, scenario.vary, flow);
        }
        // SAFETY: a context and a map of programs.
        NEXT.tail_call(context, 0);
    }
    None
}

/// The words are those that programs read: a processor that finds a word in two halves that are just being written waits
/// until both have reached the cache, which would be this loop's doing.
///
/// # Safety
/// `TEMPLATE_BYTES` can be read at `from` and written at `frame`.
#[inline(always)]
unsafe fn write4(frame: usize, from: usize, vary: u32, flow: u64) -> Option<()> {
    // SAFETY: the caller's.
    unsafe {
        ethernet(frame, from);
        store8::<IP>(frame, load8::<IP>(from));
        store4::<{ IP + 8 }>(frame, load4::<{ IP + 8 }>(from));
        let (mut source, mut destination) =
            (load4::<{ IP + 12 }>(from), load4::<{ IP + 16 }>(from));
        let (mut source_port, mut destination_port) =
            (load2::<{ IP + 20 }>(from), load2::<{ IP + 22 }>(from));
        if vary == Vary::Source as u32 {
            let turn = counted_up(source, source_port, flow);
            (source, source_port) = (turn.address, turn.port);
        } else if vary == Vary::Destination as u32 {
            let turn = counted_up(destination, destination_port, flow);
            (destination, destination_port) = (turn.address, turn.port);
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "masked by 32 bits")]
            let [addresses, ports] = *LISTED.get(flow as u32)?;
            (source, destination) = (addresses & 0xffff_ffff, addresses >> 32);
            (source_port, destination_port) = (ports & 0xffff, ports >> 16);
        }
        store8::<{ IP + 12 }>(frame, source | destination << 32);
        store4::<{ IP + 20 }>(frame, source_port | destination_port << 16);
        store8::<{ IP + 24 }>(frame, load8::<{ IP + 24 }>(from));
        store8::<{ IP + 32 }>(frame, load8::<{ IP + 32 }>(from));
    }
    Some(())
}

/// # Safety
/// As of [`write4`].
#[inline(always)]
unsafe fn write6(frame: usize, from: usize, vary: u32, flow: u64) {
    // SAFETY: the caller's.
    unsafe {
        ethernet(frame, from);
        store8::<IP>(frame, load8::<IP>(from));
        let (mut source, mut destination) =
            (load4::<{ IP + 20 }>(from), load4::<{ IP + 36 }>(from));
        let (mut source_port, mut destination_port) =
            (load2::<{ IP + 40 }>(from), load2::<{ IP + 42 }>(from));
        if vary == Vary::Source as u32 {
            let turn = counted_up(source, source_port, flow);
            (source, source_port) = (turn.address, turn.port);
        } else {
            let turn = counted_up(destination, destination_port, flow);
            (destination, destination_port) = (turn.address, turn.port);
        }
        store8::<{ IP + 8 }>(frame, load8::<{ IP + 8 }>(from));
        store8::<{ IP + 16 }>(frame, load4::<{ IP + 16 }>(from) | source << 32);
        store8::<{ IP + 24 }>(frame, load8::<{ IP + 24 }>(from));
        store8::<{ IP + 32 }>(frame, load4::<{ IP + 32 }>(from) | destination << 32);
        store4::<{ IP + 40 }>(frame, source_port | destination_port << 16);
        store8::<{ IP + 44 }>(frame, load8::<{ IP + 44 }>(from));
        store8::<{ IP + 52 }>(frame, load8::<{ IP + 52 }>(from));
    }
}

/// # Safety
/// As of [`write4`].
#[inline(always)]
unsafe fn ethernet(frame: usize, from: usize) {
    // SAFETY: the caller's.
    unsafe {
        store8::<0>(frame, load8::<0>(from));
        store4::<8>(frame, load4::<8>(from));
        store2::<12>(frame, load2::<12>(from));
    }
}

/// The address and port of a flow, both in network order.
#[inline(always)]
fn counted_up(address: u64, port: u64, flow: u64) -> Turn {
    Turn {
        address: swap4(swap4(address) + (flow >> PORT_BITS)),
        port: swap2(swap2(port) + (flow & (PORTS_PER_ADDRESS as u64 - 1))),
    }
}

/// Four bytes, the other way round.
#[inline(always)]
const fn swap4(word: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "as many bytes count")]
    let word = word as u32;
    word.swap_bytes() as u64
}
