//! Every limit of the fabric. The API refuses what would exceed one; no node ever finds out by `E2BIG`.

/// Version of the pinned maps' layout. Maps of another version are never opened; a new set is built beside them.
pub const LAYOUT_VERSION: u32 = 9;

/// Services of a fabric; ids are below it.
pub const SERVICES_MAX: u32 = 65_536;
/// Pools of a fabric; ids are below it.
pub const POOLS_MAX: u32 = 16_384;
/// Servers of a fabric, over all pools; ids are below it.
pub const BACKENDS_MAX: u32 = 65_536;
/// Declared nodes of a fabric.
pub const NODES_MAX: u32 = 4_096;
/// VIPs of one service.
pub const SERVICE_VIPS_MAX: usize = 64;
/// Ports and port ranges of one service.
pub const SERVICE_PORTS_MAX: usize = 64;
/// Prefixes in each of the two lists of clients, allowed and denied, of one service.
pub const SERVICE_SOURCES_MAX: usize = 1_024;
/// Prefixes in such lists over all services.
pub const SOURCE_PREFIXES_MAX: u32 = 262_144;
/// VIPs that are whole prefixes, over all services.
pub const VIP_PREFIXES_MAX: u32 = 16_384;
/// VIPs that are whole prefixes, within one another: a packet looks through so many.
pub const VIP_PREFIX_LEVELS_MAX: usize = 4;
/// The shortest prefix that may be a VIP, IPv4.
pub const VIP_BITS_MIN_V4: u8 = 8;
/// The shortest prefix that may be a VIP, IPv6.
pub const VIP_BITS_MIN_V6: u8 = 16;
/// New flows per second, and at once, that a limit may allow.
pub const NEW_FLOWS_MAX: u32 = 10_000_000;
/// Bytes of a server ID in QUIC connection IDs.
pub const QUIC_SERVER_ID_MAX: usize = 8;
/// The UDP port of GUE unless the service says another.
pub const GUE_PORT_DEFAULT: u16 = 6080;
/// Entries of `GUE_PORTS`: a bit for each port.
pub const GUE_PORT_WORDS: u32 = (1 << 16) / u64::BITS;
/// Servers of one pool.
pub const POOL_BACKENDS_MAX: u32 = 512;
/// Servers that a pool has room for when it does not say.
pub const POOL_BACKENDS_DEFAULT: u32 = 32;
/// Slots of a ring for each server that the pool has room for.
pub const SLOTS_PER_BACKEND: u32 = 128;
/// Entries of `VIP_PORTS` and of `REVERSE_PORTS`.
pub const ENDPOINTS_MAX: u32 = 262_144;
/// Entries of `VIP_RANGES` and of `REVERSE_RANGES`; a range takes at most 30.
pub const ENDPOINT_PREFIXES_MAX: u32 = 262_144;
/// Seconds after which a UDP packet of a service with limits begins a new flow, if none came before; the clock's steps of two
/// seconds come on top.
pub const UDP_FLOW_IDLE_SECS: u32 = 30;
/// Buckets of `RECENT_FLOWS`, a power of two: 64 bytes each, 262,144 UDP flows of services with limits.
pub const RECENT_BUCKETS: u32 = 1 << 15;
/// Sets of `SOURCE_TOKENS`, a power of two: 64 bytes each, 65,536 clients of services with limits for each client.
pub const SOURCE_TOKEN_SETS: u32 = 1 << 14;
/// Entries of `TOLD_BY`: as many as the nodes of a fabric may have source addresses.
pub const TOLD_BY_MAX: u32 = 65_536;
const _: () = assert!(TOLD_BY_MAX as usize == NODES_MAX as usize * 2 * SOURCES_MAX);
/// Entries of `CLIENT_ADDRESSES`: connections of full NAT whose client a server knows.
pub const CLIENT_ADDRESSES_MAX: u32 = 1 << 17;
/// Entries of `VIP_ADDRESSES` and of `SERVER_VIPS`.
pub const VIP_ADDRESSES_MAX: u32 = 131_072;
/// Entries of `LEASED_VIPS`: every VIP may be leased.
pub const LEASED_VIPS_MAX: u32 = VIP_ADDRESSES_MAX;
/// Entries of `LINKS`: interfaces that carry the program.
pub const LINKS_MAX: u32 = 1_024;
/// Entries of `VIP_CLAIMS`: hosts that take themselves for owners of VIPs.
pub const VIP_CLAIMS_MAX: u32 = 1_024;
/// Slots of `RINGS` unless the agent is told otherwise: 8 bytes each, 255 pools of the default size.
pub const RING_SLOTS_DEFAULT: u32 = 1 << 20;
/// Buckets of `FLOWS` unless the agent is told otherwise, always a power of two: 64 bytes each, a million flows.
pub const FLOW_BUCKETS_DEFAULT: u32 = 1 << 17;
/// Flows of full NAT unless the agent is told otherwise, rounded up to a power of two: 80 bytes each, for `SESSIONS`,
/// `SESSION_RECORDS` and the words in `SESSION_TAGS`; 20 MiB. Those of destination NAT with exact state have two words.
pub const NAT_FLOWS_DEFAULT: u32 = 1 << 18;
/// Source addresses of full NAT and tunnels, for each family.
pub const SOURCES_MAX: usize = 8;
/// ICMP errors of its own that each CPU of a node sends in a second.
pub const ICMP_ERRORS_PER_SECOND: u64 = 100;
/// Source ports that full NAT tries for one packet of a new flow; its next packet goes on from there.
pub const NAT_PORT_TRIES: u32 = 8;
/// How long full NAT keeps a silent TCP connection: RFC 5382 REQ-5 asks for at least 2 hours and 4 minutes, which keepalives at
/// their default of 2 hours need.
pub const SESSION_IDLE_OPEN_SECS: u32 = 7_440;
/// Of a connection that is not open yet: 3 SYNs of a client with RFC 6298's times, and Linux's conntrack gives the second one.
pub const SESSION_IDLE_OPENING_SECS: u32 = 60;
/// Of a connection that one side has closed: RFC 5382 REQ-5 asks for at least 4 minutes.
pub const SESSION_IDLE_CLOSING_SECS: u32 = 240;
/// Of a connection that both sides have closed, for late packets: the TIME-WAIT of Linux (`TCP_TIMEWAIT_LEN`).
pub const SESSION_IDLE_CLOSED_SECS: u32 = 60;
/// Of a connection whose last packet was a reset, as conntrack's `tcp_timeout_close`.
pub const SESSION_IDLE_RESET_SECS: u32 = 10;
/// Of UDP in both directions, and again from the client: RFC 4787 REQ-5 asks for at least 2 minutes; conntrack gave 180 s.
pub const SESSION_IDLE_UDP_SECS: u32 = 180;
/// Of UDP before that: a question and its answer, as conntrack's `udp_timeout`.
pub const SESSION_IDLE_UDP_SINGLE_SECS: u32 = 30;
/// A flow that no client has confirmed gives its port to another once it was silent for so many ticks of about a second: a
/// client sends its SYN again after 1, 3 and 7 seconds (RFC 6298).
pub const SESSION_PORT_PATIENCE: u32 = 10;
