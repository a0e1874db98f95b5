//! What the programs of `make bench-l4` and the benchmark that runs them share.
//!
//! | map | kind | value |
//! | --- | --- | --- |
//! | `SCENARIO` | array of 1 | [`Scenario`], as [`Scenario::to_bytes`] gives it |
//! | `LISTED` | array of [`LISTED_FLOWS`] | an IPv4 flow, as [`listed`] gives it |
//! | `TURN` | per-CPU array of 1 | `u64`, counts the repeats |
//! | `NEXT` | program array of 1 | the program under test |
//! | `FLOOR_VIPS` | hash | [`lbfabric_abi::Endpoint`] to `u32`, always 1 |
//! | `FLOOR_RING` | array of [`FLOOR_SLOTS`] | `u32`, an index of `FLOOR_SERVERS` |
//! | `FLOOR_SERVERS` | array of [`FLOOR_SERVERS`] | a server, as [`floor_server`] gives it |
//! | `FLOOR_COUNTER` | per-CPU array of 1 | `u64` packets |
#![no_std]

/// Bytes of a frame that are written anew before each repeat; frames are no shorter.
pub const TEMPLATE_BYTES: usize = 80;
/// Flows take turns in another order than the one in which they were opened: odd, so that all have theirs.
pub const SCATTER: u64 = 0x9e37_79b1;
/// The largest number of flows of [`Vary::Listed`].
pub const LISTED_FLOWS: u32 = 1 << 16;
/// Slots of the floor program's ring: what a pool of the default size has.
pub const FLOOR_SLOTS: u32 = 4099;
/// Servers of the floor program.
pub const FLOOR_SERVERS: u32 = 32;
/// Flows share an address by this many; each address goes on with the next.
pub const PORTS_PER_ADDRESS: u32 = 1 << PORT_BITS;
/// As a power of two.
pub const PORT_BITS: u32 = 14;

/// What is different from packet to packet.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Source address and port, counted up from the template's.
    Source = 0,
    /// Destination address and port, counted up from the template's.
    Destination = 1,
    /// Addresses and ports of an IPv4 packet, as `LISTED` has them.
    Listed = 2,
}

/// The packets of one case.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// How a frame begins: Ethernet, IP without options, TCP or UDP, payload.
    pub template: [u8; TEMPLATE_BYTES],
    /// The frame's length.
    pub length: u32,
    /// One less than the number of flows, which is a power of two.
    pub flow_mask: u32,
    /// Whether it is IPv6; otherwise IPv4.
    pub is_ipv6: u32,
    /// A [`Vary`].
    pub vary: u32,
}

/// Bytes of a [`Scenario`].
pub const SCENARIO_BYTES: usize = TEMPLATE_BYTES + 16;
const _: () = assert!(size_of::<Scenario>() == SCENARIO_BYTES);

impl Scenario {
    /// As it stands in the map.
    pub fn to_bytes(&self) -> [u8; SCENARIO_BYTES] {
        let mut bytes = [0; SCENARIO_BYTES];
        let (template, numbers) = bytes.split_at_mut(TEMPLATE_BYTES);
        template.copy_from_slice(&self.template);
        let fields = [self.length, self.flow_mask, self.is_ipv6, self.vary];
        for (bytes, field) in numbers.chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }
}

/// An entry of `LISTED`: both addresses, then both ports, as they stand in a frame.
pub fn listed(
    source: [u8; 4],
    destination: [u8; 4],
    source_port: u16,
    destination_port: u16,
) -> [u64; 2] {
    let [source, destination] = [source, destination].map(|it| u64::from(u32::from_ne_bytes(it)));
    let [from, to] = [source_port, destination_port].map(|it| u64::from(it.to_be()));
    [source | destination << 32, from | to << 16]
}

/// An entry of `FLOOR_SERVERS`: its address, the frame's source and destination.
pub fn floor_server(address: [u8; 4], source_mac: [u8; 6], mac: [u8; 6]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address);
    bytes[4..10].copy_from_slice(&mac);
    bytes[10..].copy_from_slice(&source_mac);
    bytes
}
