//! Sessions of full NAT, and of destination NAT with exact state, with the flow's state in both directions: half a cache line each,
//! which is all that a packet of IPv4 needs.
//!
//! ```text
//! SESSION_TAGS[hash of C:c -> V:v]   lines of 8 words {tag, session}          ──►  SESSIONS[session]
//! S:s -> L:l                         full NAT, by arithmetic: session_of_end  ──►  SESSIONS[session]
//! SESSION_TAGS[hash of S:s -> C:c]   destination NAT                          ──►  SESSIONS[session]
//!                                                                                  SESSION_RECORDS[session]   what is rarely needed
//!
//! life:  free ──claimed by a CPU──► busy ──entered──► open ──expired, or its server is dead──► busy ──► free
//! ```
//!
//! Where a session of full NAT lies says which end of the node it has, so no end is ever two flows', and answers need no table to
//! find it. Ports that follow each other lie beside each other: what is in use is on few pages of memory. A session of
//! destination NAT lies wherever there was room, and has a second word for its answers.
//!
//! Whoever has made a session busy, by compare-and-exchange of its life, alone writes its other fields, its record, and its word
//! in `SESSION_TAGS`.

use core::mem::offset_of;

use crate::{Address, BACKENDS_MAX, POOLS_MAX, Protocol, SERVICES_MAX, SOURCES_MAX};

mod life;

pub use life::{SessionLife, SessionPacket, SessionState, SessionTick};

/// Words of a line.
pub const SESSION_WAYS: usize = 8;

/// A flow of full NAT, `SESSIONS[session_of_end]`, or of destination NAT with exact state, anywhere in `SESSIONS`.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The [`Address::fold`] of the client's address: of IPv4 the address itself, in memory order.
    pub client: u32,
    /// As above, of the VIP.
    pub vip: u32,
    /// The client's port, in network order.
    pub client_port_be: [u8; 2],
    /// The VIP's port, in network order.
    pub vip_port_be: [u8; 2],
    /// The node's port, in network order; with [`Session::DNAT`] the client's, which the server sees.
    pub node_port_be: [u8; 2],
    /// The server's port, in network order.
    pub server_port_be: [u8; 2],
    /// Whether there is a flow, and what is known of it.
    pub life: SessionLife,
    /// The server's id.
    pub backend: u16,
    /// The service's id.
    pub service: u16,
    /// The pool's id.
    pub pool: u16,
    /// The family, the protocol and the index of the node's address, [`Session::origin_of`], or [`Session::kind_of`] destination NAT.
    pub origin: u8,
    /// The [`Session::check_of`] the node's address, as another one may take its place. Of no meaning with [`Session::DNAT`].
    pub node_check: u8,
}

/// What packets of IPv4 that go on have no need of. `SESSION_RECORDS[session]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionRecord {
    /// The client's address.
    pub client: Address,
    /// The VIP.
    pub vip: Address,
    /// Where the session's word lies in `SESSION_TAGS`: `8 * line + word`.
    pub tag_at: u32,
    /// As above, of the word for its answers; only with [`Session::DNAT`].
    pub back_at: u32,
}

/// A line of `SESSION_TAGS`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLine {
    /// In no order.
    pub words: [SessionWord; SESSION_WAYS],
}

/// Leads from a flow to its session: 40 bits of the flow's hash and 24 of the session's index. Zero: nothing.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionWord(pub u64);

/// Where a flow's word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPlace {
    /// The bits of the hash that the word carries, at their place there. Not zero.
    pub tag: u64,
    hash: u64,
}

// === impl Session ===

impl Session {
    /// The bit of `origin` that tells IPv6 from IPv4.
    pub const IPV6: u8 = 1 << 7;
    /// The bit of `origin` that tells destination NAT from full NAT.
    pub const DNAT: u8 = 1 << 6;
    /// The bit of `origin` that tells UDP from TCP.
    pub const UDP: u8 = 1 << 5;

    /// The `origin` of destination NAT's session, which has no address of the node.
    #[inline(always)]
    pub const fn kind_of(is_ipv6: bool, protocol: u8) -> u8 {
        Self::origin_of(is_ipv6, protocol, 0) | Self::DNAT
    }

    /// Whether it is destination NAT's.
    #[inline(always)]
    pub const fn is_dnat(&self) -> bool {
        self.origin & Self::DNAT != 0
    }

    /// The `origin` of a session that the node sends from its address with this index.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "below SOURCES_MAX")]
    pub const fn origin_of(is_ipv6: bool, protocol: u8, index: usize) -> u8 {
        index as u8 | (is_ipv6 as u8) << 7 | ((protocol == Protocol::Udp as u8) as u8) << 5
    }

    /// A byte of the [`Address::fold`] of the node's address.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a byte is meant")]
    pub const fn check_of(node: u32) -> u8 {
        (node ^ node >> 8 ^ node >> 16 ^ node >> 24) as u8
    }

    /// From the words that it is made of, in memory order.
    pub fn from_words(words: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        for (part, word) in bytes.chunks_exact_mut(8).zip(words) {
            part.copy_from_slice(&word.to_ne_bytes());
        }
        let two = |at: usize| [bytes[at], bytes[at + 1]];
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        Self {
            client: u32::from_ne_bytes(four(offset_of!(Self, client))),
            vip: u32::from_ne_bytes(four(offset_of!(Self, vip))),
            client_port_be: two(offset_of!(Self, client_port_be)),
            vip_port_be: two(offset_of!(Self, vip_port_be)),
            node_port_be: two(offset_of!(Self, node_port_be)),
            server_port_be: two(offset_of!(Self, server_port_be)),
            life: SessionLife(words[offset_of!(Self, life) / 8]),
            backend: u16::from_ne_bytes(two(offset_of!(Self, backend))),
            service: u16::from_ne_bytes(two(offset_of!(Self, service))),
            pool: u16::from_ne_bytes(two(offset_of!(Self, pool))),
            origin: bytes[offset_of!(Self, origin)],
            node_check: bytes[offset_of!(Self, node_check)],
        }
    }

    /// The index of the node's address.
    #[inline(always)]
    pub const fn source(&self) -> usize {
        self.origin as usize % SOURCES_MAX
    }

    /// The IP protocol number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        const TCP: u8 = Protocol::Tcp as u8;
        const BETWEEN: u8 = Protocol::Udp as u8 - TCP;
        TCP + BETWEEN * (self.origin >> 5 & 1)
    }

    /// Whether it is of TCP.
    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.origin & Self::UDP == 0
    }

    /// The client's and the VIP's port, as they stand in a header.
    #[inline(always)]
    pub const fn client_ports(&self) -> u32 {
        let ([a, b], [c, d]) = (self.client_port_be, self.vip_port_be);
        u32::from_ne_bytes([a, b, c, d])
    }

    /// The node's and the server's port, as they stand in a header.
    #[inline(always)]
    pub const fn server_ports(&self) -> u32 {
        let ([a, b], [c, d]) = (self.node_port_be, self.server_port_be);
        u32::from_ne_bytes([a, b, c, d])
    }
}

// === impl SessionRecord ===

impl SessionRecord {
    /// From the words that it is made of, in memory order.
    pub fn from_words(words: [u64; 5]) -> Self {
        let [client, client_low, vip, vip_low, rest] = words;
        let (mut tag_at, mut back_at) = ([0; 4], [0; 4]);
        tag_at.copy_from_slice(&rest.to_ne_bytes()[..4]);
        back_at.copy_from_slice(&rest.to_ne_bytes()[4..]);
        Self {
            client: Address::from_halves([client, client_low]),
            vip: Address::from_halves([vip, vip_low]),
            tag_at: u32::from_ne_bytes(tag_at),
            back_at: u32::from_ne_bytes(back_at),
        }
    }
}

// === impl SessionWord ===

impl SessionWord {
    /// No session.
    pub const FREE: Self = Self(0);
    /// Sessions are below it.
    pub const SESSIONS_MAX: u32 = 1 << 24;

    /// A word; `session` is below [`SessionWord::SESSIONS_MAX`].
    #[inline(always)]
    pub const fn new(tag: u64, session: u32) -> Self {
        Self(tag | session as u64)
    }

    /// The session's index.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "24 bits")]
    pub const fn session(self) -> u32 {
        self.0 as u32 & (Self::SESSIONS_MAX - 1)
    }
}

// === impl SessionPlace ===

impl SessionPlace {
    /// The place of a flow with this hash.
    #[inline(always)]
    pub const fn of(hash: u64) -> Self {
        let tag = hash & !(SessionWord::SESSIONS_MAX as u64 - 1);
        Self {
            tag: tag | ((tag == 0) as u64) << 24,
            hash,
        }
    }

    /// The line to look in first, in the lower half of all: few flows are on half of the memory. `mask` is the number of lines, a
    /// power of two, less one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn first(self, mask: u32) -> u32 {
        self.hash as u32 & mask >> 1
    }

    /// The line to look in then, in the upper half.
    #[inline(always)]
    pub const fn second(self, mask: u32) -> u32 {
        let line = (self.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        (line | !(mask >> 1)) & mask
    }
}

/// Between the sessions of one port of two addresses: the ports that there are, and what keeps a few ports apart in a small
/// table, but no more than the ports that nobody uses.
const PER_SOURCE: u32 = (1 << 16) + 1021;

/// The session that an end of the node has: `port`, in host order, of the node's address with the index `source`, towards the
/// server's end that hashes to `base`. `mask` is the number of sessions, a power of two, less one.
///
/// Of one server, the ports from 1024 on of as many addresses as go into `mask` by 65,536 have sessions of their own.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
pub const fn session_of_end(base: u64, source: u32, port: u16, mask: u32) -> u32 {
    (base as u32)
        .wrapping_add(source.wrapping_mul(PER_SOURCE))
        .wrapping_add(port as u32)
        & mask
}

/// Full NAT towards one server. `NAT_CURSOR[backend id]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatCursor {
    /// Ends of the node that were looked at for new flows.
    pub turn: u64,
    /// When a new flow was last refused for want of an end of the node, by `CLOCK_MONOTONIC` in nanoseconds; zero: never.
    pub no_port_at: u64,
    /// As above, for want of a session.
    pub no_room_at: u64,
}

impl Address {
    /// Its words as one: of IPv4 the address itself, in memory order.
    #[inline(always)]
    pub const fn fold(&self) -> u32 {
        if let Some(word) = self.ipv4_word() {
            word
        } else {
            fold6(self.words())
        }
    }
}

/// As [`Address::fold`], of IPv6.
#[inline(always)]
pub const fn fold6([a, b, c, d]: [u32; 4]) -> u32 {
    a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d
}

const _: () = assert!(size_of::<Session>() == 32 && size_of::<SessionLine>() == 64);
const _: () = assert!(size_of::<SessionRecord>() == 40 && SOURCES_MAX.is_power_of_two());
const _: () = assert!(BACKENDS_MAX <= 1 << 16 && SERVICES_MAX <= 1 << 16 && POOLS_MAX <= 1 << 16);

#[cfg(test)]
mod tests;
