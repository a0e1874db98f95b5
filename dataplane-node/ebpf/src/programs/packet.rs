//! A packet of any shape that a service may get, as `lbfabric_general` has read it. The programs behind it find it in
//! `SCRATCH`.

use lbfabric_abi::{Flow, VipService};

/// Where a packet comes from and goes to, and where its parts lie.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) flow: Flow,
    /// From the network header on, without what Ethernet may have padded.
    pub(crate) length: u32,
    /// The network header's distance from the frame's start.
    pub(crate) ip_at: u16,
    /// The distance of the header behind it.
    pub(crate) l4_at: u16,
    pub(crate) family: Family,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// A TCP packet that asks for a connection.
    pub(crate) is_syn: bool,
    pub(crate) zero: u8,
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
    /// A new full-NAT flow's end at the node, as a place in the row of all. Here as well as below, so that the verifier does
    /// not follow what comes then once for each way to it.
    pub(crate) candidate: u64,
    /// The session that has that end, or none.
    pub(crate) owner: u32,
    /// The new flow's session.
    pub(crate) session: u32,
}
