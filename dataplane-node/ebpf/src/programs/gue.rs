//! Generic UDP Encapsulation, draft-ietf-intarea-gue-09, variant 0 with a data message and no options:
//!
//! ```text
//! | source port | destination port | length | checksum |    UDP, RFC 768
//! | 0 | protocol of the packet inside | 0, 0 |            GUE
//! ```
//!
//! The source port is by flow, for the server's receive queues and for paths of equal cost.
//!
//! Over IPv4 the checksum is zero. Over IPv6 it covers the whole packet, without a look at its payload: where the packet
//! inside has a checksum, that one says what the payload adds up to (what Linux calls local checksum offload). Where it has
//! none that is easily found, the outer one is zero, as RFC 6935 allows for tunnels.

use lbfabric_abi::{Checksum, VipService};

use super::{
    bytes::{load2, load4, store4, store8, swap2},
    headers::{Headers, UDP, protocol},
    ip::{Ip, Outer},
    packet::Family,
};

/// Bytes of both headers.
pub(crate) const HEADERS: usize = UDP + 4;
/// The first of the ports that outer packets come from: the dynamic ones of RFC 6335.
const SOURCE_PORT: u64 = 0xc000;
/// As many more.
const SOURCE_PORT_MASK: u64 = 0x3fff;

/// What the headers say of the packet behind them.
pub(crate) struct Gue {
    /// As in a frame.
    ports: u32,
    /// The IP protocol number of the packet's version of IP.
    inner: u8,
    /// What the packet's words add up to, if that is known.
    sum: Option<Checksum>,
}

impl Gue {
    /// For a packet of a flow with this hash.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a port")]
    pub(crate) fn new<I: Ip>(headers: &Headers<I>, service: &VipService, hash: u64) -> Self {
        let entropy = if service.flags & VipService::OUTER_SOURCE_FIXED == 0 {
            hash & SOURCE_PORT_MASK
        } else {
            0
        };
        let source = swap2(SOURCE_PORT | entropy) as u32;
        let destination = u32::from(u16::from_ne_bytes(service.gue_port_be));
        Self {
            ports: source | destination << 16,
            inner: I::IN_IP,
            sum: sum(headers),
        }
    }

    /// Writes both headers.
    ///
    /// # Safety
    /// [`HEADERS`] bytes can be written at `udp`.
    #[inline(always)]
    pub(crate) unsafe fn write<O: Ip>(&self, udp: usize, outer: &Outer<O>) {
        let length = swap2(outer.payload);
        let checksum = match (O::FAMILY, self.sum) {
            (Family::Ipv6, Some(sum)) => self.checksum(sum, outer, length),
            (Family::Ipv4, _) | (Family::Ipv6, None) => 0,
        };
        // SAFETY: the caller's.
        unsafe {
            store8::<0>(
                udp,
                u64::from(self.ports) | length << 32 | u64::from(checksum) << 48,
            );
            store4::<8>(udp, u64::from(self.inner) << 8);
        }
    }

    /// Over the pseudo-header, both headers and the packet.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "two bytes")]
    fn checksum<O: Ip>(&self, packet: Checksum, outer: &Outer<O>, length: u64) -> u16 {
        let length = length as u16;
        O::sum(outer.source)
            .plus(O::sum(outer.destination))
            .add16(u16::from_ne_bytes([0, protocol::UDP]))
            .add16(length)
            .add32(self.ports)
            .add16(length)
            .add16(u16::from_ne_bytes([0, self.inner]))
            .plus(packet)
            .udp_field()
    }
}

/// The protocol of the packet inside, by the headers that [`Gue::write`] writes; none if they are others.
///
/// # Safety
/// [`HEADERS`] bytes can be read at `udp`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a byte")]
pub(crate) unsafe fn inner(udp: usize) -> Option<u8> {
    // SAFETY: the caller's.
    let header = unsafe { load4::<8>(udp) };
    (header & !0xff00 == 0).then_some((header >> 8) as u8)
}

/// What the words of a packet add up to if its own checksum holds; none if it has no such checksum.
#[inline(always)]
fn sum<I: Ip>(headers: &Headers<I>) -> Option<Checksum> {
    // SAFETY: `Headers` are whole in the frame, as far as a UDP header reaches.
    unsafe {
        let is_covered = match I::plain_protocol(headers.ip)? {
            protocol::TCP => true,
            // Without a checksum, or with bytes behind it that are none of it.
            protocol::UDP => {
                load2::<6>(headers.l4) != 0
                    && swap2(load2::<4>(headers.l4)) + I::HEADER as u64 == headers.length
            }
            _ => false,
        };
        is_covered.then(|| I::sum_of_plain(headers.ip))
    }
}
