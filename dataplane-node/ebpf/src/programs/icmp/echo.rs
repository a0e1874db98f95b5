//! Echo requests to VIPs, which no server ever sees.

use lbfabric_abi::{Checksum, DropReason, Verdict, VipFlags};

use super::Icmp;
use crate::programs::{
    bytes::{load1, load2, store1, store2},
    exit::{Exit, Step},
    frame::Frame,
    headers::Headers,
    ip::OUTER_TTL,
    packet::Packet,
    rewrite,
};

/// Answers for a VIP that has a healthy server.
#[inline(always)]
pub(super) fn answer<I: Icmp>(
    frame: &Frame,
    packet: &Packet,
    headers: &Headers<I>,
    flags: u32,
) -> Step {
    if flags & VipFlags::ECHO == 0 {
        return Step::Drop(DropReason::EchoUnserved);
    }
    let has_options = usize::from(packet.l4_at.wrapping_sub(packet.ip_at)) != I::HEADER;
    // Options may say which way an answer has to take: the kernel knows such things.
    if has_options || I::is_martian(headers.source) || headers.source == headers.destination {
        return Step::Leave(Exit::pass(Verdict::PassNotServed));
    }
    match reply(frame, headers) {
        Ok(()) => {
            let ingress = frame.ingress_ifindex();
            Step::Leave(Exit::send(Verdict::EchoReply, ingress, ingress))
        }
        Err(reason) => Step::Drop(reason),
    }
}

/// Makes a request its own reply, on its way back.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn reply<I: Icmp>(frame: &Frame, headers: &Headers<I>) -> Result<(), DropReason> {
    let word = |kind| u16::from_ne_bytes([kind, 0]);
    // SAFETY: `Headers` are whole in the frame.
    unsafe {
        // Both addresses only change places, which no sum sees.
        I::set_source(headers.ip, headers.destination);
        I::set_destination(headers.ip, headers.source);
        let hops = I::ttl(headers.ip).wrapping_sub(OUTER_TTL as u8);
        I::update(headers.ip, hops, Checksum::default());
        let sum = Checksum::from_field(load2::<2>(headers.l4) as u16)
            .sub16(word(load1::<0>(headers.l4) as u8))
            .add16(word(I::ECHO_REPLY));
        store1::<0>(headers.l4, I::ECHO_REPLY.into());
        store2::<2>(headers.l4, sum.field().into());
    }
    rewrite::turn(frame)
}
