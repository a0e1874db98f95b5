//! The node's own addresses.

use lbfabric_abi::{Address, SOURCES_MAX, Settings};

use super::{ip::Ip, packet::Family, v4::V4, v6::V6};

/// Whether the node sends from an address: packets to it answer the node itself.
#[inline(always)]
pub(crate) fn is_source(settings: &Settings, family: Family, address: &Address) -> bool {
    match family {
        Family::Ipv4 => is_one_of::<V4>(settings, address),
        Family::Ipv6 => is_one_of::<V6>(settings, address),
    }
}

// Without branches, which the verifier would follow one by one.
#[inline(always)]
fn is_one_of<I: Ip>(settings: &Settings, address: &Address) -> bool {
    let (count, address) = (I::sources(settings) as usize, I::of(address));
    let mut found = false;
    for n in 0..SOURCES_MAX {
        found |= n < count && I::node(settings, n) == address;
    }
    found
}
