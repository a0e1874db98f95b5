//! IPv4, RFC 791.

use lbfabric_abi::{
    Address, Backend, Checksum, Endpoint, FilterBit, FilterRegion, FlowKey, NextHop, Reverse,
    SOURCES_MAX, Settings, VipService,
};

use super::{
    bytes::{load1, load2, load4, store1, store2, store4, store8, swap2},
    frame::opaque,
    headers::protocol,
    ip::{Ip, OUTER_TTL, Outer},
    maps,
    packet::Family,
};

/// IPv4.
pub(crate) struct V4;

/// More fragments, and the offset: as two bytes of the frame.
const FRAGMENT: u64 = 0xff3f;
/// As above.
const DONT_FRAGMENT: u64 = 0x40;

#[expect(clippy::cast_possible_truncation, reason = "words of a header")]
impl Ip for V4 {
    type Address = u32;

    const HEADER: usize = 20;
    const ETHERTYPE: u64 = u16::from_ne_bytes([0x08, 0x00]) as u64;
    const FAMILY: Family = Family::Ipv4;
    const CLIENT_ADDRESS_OPTION: usize = 8;
    const IN_IP: u8 = protocol::IPIP;
    const ICMP: u8 = protocol::ICMP;

    #[inline(always)]
    unsafe fn source(ip: usize) -> u32 {
        // SAFETY: the caller's.
        unsafe { load4::<12>(ip) as u32 }
    }

    #[inline(always)]
    unsafe fn destination(ip: usize) -> u32 {
        // SAFETY: the caller's.
        unsafe { load4::<16>(ip) as u32 }
    }

    #[inline(always)]
    unsafe fn set_source(ip: usize, address: u32) {
        // SAFETY: the caller's.
        unsafe { store4::<12>(ip, address.into()) }
    }

    #[inline(always)]
    unsafe fn set_destination(ip: usize, address: u32) {
        // SAFETY: the caller's.
        unsafe { store4::<16>(ip, address.into()) }
    }

    #[inline(always)]
    unsafe fn length(ip: usize) -> u64 {
        // SAFETY: the caller's.
        unsafe { swap2(load2::<2>(ip)) }
    }

    #[inline(always)]
    unsafe fn set_length(ip: usize, length: u64) {
        // SAFETY: the caller's.
        unsafe { store2::<2>(ip, swap2(length)) }
    }

    #[inline(always)]
    unsafe fn load(from: usize) -> u32 {
        // SAFETY: the caller's.
        unsafe { load4::<0>(from) as u32 }
    }

    #[inline(always)]
    unsafe fn store(to: usize, address: u32) {
        // SAFETY: the caller's.
        unsafe { store4::<0>(to, address.into()) }
    }

    #[inline(always)]
    unsafe fn traffic_class(ip: usize) -> u8 {
        // SAFETY: the caller's.
        unsafe { load1::<1>(ip) as u8 }
    }

    #[inline(always)]
    unsafe fn ttl(ip: usize) -> u8 {
        // SAFETY: the caller's.
        unsafe { load1::<8>(ip) as u8 }
    }

    #[inline(always)]
    unsafe fn plain_protocol(ip: usize) -> Option<u8> {
        // SAFETY: the caller's.
        let (first, fragment, protocol) =
            unsafe { (load1::<0>(ip), load2::<6>(ip), load1::<9>(ip)) };
        (first == 0x45 && fragment & FRAGMENT == 0).then_some(protocol as u8)
    }

    /// The header with its checksum adds up to zero, and what follows to the complement of its pseudo-header.
    #[inline(always)]
    unsafe fn sum_of_plain(ip: usize) -> Checksum {
        // SAFETY: the caller's.
        let pseudo = unsafe {
            let length = swap2(Self::length(ip) - Self::HEADER as u64);
            Checksum::default()
                .add32(Self::source(ip))
                .add32(Self::destination(ip))
                .add16(u16::from_ne_bytes([0, load1::<9>(ip) as u8]))
                .add16(length as u16)
        };
        Checksum::default().minus(pseudo)
    }

    #[inline(always)]
    unsafe fn protocol(ip: usize) -> u8 {
        // SAFETY: the caller's.
        unsafe { load1::<9>(ip) as u8 }
    }

    #[inline(always)]
    unsafe fn header_checksum(ip: usize) -> u16 {
        // SAFETY: the caller's.
        unsafe { load2::<10>(ip) as u16 }
    }

    #[inline(always)]
    unsafe fn update(ip: usize, hops: u8, change: Checksum) {
        // SAFETY: the caller's.
        unsafe {
            let old = load1::<8>(ip) as u8;
            let new = old.wrapping_sub(hops);
            // The protocol stands in the same word of the sum, and does not change.
            let sum = Checksum::from_field(load2::<10>(ip) as u16)
                .plus(change)
                .sub16(u16::from_ne_bytes([old, 0]))
                .add16(u16::from_ne_bytes([new, 0]));
            store1::<8>(ip, new.into());
            store2::<10>(ip, sum.field().into());
        }
    }

    /// It says not to fragment, and so needs no identification (RFC 6864 section 4.1).
    #[inline(always)]
    unsafe fn encapsulate(ip: usize, outer: &Outer<Self>) {
        let first = 0x45 | u64::from(outer.traffic_class) << 8;
        let length = swap2(outer.payload + Self::HEADER as u64);
        let ttl_protocol = OUTER_TTL | u64::from(outer.protocol) << 8;
        let checksum = Checksum::default()
            .add16(first as u16)
            .add16(length as u16)
            .add16(DONT_FRAGMENT as u16)
            .add16(ttl_protocol as u16)
            .add32(outer.source)
            .add32(outer.destination)
            .field();
        // SAFETY: the caller's.
        unsafe {
            store8::<0>(ip, first | length << 16 | DONT_FRAGMENT << 48);
            store4::<8>(ip, ttl_protocol | u64::from(checksum) << 16);
            store4::<12>(ip, outer.source.into());
            store4::<16>(ip, outer.destination.into());
        }
    }

    #[inline(always)]
    fn sources(settings: &Settings) -> u32 {
        settings.source4_count
    }

    #[inline(always)]
    fn node(settings: &Settings, index: usize) -> u32 {
        u32::from_ne_bytes(settings.source4[opaque(index) % SOURCES_MAX])
    }

    #[inline(always)]
    fn difference(a: u32, b: u32) -> u64 {
        u64::from(a ^ b)
    }

    #[inline(always)]
    fn fold(address: u32) -> u32 {
        address
    }

    #[inline(always)]
    fn unfold(fold: u32) -> Option<u32> {
        Some(fold)
    }

    #[inline(always)]
    fn sum(address: u32) -> Checksum {
        Checksum::default().add32(address)
    }

    #[inline(always)]
    fn bit(region: FilterRegion, address: u32) -> FilterBit {
        region.bit4(address)
    }

    #[inline(always)]
    fn hash(key: &FlowKey, source: u32, destination: u32, ports: u32, protocol: u8) -> u64 {
        key.hash4(source, destination, ports, protocol)
    }

    #[inline(always)]
    fn vip_port(address: u32, port: u16, protocol: u8) -> Option<&'static VipService> {
        maps::vip_port4(Endpoint::key4_of(address, port, protocol))
    }

    #[inline(always)]
    fn reverse_port(address: u32, port: u16, protocol: u8) -> Option<&'static Reverse> {
        maps::reverse_port4(Endpoint::key4_of(address, port, protocol))
    }

    #[inline(always)]
    fn server(backend: &Backend) -> Option<(u32, &NextHop)> {
        let address = u32::from_ne_bytes(backend.ipv4);
        (address != 0).then_some((address, &backend.hop4))
    }

    #[inline(always)]
    fn mtu(backend: &Backend) -> u16 {
        backend.mtu4
    }

    #[inline(always)]
    fn is_beside(backend: &Backend, address: u32) -> bool {
        backend.is_beside4(address)
    }

    #[inline(always)]
    fn of(address: &Address) -> u32 {
        address.words()[3]
    }

    #[inline(always)]
    fn to_abi(address: u32) -> Address {
        Address::from_ipv4(address.to_ne_bytes())
    }

    #[inline(always)]
    fn is_martian(source: u32) -> bool {
        let first = source.to_ne_bytes()[0];
        // 0.0.0.0/8 and 127.0.0.0/8 (RFC 6890), 224.0.0.0/4 and 240.0.0.0/4 (RFC 1112).
        first == 0 || first == 127 || first >= 224
    }
}
