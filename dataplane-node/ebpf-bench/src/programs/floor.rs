//! The least that a load balancer of this kind can do for an IPv4 TCP packet, and all that this does: parse it, find the
//! VIP, look into the ring, encapsulate it, count it. It knows no other packet and no flow.
//!
//! It makes the compiler's work easy where the product must not, so that it is a floor: no options, no fragments, no
//! settings, one counter.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_xdp_adjust_head,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
    programs::XdpContext,
};
use lbfabric_abi::{Address, Endpoint};
use lbfabric_ebpf_bench::{FLOOR_SERVERS as SERVERS, FLOOR_SLOTS};

use super::{
    bytes::{load2, load4, load8, store2, store4, store8, swap2},
    distance::distance,
};

/// The key of the VIP table, as words.
#[repr(C, align(8))]
struct Key(Endpoint);

/// A server: address and frame header, as `lbfabric_ebpf_bench::floor_server` makes it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Server([u8; 16]);

#[map]
static FLOOR_VIPS: HashMap<Endpoint, u32> = HashMap::with_max_entries(1024, 0);
#[map]
static FLOOR_RING: Array<u32> = Array::with_max_entries(FLOOR_SLOTS, 0);
#[map]
static FLOOR_SERVERS: Array<Server> = Array::with_max_entries(SERVERS, 0);
#[map]
static FLOOR_COUNTER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

const IP: usize = 14;
const IPV4_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
/// In the byte order of the frame.
const IPV4: u64 = u16::from_be_bytes([0x00, 0x08]) as u64;
const TCP: u64 = 6;
/// The hash needs a key; which one does not matter here.
const HASH_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfeed_face_cafe_beef];
/// Version and header length, no fragment but DF, a time to live and IP in IP, as 16-bit words of the frame.
const FIRST: u64 = 0x45;
const DONT_FRAGMENT: u64 = 0x40;
const TTL_AND_IPIP: u64 = 64 | 4 << 8;
/// The outer source, 10.200.0.1, as in the frame.
const OUTER_SOURCE: u64 = u32::from_ne_bytes([10, 200, 0, 1]) as u64;

#[inline(always)]
pub(crate) fn forward(context: &XdpContext) -> Option<u32> {
    let frame = context.data();
    if frame + IP + IPV4_HEADER + TCP_HEADER > context.data_end() {
        return Some(XDP_PASS);
    }
    // SAFETY: the frame reaches behind both headers.
    let (length, source, destination, ports) = unsafe {
        let versions = load2::<IP>(frame) & 0xff;
        let fragment = load2::<{ IP + 6 }>(frame) & 0xff3f;
        let protocol = load2::<{ IP + 8 }>(frame) >> 8;
        if load2::<12>(frame) != IPV4 || versions != FIRST || fragment != 0 || protocol != TCP {
            return Some(XDP_PASS);
        }
        (
            swap2(load2::<{ IP + 2 }>(frame)),
            load4::<{ IP + 12 }>(frame),
            load4::<{ IP + 16 }>(frame),
            load4::<{ IP + 20 }>(frame),
        )
    };
    let available = distance(frame + IP, context.data_end());
    if length > available || length < (IPV4_HEADER + TCP_HEADER) as u64 {
        return Some(XDP_DROP);
    }
    #[expect(clippy::cast_possible_truncation, reason = "words of 32 bits")]
    let key = Key(Endpoint {
        address: Address::from_ipv4((destination as u32).to_ne_bytes()),
        port_be: ((ports >> 16) as u16).to_ne_bytes(),
        protocol: TCP as u8,
        zero: 0,
    });
    // SAFETY: nothing changes the entry while it is looked at.
    if unsafe { FLOOR_VIPS.get(&key.0) }.is_none() {
        return Some(XDP_PASS);
    }
    let hash = hash(source | destination << 32, ports);
    let slot = (hash >> 32) * u64::from(FLOOR_SLOTS) >> 32;
    #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
    let server = FLOOR_SERVERS.get(*FLOOR_RING.get(slot as u32)?)?;
    encapsulate(context, server, length + IPV4_HEADER as u64)?;
    let counter = FLOOR_COUNTER.get_ptr_mut(0)?;
    // SAFETY: the slot of this CPU; nothing else runs on it meanwhile that writes there.
    unsafe { *counter += 1 };
    Some(XDP_TX)
}

/// Of a flow: two words mixed in, and the finalizer of `MurmurHash3`.
#[inline(always)]
const fn hash(addresses: u64, ports: u64) -> u64 {
    let mut hash = HASH_KEY[0] ^ HASH_KEY[1].rotate_left(32);
    hash = (hash ^ addresses).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 32 ^ ports).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 32 ^ HASH_KEY[1];
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

/// Puts Ethernet and IPv4 in front of the packet.
#[inline(always)]
fn encapsulate(context: &XdpContext, server: &Server, length: u64) -> Option<()> {
    // SAFETY: the context is the one that the kernel gave the program.
    if unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), -(IPV4_HEADER as i32)) } != 0 {
        return None;
    }
    let frame = context.data();
    if frame + IP + IPV4_HEADER > context.data_end() {
        return None;
    }
    let server = server.0.as_ptr() as usize;
    let length = swap2(length);
    // SAFETY: the frame has both headers, the server its 16 bytes.
    unsafe {
        let destination = load4::<0>(server);
        store8::<0>(frame, load8::<4>(server));
        store4::<8>(frame, load4::<12>(server));
        store2::<12>(frame, IPV4);
        let words = [FIRST, length, DONT_FRAGMENT, TTL_AND_IPIP];
        let sum: u64 = words.iter().sum::<u64>() + OUTER_SOURCE + destination;
        store8::<IP>(frame, FIRST | length << 16 | DONT_FRAGMENT << 48);
        store4::<{ IP + 8 }>(frame, TTL_AND_IPIP | checksum(sum) << 16);
        store4::<{ IP + 12 }>(frame, OUTER_SOURCE);
        store4::<{ IP + 16 }>(frame, destination);
    }
    Some(())
}

/// Of a header whose words add up to `sum`, RFC 1071.
#[inline(always)]
const fn checksum(sum: u64) -> u64 {
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) & 0xffff
}
