//! Which service a packet is for.
//!
//! ```text
//! first the address by itself, then the prefixes that it is in, the longest first; of each
//!   the packet's protocol      its port, then the narrowest range of ports with it, then any port
//!   then any protocol          but ICMP, which belongs to no service
//! ```
//!
//! Every step that finds a service ends the search. The node's own addresses are in no prefix: what is for the node itself must
//! reach it.

use lbfabric_abi::{
    Address, Endpoint, EndpointPrefix, Flow, Protocol, Settings, VIP_PREFIX_LEVELS_MAX, VipPrefix,
    VipService,
};

use super::{
    aligned::Aligned, frame::opaque, headers::protocol, ip::Ip as _, maps, own, packet::Packet,
    v6::V6,
};

/// What is known of a packet's destination.
pub(crate) enum Found {
    Service(&'static VipService),
    /// A VIP's address, but no port of it that is served.
    NotServed,
    NotVip,
}

/// Single ports of addresses come first; all else is only looked through for VIPs.
#[inline(always)]
pub(crate) fn find(packet: &Packet, settings: &Settings) -> Found {
    let flow = &packet.flow;
    let endpoint = Aligned(Endpoint {
        address: flow.destination,
        port_be: flow.destination_port_be,
        protocol: flow.protocol,
        zero: 0,
    });
    let exact = match endpoint.key4() {
        Some(key) => maps::vip_port4(key),
        None => exact6(&endpoint),
    };
    if let Some(service) = exact {
        return Found::Service(service);
    }
    let otherwise = otherwise(flow);
    let is_address = maps::is_vip_address(&flow.destination);
    if is_address && let Some(service) = in_ranges(flow, otherwise, flow.destination, 0) {
        return Found::Service(service);
    }
    let may_be_in_prefix = maps::may_be_in_prefix(&flow.destination)
        && !own::is_source(settings, packet.family, &flow.destination);
    if may_be_in_prefix && let Some(service) = in_prefixes(flow, otherwise) {
        return Found::Service(service);
    }
    if is_address || may_be_in_prefix && maps::is_vip(&flow.destination) {
        return Found::NotServed;
    }
    Found::NotVip
}

/// The service of a flow that some service has let in, of those whose VIP is a single address.
#[inline(always)]
pub(crate) fn service_of(flow: &Flow) -> Option<&'static VipService> {
    let endpoint = Aligned(Endpoint {
        address: flow.destination,
        port_be: flow.destination_port_be,
        protocol: flow.protocol,
        zero: 0,
    });
    let exact = match endpoint.key4() {
        Some(key) => maps::vip_port4(key),
        None => exact6(&endpoint),
    };
    if exact.is_some() {
        return exact;
    }
    in_ranges(flow, otherwise(flow), flow.destination, 0)
}

#[inline(always)]
fn exact6(endpoint: &Endpoint) -> Option<&'static VipService> {
    V6::vip_port(
        V6::of(&endpoint.address),
        u16::from_ne_bytes(endpoint.port_be),
        endpoint.protocol,
    )
}

/// The longest prefix with the packet's port and protocol. Not inlined: what follows is then the same for the verifier, however
/// many prefixes were looked at.
#[inline(never)]
fn in_prefixes(flow: &Flow, otherwise: u8) -> Option<&'static VipService> {
    let mut bits = Address::BITS;
    for _ in 0..VIP_PREFIX_LEVELS_MAX {
        let network = maps::vip_prefix(&flow.destination, bits)?;
        let VipPrefix {
            address,
            bits: length,
        } = network.prefix;
        if let Some(service) = in_ranges(flow, otherwise, address, length) {
            return Some(service);
        }
        bits = length.wrapping_sub(1);
    }
    None
}

/// The service of a VIP, called by its address and length, for the packet's port and protocol.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 127")]
fn in_ranges(
    flow: &Flow,
    otherwise: u8,
    address: Address,
    vip_bits: u32,
) -> Option<&'static VipService> {
    let mut endpoint = Aligned(EndpointPrefix {
        address,
        protocol: flow.protocol,
        vip_bits: vip_bits as u8,
        port_be: flow.destination_port_be,
    });
    if let Some(service) = maps::vip_range(&endpoint) {
        return Some(service);
    }
    endpoint.protocol = otherwise;
    maps::vip_range(&endpoint)
}

/// The protocol to look for if nobody has the packet's own: any, but of ICMP its own again. Without branches, each of which
/// the verifier would follow through all prefixes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a byte")]
fn otherwise(flow: &Flow) -> u8 {
    const ANY: u8 = Protocol::Any as u8;
    const { assert!(ANY == 0) };
    let own = u64::from(flow.protocol);
    let is = |protocol: u8| (own ^ u64::from(protocol)).wrapping_sub(1) >> 63;
    let is_icmp = is(protocol::ICMP) | is(protocol::ICMPV6);
    opaque((own & is_icmp.wrapping_neg()) as usize) as u8
}
