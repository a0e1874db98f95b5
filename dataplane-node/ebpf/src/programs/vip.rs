//! Which service a packet is for.

use lbfabric_abi::{Endpoint, Flow, VipService};

use super::{aligned::Aligned, maps};

/// What is known of a packet's destination.
pub(crate) enum Found {
    Service(&'static VipService),
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
    let exact = match endpoint.key4() {
        Some(key) => maps::vip_port4(key),
        None => maps::vip_port6(&endpoint),
    };
    if let Some(service) = exact {
        return Found::Service(service);
    }
    if !maps::is_vip(&flow.destination) {
        return Found::NotVip;
    }
    match maps::vip_range(&endpoint) {
        Some(service) => Found::Service(service),
        None => Found::NotServed,
    }
}
