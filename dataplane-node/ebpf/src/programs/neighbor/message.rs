//! Neighbor solicitations and advertisements, as RFC 4861 sections 7.1.1 and 7.1.2 want them.
//!
//! ```text
//!  0   type 135 or 136 | code 0 | checksum
//!  4   flags of an advertisement
//!  8   target
//! 24   options: type | length in units of 8 bytes | ...
//! ```

use lbfabric_abi::Address;

use super::Mac;
use crate::programs::{
    aligned::Aligned,
    bytes::{load1, load8},
    frame::Frame,
    headers::protocol,
    ip::Ip as _,
    packet::Packet,
    v6::V6,
};

/// Types of ICMPv6.
pub(crate) const SOLICITATION: u8 = 135;
pub(crate) const ADVERTISEMENT: u8 = 136;

/// Up to the options.
const FIXED: u64 = 24;
/// What options are counted in.
const UNIT: u64 = 8;
/// Longer ones are not answered: those in use have one or two options, of a unit or two.
const UNITS_MAX: u64 = 16;
/// An advertisement that was asked for.
const SOLICITED: u64 = 0x40;
/// Of the sender's own, and of the target's link-layer address.
const SOURCE_LINK: u64 = 1;
const TARGET_LINK: u64 = 2;

/// Of which address of which host a message speaks.
pub(super) struct Message {
    pub(super) is_solicitation: bool,
    pub(super) source: Aligned<Address>,
    pub(super) target: Aligned<Address>,
}

/// What [`Message::check`] says of one that is as it has to be.
pub(super) struct Checked {
    /// The link-layer address of whoever it speaks of: as its option says, or else the frame's source.
    pub(super) mac: Mac,
    /// A solicitation of a host that does not have the address yet, RFC 4862 section 5.4.2.
    pub(super) is_probe: bool,
}

const UNSPECIFIED: [u64; 2] = [0, 0];

impl Message {
    /// What it is about; none if it ends before.
    #[inline(always)]
    pub(super) fn read(frame: &Frame, packet: &Packet) -> Option<Self> {
        let message = frame.at(packet.l4_at);
        if length_of(packet) < FIXED || !frame.reaches(message + FIXED as usize) {
            return None;
        }
        // SAFETY: as much is in the frame.
        let (kind, target) = unsafe { (load1::<0>(message) as u8, V6::load(message + 8)) };
        Some(Self {
            is_solicitation: kind == SOLICITATION,
            source: Aligned(packet.flow.source),
            target: Aligned(V6::to_abi(target)),
        })
    }

    /// Looks at all that the RFC says about it; none if something of that does not hold.
    #[inline(always)]
    pub(super) fn check(&self, frame: &Frame, packet: &Packet) -> Option<Checked> {
        let message = frame.at(packet.l4_at);
        if !frame.reaches(message + FIXED as usize) {
            return None;
        }
        // SAFETY: as much is in the frame.
        let (code, flags) = unsafe { (load1::<1>(message), load1::<4>(message)) };
        let (source, destination) = (V6::of(&self.source), V6::of(&packet.flow.destination));
        let is_to_group = is_group(destination);
        // Nothing stands before it: a fragment's header must not (RFC 6980), and nobody needs others.
        let is_plain = packet.l4_at.wrapping_sub(packet.ip_at) == V6::HEADER as u16;
        if !is_plain || packet.ttl != u8::MAX || code != 0 || is_group(V6::of(&self.target)) {
            return None;
        }
        let link = options(frame, packet, self.is_solicitation)?;
        let is_probe = source == UNSPECIFIED;
        let is_right = if !self.is_solicitation {
            !V6::is_martian(source) && !(is_to_group && flags & SOLICITED != 0)
        } else if is_probe {
            link == 0 && destination == solicited_node(V6::of(&self.target))
        } else {
            !V6::is_martian(source)
        };
        let link = frame.at(if link == 0 { MAC_OF_FRAME } else { link + 2 });
        if !is_right || !frame.reaches(link + 6) {
            return None;
        }
        // SAFETY: as much is in the frame.
        let mac = unsafe { Mac::load(link) };
        mac.is_single().then_some(Checked { mac, is_probe })
    }
}

/// Where a frame has its source.
const MAC_OF_FRAME: u16 = 6;

#[inline(always)]
fn length_of(packet: &Packet) -> u64 {
    let header = u64::from(packet.l4_at.wrapping_sub(packet.ip_at));
    u64::from(packet.length).saturating_sub(header)
}

#[inline(always)]
fn is_group([high, _]: [u64; 2]) -> bool {
    high as u8 == 0xff
}

/// The group of all hosts that may have an address, RFC 4291 section 2.7.1.
#[inline(always)]
fn solicited_node([_, low]: [u64; 2]) -> [u64; 2] {
    const HIGH: u64 = u64::from_ne_bytes([0xff, 2, 0, 0, 0, 0, 0, 0]);
    const LOW: u64 = u64::from_ne_bytes([0, 0, 0, 1, 0xff, 0, 0, 0]);
    [HIGH, LOW | low >> 40 << 40]
}

/// Whether the checksum and the options hold: where the option with the link-layer address stands in the frame, zero if there is
/// none.
#[inline(always)]
fn options(frame: &Frame, packet: &Packet, is_solicitation: bool) -> Option<u16> {
    match walk(frame, packet, is_solicitation) {
        BROKEN => None,
        at => Some(at as u16),
    }
}

const BROKEN: u32 = u32::MAX;

// A function of its own, which answers by a number: the verifier then goes on once for each answer, not for each way to it.
#[inline(never)]
fn walk(frame: &Frame, packet: &Packet, is_solicitation: bool) -> u32 {
    let wanted = if is_solicitation {
        SOURCE_LINK
    } else {
        TARGET_LINK
    };
    let length = length_of(packet);
    let units = length / UNIT;
    if length % UNIT != 0 || units > UNITS_MAX {
        return BROKEN;
    }
    let (source, destination) = (
        V6::of(&packet.flow.source),
        V6::of(&packet.flow.destination),
    );
    let mut sum = V6::sum(source)
        .plus(V6::sum(destination))
        .add32((length as u32).to_be())
        .add32(u32::from(protocol::ICMPV6).to_be());
    let mut next = FIXED / UNIT;
    let mut link = 0;
    for unit in 0..UNITS_MAX {
        if unit >= units {
            break;
        }
        let distance = packet.l4_at.wrapping_add((unit * UNIT) as u16);
        let at = frame.at(distance);
        if !frame.reaches(at + UNIT as usize) {
            return BROKEN;
        }
        // SAFETY: as much is in the frame.
        let (word, kind, size) = unsafe { (load8::<0>(at), load1::<0>(at), load1::<1>(at)) };
        sum = sum.add32(word as u32).add32((word >> 32) as u32);
        if unit == next {
            if size == 0 {
                return BROKEN;
            }
            next += size;
            if kind == wanted {
                // Ethernet's take one unit.
                if size != 1 {
                    return BROKEN;
                }
                if link == 0 {
                    link = u32::from(distance);
                }
            }
        }
    }
    if next != units || sum.field() != 0 {
        return BROKEN;
    }
    link
}
