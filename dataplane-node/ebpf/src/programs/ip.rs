//! The two versions of IP behind one trait: a mode's code is written once, and compiled for each.

use lbfabric_abi::{
    Address, Backend, Checksum, FilterBit, FilterRegion, FlowKey, NextHop, Reverse, Settings,
    VipService,
};

use super::packet::Family;

/// The time to live of outer headers.
pub(crate) const OUTER_TTL: u64 = 64;

/// What a tunnel's outer header says.
pub(crate) struct Outer<I: Ip> {
    pub(crate) source: I::Address,
    pub(crate) destination: I::Address,
    /// What follows it, in bytes.
    pub(crate) payload: u64,
    pub(crate) protocol: u8,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// Of the flow inside.
    pub(crate) hash: u64,
}

/// A version of IP.
///
/// Functions that take the address of a header expect [`Ip::HEADER`] bytes there, in the frame.
pub(crate) trait Ip: Sized {
    /// An address, in words in memory order.
    type Address: Copy + PartialEq;

    /// The header's length without options and extension headers, in bytes.
    const HEADER: usize;
    /// As in a frame.
    const ETHERTYPE: u64;
    const FAMILY: Family;
    /// Bytes of the TCP option that tells a client's address.
    const CLIENT_ADDRESS_OPTION: usize;
    /// The protocol number of such a packet inside an IP packet.
    const IN_IP: u8;
    /// The number of its control protocol.
    const ICMP: u8;

    /// # Safety
    /// The header can be read.
    unsafe fn source(ip: usize) -> Self::Address;
    /// # Safety
    /// The header can be read.
    unsafe fn destination(ip: usize) -> Self::Address;
    /// # Safety
    /// The header can be written.
    unsafe fn set_source(ip: usize, address: Self::Address);
    /// # Safety
    /// The header can be written.
    unsafe fn set_destination(ip: usize, address: Self::Address);
    /// The packet's length from the header on, as it says itself.
    ///
    /// # Safety
    /// The header can be read.
    unsafe fn length(ip: usize) -> u64;
    /// Says another length. A checksum over the header is left to [`Ip::update`].
    ///
    /// # Safety
    /// The header can be written.
    unsafe fn set_length(ip: usize, length: u64);
    /// # Safety
    /// As many bytes can be read.
    unsafe fn load(from: usize) -> Self::Address;
    /// # Safety
    /// As many bytes can be written.
    unsafe fn store(to: usize, address: Self::Address);
    /// DSCP and ECN.
    ///
    /// # Safety
    /// The header can be read.
    unsafe fn traffic_class(ip: usize) -> u8;
    /// Time to live, or hop limit.
    ///
    /// # Safety
    /// The header can be read.
    unsafe fn ttl(ip: usize) -> u8;
    /// The protocol behind a header without options, extension headers or fragmentation; none otherwise.
    ///
    /// # Safety
    /// The header can be read.
    unsafe fn plain_protocol(ip: usize) -> Option<u8>;
    /// The protocol that follows directly.
    ///
    /// # Safety
    /// The header can be read.
    unsafe fn protocol(ip: usize) -> u8;
    /// What the words of a packet add up to whose [`Ip::plain_protocol`] has a checksum that holds.
    ///
    /// # Safety
    /// The header can be read.
    unsafe fn sum_of_plain(ip: usize) -> Checksum;
    /// The header's checksum as it stands there; zero where there is none.
    ///
    /// # Safety
    /// The header can be read.
    unsafe fn header_checksum(ip: usize) -> u16;
    /// Counts the time to live down by `hops`, and brings the header's checksum, if there is one, up to date with that and
    /// with another change.
    ///
    /// # Safety
    /// The header can be written.
    unsafe fn update(ip: usize, hops: u8, change: Checksum);

    /// Writes a header without options.
    ///
    /// # Safety
    /// The header can be written.
    unsafe fn encapsulate(ip: usize, outer: &Outer<Self>);

    /// How many addresses the node sends from.
    fn sources(settings: &Settings) -> u32;
    /// One of them; `index` is below their number.
    fn node(settings: &Settings, index: usize) -> Self::Address;
    /// Zero if two addresses are the same.
    fn difference(a: Self::Address, b: Self::Address) -> u64;
    /// As [`Address::fold`].
    fn fold(address: Self::Address) -> u32;
    /// The address with a fold, if the fold is all of it.
    fn unfold(fold: u32) -> Option<Self::Address>;
    /// The sum of the address's words.
    fn sum(address: Self::Address) -> Checksum;
    fn bit(region: FilterRegion, address: Self::Address) -> FilterBit;
    fn hash(
        key: &FlowKey,
        source: Self::Address,
        destination: Self::Address,
        ports: u32,
        protocol: u8,
    ) -> u64;
    /// The service of exactly this address, port (in memory order) and protocol.
    fn vip_port(address: Self::Address, port: u16, protocol: u8) -> Option<&'static VipService>;
    /// What the answers of exactly this server's address, port and protocol become.
    fn reverse_port(address: Self::Address, port: u16, protocol: u8) -> Option<&'static Reverse>;
    /// The server's address of this version, if it has one, and the way there.
    fn server(backend: &Backend) -> Option<(Self::Address, &NextHop)>;
    /// The largest packet on that way.
    fn mtu(backend: &Backend) -> u16;
    /// Whether an address is of the server's subnet.
    fn is_beside(backend: &Backend, address: Self::Address) -> bool;
    /// An address of the maps, which is of this version.
    fn of(address: &Address) -> Self::Address;
    /// An address as the maps have it.
    fn to_abi(address: Self::Address) -> Address;
    /// Whether a packet from there is never right: loopback, multicast, or no address of a host.
    fn is_martian(source: Self::Address) -> bool;
}
