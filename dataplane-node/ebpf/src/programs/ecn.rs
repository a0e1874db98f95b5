//! Explicit congestion notification across tunnels, RFC 6040. The two bits end the traffic class, which begins with DSCP.

use lbfabric_abi::DropReason;

const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The traffic class of the packet that leaves the tunnel: figure 4 of section 4.2, DSCP as it was inside.
#[inline(always)]
pub(crate) const fn unpack(outer: u8, inner: u8) -> Result<u8, DropReason> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => Err(DropReason::Ecn),
        (ECT_0 | ECT_1, CE) => Ok(inner | CE),
        (ECT_0, ECT_1) => Ok(inner & !MASK | ECT_1),
        _ => Ok(inner),
    }
}
