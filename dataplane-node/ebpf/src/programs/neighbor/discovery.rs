//! IPv6's neighbor discovery, RFC 4861.

use lbfabric_abi::{Address, Checksum, DropReason, Verdict};

use super::{
    Mac, claim,
    holding::Holding,
    message::{ADVERTISEMENT, Checked, Message},
};
use crate::programs::{
    bytes::{store2, store4, store8},
    exit::{Exit, Step},
    frame::Frame,
    headers::{ETHERNET, protocol},
    ip::Ip as _,
    packet::Packet,
    v6::V6,
};

/// An advertisement with the option for the link-layer address.
const LENGTH: u16 = 32;
const FRAME: usize = ETHERNET + V6::HEADER + LENGTH as usize;

/// The group of all hosts, and its link-layer address (RFC 2464 section 7).
const ALL_NODES: [u64; 2] = [
    u64::from_ne_bytes([0xff, 2, 0, 0, 0, 0, 0, 0]),
    1u64.to_be(),
];
const ALL_NODES_MAC: Mac = Mac(u64::from_ne_bytes([0x33, 0x33, 0, 0, 0, 1, 0, 0]));

/// Who is told what.
struct Answer {
    asker: Mac,
    own: Mac,
    destination: [u64; 2],
    target: [u64; 2],
    /// As in the frame.
    flags: u16,
}

#[inline(always)]
pub(super) fn handle(frame: &Frame, packet: &Packet) -> Step {
    const PASS: Step = Step::Leave(Exit::pass(Verdict::PassNeighborDiscovery));
    let Some(message) = Message::read(frame, packet) else {
        // The kernel does not take it either.
        return PASS;
    };
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Step::Drop(DropReason::Internal);
    }
    let own = Mac::own(frame);
    let is_question = message.is_solicitation && Mac::destination(start).reaches(own);
    let claimed = if message.is_solicitation {
        message.source
    } else {
        message.target
    };
    let is_claim = matches!(holding(&claimed), Holding::Held);
    let asked = if is_question {
        holding(&message.target)
    } else {
        Holding::NotLeased
    };
    let is_asked = !matches!(asked, Holding::NotLeased);
    if !is_claim && !is_asked {
        return PASS;
    }
    let Some(checked) = message.check(frame, packet) else {
        return if is_asked {
            Step::Drop(DropReason::BadSolicitation)
        } else {
            PASS
        };
    };
    if is_claim && checked.mac != own {
        return claim::note(frame, &claimed, checked.mac);
    }
    match asked {
        Holding::NotLeased => PASS,
        Holding::NotHeld => Step::Drop(DropReason::VipNotHeld),
        Holding::Over => Step::Drop(DropReason::LeaseOver),
        Holding::Held if own == Mac::NONE => Step::Drop(DropReason::Internal),
        Holding::Held => match Answer::to(&message, &checked, own).send(frame) {
            Ok(exit) => Step::Leave(exit),
            Err(reason) => Step::Drop(reason),
        },
    }
}

/// What the node has of an address that stands in an IPv6 packet.
#[inline(always)]
fn holding(address: &Address) -> Holding {
    // The maps would take it for the IPv4 address.
    if V6::is_mapped(V6::of(address)) {
        return Holding::NotLeased;
    }
    Holding::of(address)
}

impl Answer {
    /// RFC 4861 section 7.2.4. A VIP is not the address of a router.
    #[inline(always)]
    fn to(message: &Message, checked: &Checked, own: Mac) -> Self {
        const SOLICITED: u8 = 0x40;
        const OVERRIDE: u8 = 0x20;
        let target = V6::of(&message.target);
        if checked.is_probe {
            Self {
                asker: ALL_NODES_MAC,
                own,
                destination: ALL_NODES,
                target,
                flags: u16::from_ne_bytes([OVERRIDE, 0]),
            }
        } else {
            Self {
                asker: checked.mac,
                own,
                destination: V6::of(&message.source),
                target,
                flags: u16::from_ne_bytes([SOLICITED | OVERRIDE, 0]),
            }
        }
    }

    /// Puts the answer in the place of the question.
    #[inline(always)]
    fn send(&self, frame: &Frame) -> Result<Exit, DropReason> {
        resize(frame)?;
        let start = frame.start();
        if !frame.reaches(start + FRAME) {
            return Err(DropReason::Internal);
        }
        let (Mac(asker), Mac(own)) = (self.asker, self.own);
        let ip = start + ETHERNET;
        let message = ip + V6::HEADER;
        // SAFETY: all of it is in the frame.
        unsafe {
            store8::<0>(start, asker | own << Mac::BITS);
            store4::<8>(start, own >> 16);
            store2::<12>(start, V6::ETHERTYPE);
            store8::<0>(ip, IP_HEADER);
            V6::set_source(ip, self.target);
            V6::set_destination(ip, self.destination);
            store2::<0>(message, ADVERTISEMENT.into());
            store2::<2>(message, self.checksum().field().into());
            store4::<4>(message, self.flags.into());
            V6::store(message + 8, self.target);
            store8::<24>(message, OPTION | own << 16);
        }
        let ingress = frame.ingress_ifindex();
        Ok(Exit::send(Verdict::NeighborAdvertisement, ingress, ingress))
    }

    /// Of the pseudo-header and the message.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "halves of words")]
    fn checksum(&self) -> Checksum {
        let Mac(own) = self.own;
        let target = V6::sum(self.target);
        V6::sum(self.destination)
            .plus(target)
            .plus(target)
            .add16(LENGTH.to_be())
            .add16(u16::from(protocol::ICMPV6).to_be())
            .add16(u16::from_ne_bytes([ADVERTISEMENT, 0]))
            .add16(self.flags)
            .add16(OPTION as u16)
            .add32(own as u32)
            .add16((own >> 32) as u16)
    }
}

/// No traffic class, no flow label, the length of what follows, and the hop limit that tells that no router has touched it.
const IP_HEADER: u64 =
    u64::from_ne_bytes([0x60, 0, 0, 0, 0, LENGTH as u8, protocol::ICMPV6, u8::MAX]);
/// The option with the target's link-layer address, of one unit.
const OPTION: u64 = u64::from_ne_bytes([2, 1, 0, 0, 0, 0, 0, 0]);

/// Makes the frame as long as an answer is. At its beginning, where there is always room.
#[inline(always)]
fn resize(frame: &Frame) -> Result<(), DropReason> {
    let length = frame.length();
    let wanted = FRAME as u64;
    if length < wanted {
        // What the question can be short of: the option.
        frame
            .grow_head((wanted - length) as usize & 0xf)
            .ok_or(DropReason::NoHeadroom)
    } else {
        frame
            .cut_head((length - wanted) as usize)
            .ok_or(DropReason::Internal)
    }
}
