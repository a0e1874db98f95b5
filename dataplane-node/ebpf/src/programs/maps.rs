//! The maps of `lbfabric_abi`, and their use without `unsafe`.

use core::ptr::NonNull;

use aya_ebpf::{
    helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, lpm_trie::Key},
};
use lbfabric_abi::{
    Address, BACKENDS_MAX, Backend, CLIENT_ADDRESSES_MAX, COUNTER_SLOTS, ClientAddress, DropReason,
    ENDPOINT_PREFIXES_MAX, ENDPOINTS_MAX, Endpoint, EndpointPrefix, FILTER_WORDS,
    FLOW_BUCKETS_DEFAULT, FilterBit, FilterRegion, Flow, FlowBucket, GUE_PORT_WORDS, Guard,
    NAT_FLOWS_DEFAULT, NatCursor, NextProgram, POOLS_MAX, PoolRing, QuicServer, RECENT_BUCKETS,
    RING_SLOTS_DEFAULT, Reverse, RingSlot, SERVICES_MAX, SESSION_WAYS, SOURCE_PREFIXES_MAX,
    SOURCE_TOKEN_SETS, Session, SessionLine, SessionRecord, Settings, SourcePrefix, SourceTokens,
    TOLD_BY_MAX, Traffic, VIP_ADDRESSES_MAX, VIP_PREFIXES_MAX, VipNetwork, VipPort6, VipService,
};

use super::{
    atomic,
    bucket::Bucket,
    fragments::{FRAGMENTS as FRAGMENTS_COUNT, FragmentKey, Lead},
    frame::Frame,
    packet::Scratch,
    route::{ROUTES as ROUTES_COUNT, Route},
    session::Line,
};

/// Memory for entries that exist only: these maps have room for far more than most fabrics have.
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;
/// Begins at a page, so that entries lie in cache lines as their size says, and can be mapped into the agent.
const MMAPABLE: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;
/// Lines of words that lead to sessions.
const SESSION_LINES: u32 = NAT_FLOWS_DEFAULT / SESSION_WAYS as u32;

#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
static FILTER: Array<u64> = Array::pinned(FILTER_WORDS, 0);
#[map]
static VIP_PORTS4: HashMap<u64, VipService> = HashMap::pinned(ENDPOINTS_MAX, NO_PREALLOC);
#[map]
static VIP_PORTS6: HashMap<u64, VipPort6> = HashMap::pinned(ENDPOINTS_MAX, NO_PREALLOC);
#[map]
static VIP_RANGES: LpmTrie<EndpointPrefix, VipService> = LpmTrie::pinned(ENDPOINT_PREFIXES_MAX, 0);
#[map]
static VIP_PREFIXES: LpmTrie<Address, VipNetwork> = LpmTrie::pinned(VIP_PREFIXES_MAX, 0);
#[map]
static VIP_ADDRESSES: HashMap<Address, u32> = HashMap::pinned(VIP_ADDRESSES_MAX, NO_PREALLOC);
#[map]
static POOLS: HashMap<u32, PoolRing> = HashMap::pinned(POOLS_MAX, NO_PREALLOC);
#[map]
static RINGS: Array<RingSlot> = Array::pinned(RING_SLOTS_DEFAULT, MMAPABLE);
#[map]
static BACKENDS: Array<Backend> = Array::pinned(BACKENDS_MAX, MMAPABLE);
#[map]
static FLOWS: Array<FlowBucket> = Array::pinned(FLOW_BUCKETS_DEFAULT, MMAPABLE);
#[map]
static REVERSE_PORTS4: HashMap<u64, Reverse> = HashMap::pinned(ENDPOINTS_MAX, NO_PREALLOC);
#[map]
static REVERSE_PORTS6: HashMap<Endpoint, Reverse> = HashMap::pinned(ENDPOINTS_MAX, NO_PREALLOC);
#[map]
static REVERSE_RANGES: LpmTrie<EndpointPrefix, Reverse> = LpmTrie::pinned(ENDPOINT_PREFIXES_MAX, 0);
#[map]
static SESSIONS: Array<Session> = Array::pinned(NAT_FLOWS_DEFAULT, MMAPABLE);
#[map]
static SESSION_RECORDS: Array<SessionRecord> = Array::pinned(NAT_FLOWS_DEFAULT, MMAPABLE);
#[map]
static SESSION_TAGS: Array<SessionLine> = Array::pinned(SESSION_LINES, MMAPABLE);
#[map]
static NAT_CURSOR: Array<NatCursor> = Array::pinned(BACKENDS_MAX, MMAPABLE);
#[map]
static QUIC_SERVERS: HashMap<QuicServer, u32> = HashMap::pinned(BACKENDS_MAX, NO_PREALLOC);
#[map]
static GUARDS: HashMap<u32, Guard> = HashMap::pinned(SERVICES_MAX, NO_PREALLOC);
#[map]
static SOURCE_RULES: LpmTrie<SourcePrefix, u32> = LpmTrie::pinned(SOURCE_PREFIXES_MAX, 0);
#[map]
static SERVER_VIPS: LpmTrie<Address, u32> = LpmTrie::pinned(VIP_ADDRESSES_MAX, 0);
#[map]
static GUE_PORTS: Array<u64> = Array::pinned(GUE_PORT_WORDS, 0);
#[map]
static TOLD_PORTS: Array<u64> = Array::pinned(GUE_PORT_WORDS, 0);
#[map]
static TOLD_BY: HashMap<Address, u32> = HashMap::pinned(TOLD_BY_MAX, NO_PREALLOC);
#[map]
static CLIENT_ADDRESSES: LruHashMap<Flow, ClientAddress> =
    LruHashMap::pinned(CLIENT_ADDRESSES_MAX, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(COUNTER_SLOTS, 0);
#[map]
static SERVICE_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::pinned(SERVICES_MAX, 0);
#[map]
static BACKEND_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::pinned(BACKENDS_MAX, 0);
// Those that follow are not kept: a program and its maps come and go together.
#[map]
static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(NextProgram::SLOTS, 0);
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static ROUTES: PerCpuArray<Route> = PerCpuArray::with_max_entries(ROUTES_COUNT, 0);
#[map]
static SERVICE_TOKENS: Array<u64> = Array::with_max_entries(SERVICES_MAX, 0);
#[map]
static SOURCE_TOKENS: Array<SourceTokens> = Array::with_max_entries(SOURCE_TOKEN_SETS, MMAPABLE);
#[map]
static RECENT_FLOWS: Array<FlowBucket> = Array::with_max_entries(RECENT_BUCKETS, MMAPABLE);
#[map]
static ICMP_BUDGET: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, Lead> = LruHashMap::with_max_entries(FRAGMENTS_COUNT, 0);

/// Goes on with another program. Comes back only if that is not there.
#[inline(always)]
pub(crate) fn go_on(frame: &Frame, next: NextProgram) {
    // SAFETY: the context is the one that the kernel gave the program.
    unsafe { PROGRAMS.tail_call(frame.context(), next.index()) };
}

/// What one program leaves to the next.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the slot of this CPU, where one packet follows another; a program asks for it once.
    SCRATCH.get_ptr_mut(0).map(|it| unsafe { &mut *it })
}

/// Where a route is remembered.
#[inline(always)]
pub(crate) fn route(index: u32) -> Option<*mut Route> {
    ROUTES.get_ptr_mut(index)
}

/// A word of the address filter.
#[inline(always)]
pub(crate) fn filter_word(index: u32) -> u64 {
    FILTER.get(index).copied().unwrap_or_default()
}

/// Whether an address has this bit.
#[inline(always)]
pub(crate) fn passes_filter(bit: FilterBit) -> bool {
    FILTER.get(bit.word).is_some_and(|word| bit.is_in(*word))
}

#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// Whether an address is a VIP, also as one of a prefix.
#[inline(always)]
pub(crate) fn is_vip(address: &Address) -> bool {
    is_vip_address(address)
        || may_be_in_prefix(address) && vip_prefix(address, Address::BITS).is_some()
}

/// Whether an address is a VIP by itself.
#[inline(always)]
pub(crate) fn is_vip_address(address: &Address) -> bool {
    VIP_ADDRESSES.get_ptr(address).is_some()
}

/// If it may not, the address is in no VIP that is a prefix.
#[inline(always)]
pub(crate) fn may_be_in_prefix(address: &Address) -> bool {
    passes_filter(FilterRegion::Prefix.bit_of(*address))
}

/// The longest VIP of at most `bits` that an address is in.
#[inline(always)]
pub(crate) fn vip_prefix(address: &Address, bits: u32) -> Option<&'static VipNetwork> {
    VIP_PREFIXES.get(Key::new(bits, *address))
}

/// What is known of the longest VIP that is a prefix and has the address.
#[inline(always)]
pub(crate) fn prefix_flags(address: &Address) -> Option<u32> {
    if !may_be_in_prefix(address) {
        return None;
    }
    vip_prefix(address, Address::BITS).map(|it| it.flags)
}

/// What is known of a VIP that is the address by itself.
#[inline(always)]
pub(crate) fn vip_flags(address: &Address) -> Option<u32> {
    // SAFETY: a number, read by one instruction.
    unsafe { VIP_ADDRESSES.get(address) }.copied()
}

#[inline(always)]
pub(crate) fn is_server_vip(address: &Address) -> bool {
    SERVER_VIPS.get(Key::new(Address::BITS, *address)).is_some()
}

/// Whether a server takes GUE at this UDP port.
#[inline(always)]
pub(crate) fn is_gue_port(port: u16) -> bool {
    let word = GUE_PORTS.get(u32::from(port) / u64::BITS);
    word.is_some_and(|word| word >> (u32::from(port) % u64::BITS) & 1 != 0)
}

/// Whether connections to this TCP port of a server come with their client's address.
#[inline(always)]
pub(crate) fn is_told_port(port: u16) -> bool {
    let word = TOLD_PORTS.get(u32::from(port) / u64::BITS);
    word.is_some_and(|word| word >> (u32::from(port) % u64::BITS) & 1 != 0)
}

/// Whether it is a node that may say who a client is.
#[inline(always)]
pub(crate) fn is_told_by(node: &Address) -> bool {
    TOLD_BY.get_ptr(node).is_some()
}

/// The client of a node's connection.
#[inline(always)]
pub(crate) fn client(connection: &Flow) -> Option<&'static ClientAddress> {
    // SAFETY: an entry that is evicted at this moment may be reused under our hands: then it is another connection's, which no
    // packet has opened for as long as a whole table's worth of others.
    unsafe { CLIENT_ADDRESSES.get(connection) }
}

#[inline(always)]
pub(crate) fn remember_client(connection: &Flow, client: &ClientAddress) {
    // Without it, programs see the node's address.
    CLIENT_ADDRESSES.insert(connection, client, 0).ok();
}

#[inline(always)]
pub(crate) fn forget_client(connection: &Flow) {
    // Most often there is none.
    CLIENT_ADDRESSES.remove(connection).ok();
}

/// The service of exactly this IPv4 endpoint, by its [`Endpoint::key4`].
#[inline(always)]
pub(crate) fn vip_port4(key: u64) -> Option<&'static VipService> {
    // SAFETY: the agent replaces an entry as a whole, and the kernel frees the old one only after all programs that may
    // read it have ended.
    unsafe { VIP_PORTS4.get(key) }
}

/// The service of an IPv6 endpoint with this [`Endpoint::key6`], and which endpoint that is.
#[inline(always)]
pub(crate) fn vip_port6(key: u64) -> Option<&'static VipPort6> {
    // SAFETY: as for `VIP_PORTS4`.
    unsafe { VIP_PORTS6.get(key) }
}

/// The service of the narrowest range with this endpoint; with all bits of `endpoint`, as VIPs are called there.
#[inline(always)]
pub(crate) fn vip_range(endpoint: &EndpointPrefix) -> Option<&'static VipService> {
    VIP_RANGES.get(Key::new(EndpointPrefix::BITS, *endpoint))
}

/// The server with these bytes in its QUIC connection IDs.
#[inline(always)]
pub(crate) fn quic_server(key: &QuicServer) -> Option<u32> {
    // SAFETY: as for `VIP_PORTS4`.
    unsafe { QUIC_SERVERS.get(key) }.copied()
}

/// A service's protection.
#[inline(always)]
pub(crate) fn guard(id: u32) -> Option<&'static Guard> {
    // SAFETY: as for `VIP_PORTS4`.
    unsafe { GUARDS.get(id) }
}

/// What the longest prefix says of a client.
#[inline(always)]
pub(crate) fn source_rule(client: &SourcePrefix) -> Option<u32> {
    SOURCE_RULES
        .get(Key::new(SourcePrefix::BITS, *client))
        .copied()
}

/// A service's token bucket.
#[inline(always)]
pub(crate) fn service_tokens(id: u32) -> Option<NonNull<u64>> {
    SERVICE_TOKENS.get_ptr_mut(id).and_then(NonNull::new)
}

/// A set of clients' token buckets.
#[inline(always)]
pub(crate) fn source_tokens(set: u32) -> Option<NonNull<SourceTokens>> {
    SOURCE_TOKENS.get_ptr_mut(set).and_then(NonNull::new)
}

/// A bucket of the UDP flows of late.
#[inline(always)]
pub(crate) fn recent_bucket(index: u32) -> Option<Bucket> {
    RECENT_FLOWS
        .get_ptr_mut(index)
        .and_then(NonNull::new)
        .map(Bucket::new)
}

/// `CLOCK_MONOTONIC`, in nanoseconds.
#[inline(always)]
pub(crate) fn clock() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// What the answers of exactly this server's IPv4 endpoint become, by its [`Endpoint::key4`].
#[inline(always)]
pub(crate) fn reverse_port4(key: u64) -> Option<&'static Reverse> {
    // SAFETY: as for `VIP_PORTS4`.
    unsafe { REVERSE_PORTS4.get(key) }
}

/// What the answers of exactly this server's IPv6 endpoint become.
#[inline(always)]
pub(crate) fn reverse_port6(endpoint: &Endpoint) -> Option<&'static Reverse> {
    // SAFETY: as for `VIP_PORTS4`.
    unsafe { REVERSE_PORTS6.get(endpoint) }
}

/// What the answers of the narrowest range with this server's endpoint become.
#[inline(always)]
pub(crate) fn reverse_range(endpoint: &Endpoint) -> Option<&'static Reverse> {
    REVERSE_RANGES.get(prefix(endpoint))
}

#[inline(always)]
pub(crate) fn ring_slot(slot: u32) -> Option<RingSlot> {
    RINGS.get(slot).copied()
}

#[inline(always)]
pub(crate) fn backend(id: u32) -> Option<&'static Backend> {
    BACKENDS.get(id)
}

/// A bucket of the flow table.
#[inline(always)]
pub(crate) fn flow_bucket(index: u32) -> Option<Bucket> {
    FLOWS
        .get_ptr_mut(index)
        .and_then(NonNull::new)
        .map(Bucket::new)
}

/// `CLOCK_MONOTONIC` as of the last timer tick, in nanoseconds.
#[inline(always)]
pub(crate) fn coarse_clock() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// A full-NAT session.
#[inline(always)]
pub(crate) fn session(index: u32) -> Option<NonNull<Session>> {
    SESSIONS.get_ptr_mut(index).and_then(NonNull::new)
}

/// What else there is of a full-NAT session.
#[inline(always)]
pub(crate) fn session_record(index: u32) -> Option<NonNull<SessionRecord>> {
    SESSION_RECORDS.get_ptr_mut(index).and_then(NonNull::new)
}

/// A line of words that lead from clients' flows to sessions.
#[inline(always)]
pub(crate) fn session_tags(index: u32) -> Option<Line> {
    SESSION_TAGS
        .get_ptr_mut(index)
        .and_then(NonNull::new)
        .map(Line::new)
}

/// Moves the cursor over the node's ports for a server on.
#[inline(always)]
pub(crate) fn nat_turn(backend: u32) -> Option<u64> {
    NAT_CURSOR
        .get_ptr_mut(backend)
        .and_then(NonNull::new)
        .map(|it| atomic::count_up(it.cast()))
}

/// Notes that full NAT has refused a new flow, if it was for want of room.
#[inline(always)]
pub(crate) fn nat_refused(backend: u32, reason: DropReason) {
    let Some(cursor) = NAT_CURSOR.get_ptr_mut(backend) else {
        return;
    };
    let now = coarse_clock();
    // SAFETY: aligned words of a map's value; of two CPUs that write at the same time, either is right.
    unsafe {
        if reason as u32 == DropReason::NatPortsExhausted as u32 {
            (*cursor).no_port_at = now;
        } else if reason as u32 == DropReason::NatTableFull as u32 {
            (*cursor).no_room_at = now;
        }
    }
}

/// When this CPU's next ICMP error is due, in nanoseconds of [`coarse_clock`], if all were sent evenly.
#[inline(always)]
pub(crate) fn icmp_budget() -> Option<&'static mut u64> {
    // SAFETY: the slot of this CPU, where one packet follows another; a program asks for it once.
    ICMP_BUDGET.get_ptr_mut(0).map(|it| unsafe { &mut *it })
}

/// Where the first fragment of a packet has gone.
#[inline(always)]
pub(crate) fn lead(key: &FragmentKey) -> Option<&'static Lead> {
    // SAFETY: an entry that is evicted at this moment may be reused under our hands; the worst that this can do is to lead
    // one fragment astray.
    unsafe { FRAGMENTS.get(key) }
}

#[inline(always)]
pub(crate) fn remember_lead(key: &FragmentKey, lead: &Lead) {
    // Without it, the fragments that follow are dropped, and counted as that.
    FRAGMENTS.insert(key, lead, 0).ok();
}

#[inline(always)]
pub(crate) fn count(counter: u32) {
    if let Some(count) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: the slot of this CPU; nothing else runs on it meanwhile that writes there.
        unsafe { *count += 1 };
    }
}

/// Counts what goes from a client to a server.
#[inline(always)]
pub(crate) fn count_traffic(service: u32, backend: u32, bytes: u64) {
    add(SERVICE_COUNTERS.get_ptr_mut(service), bytes);
    add(BACKEND_COUNTERS.get_ptr_mut(backend), bytes);
}

#[inline(always)]
fn add(traffic: Option<*mut Traffic>, bytes: u64) {
    if let Some(traffic) = traffic {
        // SAFETY: the slot of this CPU; nothing else runs on it meanwhile that writes there.
        let traffic = unsafe { &mut *traffic };
        traffic.packets += 1;
        traffic.bytes += bytes;
    }
}

#[inline(always)]
const fn prefix(endpoint: &Endpoint) -> Key<EndpointPrefix> {
    Key::new(
        EndpointPrefix::BITS,
        EndpointPrefix {
            address: endpoint.address,
            protocol: endpoint.protocol,
            vip_bits: 0,
            port_be: endpoint.port_be,
        },
    )
}
