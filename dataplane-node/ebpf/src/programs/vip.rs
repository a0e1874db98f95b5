//! Which service a packet is for.

use lbfabric_abi::{Endpoint, Flow, VipService};

use super::{maps, words::Aligned};

/// What is known of a packet's destination.
pub(crate) enum Found {
    Service(Aligned<VipService>),
    /// A VIP's address, but no port of it that is served.
    NotServed,
    NotVip,
}

/// Single ports come before ranges, which are only looked through for VIPs.
#[inline(always)]
pub(crate) fn find(flow: &Flow) -> Found {
    let endpoint = Aligned(Endpoint {
        address: flow.destination,
        port_be: flow.destination_port_be,
        protocol: flow.protocol,
        zero: 0,
    });
    if let Some(service) = maps::vip_port(&endpoint) {
        return Found::Service(Aligned(*service));
    }
    if !maps::is_vip(&flow.destination) {
        return Found::NotVip;
    }
    match maps::vip_range(&endpoint) {
        Some(service) => Found::Service(Aligned(*service)),
        None => Found::NotServed,
    }
}
