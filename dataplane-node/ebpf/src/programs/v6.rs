//! IPv6, RFC 8200.

use lbfabric_abi::{
    Address, Backend, Checksum, Endpoint, FilterBit, FilterRegion, FlowKey, NextHop, Reverse,
    SOURCES_MAX, Settings, VipService, fold6,
};

use super::{
    aligned::Aligned,
    bytes::{load1, load2, load4, load8, store1, store2, store8, swap2},
    frame::opaque,
    headers::protocol,
    ip::{Ip, OUTER_TTL, Outer},
    maps,
    packet::Family,
};

/// IPv6.
pub(crate) struct V6;

impl V6 {
    /// Whether it is an IPv4 address in the form of RFC 4291 section 2.5.5.2. In the maps it would be taken for that.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "half of a word")]
    pub(crate) const fn is_mapped([high, low]: [u64; 2]) -> bool {
        high == 0 && low as u32 == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "words of a header")]
impl Ip for V6 {
    type Address = [u64; 2];

    const HEADER: usize = 40;
    const ETHERTYPE: u64 = u16::from_ne_bytes([0x86, 0xdd]) as u64;
    const FAMILY: Family = Family::Ipv6;
    const CLIENT_ADDRESS_OPTION: usize = 20;
    const IN_IP: u8 = protocol::IPV6;
    const ICMP: u8 = protocol::ICMPV6;

    #[inline(always)]
    unsafe fn source(ip: usize) -> [u64; 2] {
        // SAFETY: the caller's.
        unsafe { [load8::<8>(ip), load8::<16>(ip)] }
    }

    #[inline(always)]
    unsafe fn destination(ip: usize) -> [u64; 2] {
        // SAFETY: the caller's.
        unsafe { [load8::<24>(ip), load8::<32>(ip)] }
    }

    #[inline(always)]
    unsafe fn set_source(ip: usize, [high, low]: [u64; 2]) {
        // SAFETY: the caller's.
        unsafe {
            store8::<8>(ip, high);
            store8::<16>(ip, low);
        }
    }

    #[inline(always)]
    unsafe fn set_destination(ip: usize, [high, low]: [u64; 2]) {
        // SAFETY: the caller's.
        unsafe {
            store8::<24>(ip, high);
            store8::<32>(ip, low);
        }
    }

    #[inline(always)]
    unsafe fn length(ip: usize) -> u64 {
        // SAFETY: the caller's.
        unsafe { swap2(load2::<4>(ip)) + Self::HEADER as u64 }
    }

    #[inline(always)]
    unsafe fn set_length(ip: usize, length: u64) {
        // SAFETY: the caller's.
        unsafe { store2::<4>(ip, swap2(length - Self::HEADER as u64)) }
    }

    #[inline(always)]
    unsafe fn load(from: usize) -> [u64; 2] {
        // SAFETY: the caller's.
        unsafe { [load8::<0>(from), load8::<8>(from)] }
    }

    #[inline(always)]
    unsafe fn store(to: usize, [high, low]: [u64; 2]) {
        // SAFETY: the caller's.
        unsafe {
            store8::<0>(to, high);
            store8::<8>(to, low);
        }
    }

    #[inline(always)]
    unsafe fn traffic_class(ip: usize) -> u8 {
        // SAFETY: the caller's.
        unsafe { (swap2(load2::<0>(ip)) >> 4) as u8 }
    }

    #[inline(always)]
    unsafe fn ttl(ip: usize) -> u8 {
        // SAFETY: the caller's.
        unsafe { load1::<7>(ip) as u8 }
    }

    #[inline(always)]
    unsafe fn plain_protocol(ip: usize) -> Option<u8> {
        // SAFETY: the caller's.
        let (first, next_header) = unsafe { (load1::<0>(ip), load1::<6>(ip) as u8) };
        let is_plain = matches!(next_header, protocol::TCP | protocol::UDP);
        (first >> 4 == 6 && is_plain).then_some(next_header)
    }

    /// What follows the header adds up to the complement of its pseudo-header, which takes the addresses, the length and the
    /// protocol away again.
    #[inline(always)]
    unsafe fn sum_of_plain(ip: usize) -> Checksum {
        // SAFETY: the caller's.
        unsafe {
            Checksum::default()
                .add32(load4::<0>(ip) as u32)
                .add16(load2::<6>(ip) as u16)
                .sub16(u16::from_ne_bytes([0, load1::<6>(ip) as u8]))
        }
    }

    #[inline(always)]
    unsafe fn protocol(ip: usize) -> u8 {
        // SAFETY: the caller's.
        unsafe { load1::<6>(ip) as u8 }
    }

    #[inline(always)]
    unsafe fn header_checksum(_ip: usize) -> u16 {
        0
    }

    #[inline(always)]
    unsafe fn update(ip: usize, hops: u8, _change: Checksum) {
        // SAFETY: the caller's.
        unsafe { store1::<7>(ip, load1::<7>(ip).wrapping_sub(hops.into())) }
    }

    /// Each flow has its own flow label, for routers and network cards that spread by it (RFC 6438).
    #[inline(always)]
    unsafe fn encapsulate(ip: usize, outer: &Outer<Self>) {
        let class = u32::from(outer.traffic_class);
        let first = 6 << 28 | class << 20 | outer.hash as u32 & 0x000f_ffff;
        let second = swap2(outer.payload) | u64::from(outer.protocol) << 16 | OUTER_TTL << 24;
        // SAFETY: the caller's.
        unsafe {
            store8::<0>(ip, u64::from(first.to_be()) | second << 32);
            Self::set_source(ip, outer.source);
            Self::set_destination(ip, outer.destination);
        }
    }

    #[inline(always)]
    fn sources(settings: &Settings) -> u32 {
        settings.source6_count
    }

    #[inline(always)]
    fn node(settings: &Settings, index: usize) -> [u64; 2] {
        let from = core::ptr::from_ref(&settings.source6[opaque(index) % SOURCES_MAX]) as usize;
        // SAFETY: an address is sixteen bytes.
        unsafe { [load8::<0>(from), load8::<8>(from)] }
    }

    #[inline(always)]
    fn difference([a, b]: [u64; 2], [c, d]: [u64; 2]) -> u64 {
        a ^ c | b ^ d
    }

    #[inline(always)]
    fn fold(address: [u64; 2]) -> u32 {
        fold6(words(address))
    }

    #[inline(always)]
    fn unfold(_fold: u32) -> Option<[u64; 2]> {
        None
    }

    #[inline(always)]
    fn sum(address: [u64; 2]) -> Checksum {
        words(address)
            .into_iter()
            .fold(Checksum::default(), Checksum::add32)
    }

    #[inline(always)]
    fn bit(region: FilterRegion, address: [u64; 2]) -> FilterBit {
        region.bit6(words(address))
    }

    #[inline(always)]
    fn hash(
        key: &FlowKey,
        source: [u64; 2],
        destination: [u64; 2],
        ports: u32,
        protocol: u8,
    ) -> u64 {
        key.hash6(words(source), words(destination), ports, protocol)
    }

    #[inline(always)]
    fn vip_port(address: [u64; 2], port: u16, protocol: u8) -> Option<&'static VipService> {
        let found = maps::vip_port6(Endpoint::key6_of(words(address), port, protocol))?;
        let at = core::ptr::from_ref(&found.endpoint) as usize;
        let end = u64::from(port) | u64::from(protocol) << 16;
        // SAFETY: an endpoint is twenty bytes.
        let differs = unsafe {
            load8::<0>(at) ^ address[0] | load8::<8>(at) ^ address[1] | load4::<16>(at) ^ end
        };
        (differs == 0).then_some(&found.service)
    }

    #[inline(always)]
    fn reverse_port(address: [u64; 2], port: u16, protocol: u8) -> Option<&'static Reverse> {
        maps::reverse_port6(&endpoint(address, port, protocol))
    }

    #[inline(always)]
    fn server(backend: &Backend) -> Option<([u64; 2], &NextHop)> {
        let address = Self::of(&Address(backend.ipv6));
        (address[0] | address[1] != 0).then_some((address, &backend.hop6))
    }

    #[inline(always)]
    fn mtu(backend: &Backend) -> u16 {
        backend.mtu6
    }

    #[inline(always)]
    fn is_beside(backend: &Backend, address: [u64; 2]) -> bool {
        backend.is_beside6(address)
    }

    #[inline(always)]
    fn of(address: &Address) -> [u64; 2] {
        let from = core::ptr::from_ref(address) as usize;
        // SAFETY: an address is sixteen bytes.
        unsafe { [load8::<0>(from), load8::<8>(from)] }
    }

    #[inline(always)]
    fn to_abi([high, low]: [u64; 2]) -> Address {
        // SAFETY: sixteen bytes are sixteen bytes.
        Address(unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>([high, low]) })
    }

    #[inline(always)]
    fn is_martian([high, low]: [u64; 2]) -> bool {
        // The unspecified address, the loopback address and multicast, RFC 4291 section 2.4; and IPv4 addresses that stand
        // for IPv6 ones, which are for programs, not for the wire.
        let is_low = high == 0 && (low == 0 || low == 1u64.to_be() || Self::is_mapped([high, low]));
        is_low || high.to_ne_bytes()[0] == 0xff
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of words")]
const fn words([high, low]: [u64; 2]) -> [u32; 4] {
    [
        high as u32,
        (high >> 32) as u32,
        low as u32,
        (low >> 32) as u32,
    ]
}

/// The key of a map, put together from words.
#[inline(always)]
fn endpoint([high, low]: [u64; 2], port: u16, protocol: u8) -> Aligned<Endpoint> {
    let end = u32::from(port) | u32::from(protocol) << 16;
    let [a, b, c, d] = words([high, low]);
    // SAFETY: twenty bytes are twenty bytes, in the order of the fields.
    Aligned(unsafe { core::mem::transmute::<[u32; 5], Endpoint>([a, b, c, d, end]) })
}
