//! A packet of any shape that a service may get, as `lbfabric_general` has read it. The programs behind it find it in
//! `SCRATCH`.

use lbfabric_abi::{Flow, VipService};

use super::fragments::{FragmentKey, Lead};

/// Where a packet comes from and goes to, and where its parts lie.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// Its ports are zero where `has_ports` is not set.
    pub(crate) flow: Flow,
    /// From the network header on, without what Ethernet may have padded.
    pub(crate) length: u32,
    /// What its fragments have in common, as in the frame; of no meaning for a [`Piece::Whole`].
    pub(crate) identification: u32,
    /// The network header's distance from the frame's start: from `lbfabric_general` on without tags.
    pub(crate) ip_at: u16,
    /// The distance of the header behind it and its options and extension headers.
    pub(crate) l4_at: u16,
    pub(crate) family: Family,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// A TCP packet that asks for a connection.
    pub(crate) is_syn: bool,
    /// A TCP packet that accepts one.
    pub(crate) is_syn_ack: bool,
    /// A TCP or UDP header is there, in the bounds that its lengths say.
    pub(crate) has_ports: bool,
    pub(crate) piece: Piece,
    /// Bytes of VLAN tags: 0, 4 or 8.
    pub(crate) tag_bytes: u8,
    pub(crate) zero: [u8; 5],
}

/// What of a packet is there.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Whole = 0,
    /// The first fragment, which has the ports.
    First = 1,
    /// Another one.
    Later = 2,
}

/// The version of IP.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4 = 4,
    Ipv6 = 6,
}

/// What one program leaves to the next. One for each CPU, where one packet follows another.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    pub(crate) packet: Packet,
    /// The service that it is for.
    pub(crate) service: VipService,
    /// The hash that found its ring slot.
    pub(crate) hash: u64,
    /// The server that it goes to.
    pub(crate) server: u32,
    /// The [`lbfabric_abi::Verdict`] of a packet that turns out to be of no flow.
    pub(crate) otherwise: u32,
    /// For `lbfabric_too_big`: the largest packet that would fit, or zero if the packet's time to live has ended.
    pub(crate) room: u32,
    /// For `lbfabric_too_big`: whether the client is looked for in the routing table; else it is where the frame came from.
    pub(crate) by_route: u32,
    /// The tags that the frame came with.
    pub(crate) tags: u64,
    /// Where what is known of a packet's fragments is put together.
    pub(crate) key: FragmentKey,
    pub(crate) lead: Lead,
}
