//! Tells a client that its packet cannot go on: it is too big for the way to the server, or its time to live ends here.
//!
//! ```text
//! before                 Ethernet | IP, C -> V | ...
//! after  Ethernet | IP, V -> C | ICMP | IP, C -> V | ... as much as the version of IP allows
//! ```
//!
//! Too-big messages come from the VIP; the end of the time to live is reported by the node, which is the hop that a trace of
//! the way asks for. IPv4 packets that may be fragmented are reported as well: nothing here can fragment them, and their
//! senders can.

use aya_ebpf::{EbpfContext as _, programs::XdpContext};
use lbfabric_abi::{Checksum, DropReason, ICMP_ERRORS_PER_SECOND, Verdict};

use super::{
    bytes::{load1, load2, load4, load8, store2, store4, store8},
    exit::Exit,
    frame::Frame,
    headers::{ETHERNET, Headers},
    icmp::{self, Icmp},
    ip::Outer,
    maps,
    packet::{Family, Piece, Scratch},
    rewrite::{self, Rewritten},
    route::{self, Way},
    v4::V4,
    v6::V6,
};

/// Class selector 6, for what runs the network (RFC 4594 section 3.1).
const TRAFFIC_CLASS: u8 = 0xc0;
const NS_PER_ERROR: u64 = 1_000_000_000 / ICMP_ERRORS_PER_SECOND;

/// What to tell, and how.
struct Message {
    /// Type and code, as in a frame.
    kind: u16,
    /// Behind the checksum, as in a frame.
    rest: u32,
    verdict: Verdict,
}

/// Sends the packet that is in the frame back inside an error.
#[inline(always)]
pub(crate) fn tell(frame: &Frame) -> Result<Exit, DropReason> {
    let scratch = maps::scratch().ok_or(DropReason::Internal)?;
    match scratch.packet.family {
        Family::Ipv4 => by_family::<V4>(frame, scratch),
        Family::Ipv6 => by_family::<V6>(frame, scratch),
    }
}

#[inline(always)]
fn by_family<I: Icmp>(frame: &Frame, scratch: &mut Scratch) -> Result<Exit, DropReason> {
    let client = I::of(&scratch.packet.flow.source);
    let vip = I::of(&scratch.packet.flow.destination);
    let (source, message) = if scratch.room == 0 {
        (node::<I>()?, time_exceeded::<I>())
    } else {
        (vip, too_big::<I>(scratch)?)
    };
    // Nobody there can be told; and fragments other than the first are not to be reported (RFC 1122 section 3.2.2).
    let is_later = scratch.packet.piece == Piece::Later;
    if is_later || I::is_martian(client) || client == vip {
        return Err(if scratch.room == 0 {
            DropReason::TtlExpired
        } else {
            DropReason::TooBig
        });
    }
    spend()?;

    // A large frame has parts that no address leads to: those are not quoted.
    let there = frame
        .rest(frame.start())
        .saturating_sub(scratch.packet.ip_at.into());
    let quoted = u64::from(scratch.packet.length)
        .min(I::QUOTE_MAX)
        .min(there);
    wrap::<I>(frame, scratch, quoted)?;
    let outer = Outer::<I> {
        source,
        destination: client,
        payload: icmp::HEADER as u64 + quoted,
        protocol: I::ICMP,
        traffic_class: TRAFFIC_CLASS,
        hash: 0,
    };
    write(frame, scratch, &outer, &message)?;
    send::<I>(frame, scratch, message.verdict)
}

/// The node's address, as the hop that the packet has reached.
#[inline(always)]
fn node<I: Icmp>() -> Result<I::Address, DropReason> {
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    if I::sources(settings) == 0 {
        return Err(DropReason::TtlExpired);
    }
    Ok(I::node(settings, 0))
}

#[inline(always)]
fn time_exceeded<I: Icmp>() -> Message {
    Message {
        kind: I::TIME_EXCEEDED,
        rest: 0,
        verdict: Verdict::TimeExceeded,
    }
}

/// No sender has to send less than the least that links take, and then the packet is lost.
#[inline(always)]
fn too_big<I: Icmp>(scratch: &Scratch) -> Result<Message, DropReason> {
    let mtu = scratch.room.max(I::MTU_MIN);
    // Of what a router has quoted, the length is not the packet's.
    if scratch.by_route == 0 && scratch.packet.length <= mtu {
        return Err(DropReason::TooBig);
    }
    Ok(Message {
        kind: I::TOO_BIG,
        rest: I::mtu_field(mtu),
        verdict: Verdict::TooBig,
    })
}

/// Takes one error out of this CPU's budget: as many in a row as in a second, and then evenly.
#[inline(always)]
fn spend() -> Result<(), DropReason> {
    let due = maps::icmp_budget().ok_or(DropReason::Internal)?;
    let now = maps::coarse_clock();
    let at = (*due).max(now);
    if at >= now + ICMP_ERRORS_PER_SECOND * NS_PER_ERROR {
        return Err(DropReason::IcmpRateLimit);
    }
    *due = at + NS_PER_ERROR;
    Ok(())
}

/// Keeps `quoted` bytes of the packet, makes room for both headers in front of it, and moves the link layer's header there.
#[inline(always)]
fn wrap<I: Icmp>(frame: &Frame, scratch: &Scratch, quoted: u64) -> Result<(), DropReason> {
    let used = u64::from(scratch.packet.ip_at) + quoted;
    let whole = frame.length();
    if whole > used {
        frame
            .cut_tail((whole - used) as usize)
            .ok_or(DropReason::Internal)?;
    }
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    // SAFETY: as many bytes are in the frame.
    let header = unsafe { (load8::<0>(start), load4::<8>(start), load2::<12>(start)) };
    frame
        .grow_head(I::HEADER + icmp::HEADER)
        .ok_or(DropReason::NoHeadroom)?;
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Err(DropReason::Internal);
    }
    // SAFETY: as many bytes are in the frame.
    unsafe {
        store8::<0>(start, header.0);
        store4::<8>(start, header.1);
        store2::<12>(start, header.2);
    }
    rewrite::turn(frame)
}

/// Writes both headers, and tells `scratch` where they are.
#[inline(always)]
fn write<I: Icmp>(
    frame: &Frame,
    scratch: &mut Scratch,
    outer: &Outer<I>,
    message: &Message,
) -> Result<(), DropReason> {
    let packet = &mut scratch.packet;
    packet.l4_at = packet.ip_at + I::HEADER as u16;
    packet.flow.protocol = I::ICMP;
    packet.length = (I::HEADER as u64 + outer.payload) as u32;
    let (ip, l4) = (frame.at(packet.ip_at), frame.at(packet.l4_at));
    if !frame.reaches(ip + I::HEADER) || !frame.reaches(l4 + icmp::HEADER) {
        return Err(DropReason::Internal);
    }
    // SAFETY: both headers are in the frame.
    unsafe {
        I::encapsulate(ip, outer);
        store4::<0>(l4, message.kind.into());
        store4::<4>(l4, message.rest.into());
    }
    let mut checksum =
        Checksum::default().add32(sum(frame.context().as_ptr() as usize, packet.l4_at));
    if matches!(I::FAMILY, Family::Ipv6) {
        // RFC 8200 section 8.1.
        checksum = checksum
            .plus(I::sum(outer.source))
            .plus(I::sum(outer.destination))
            .add32((outer.payload as u32).to_be())
            .add32(u32::from(I::ICMP).to_be());
    }
    // SAFETY: the header is in the frame.
    unsafe { store2::<2>(l4, checksum.field().into()) };
    Ok(())
}

/// The sum of all bytes from a distance to the end, at most of the longest message. By itself, so that the verifier follows
/// the loop once for each call and not what comes after each turn. The context is a number: of a reference the compiler
/// would pass on what it leads to, which are packet addresses cut to 32 bits.
#[inline(never)]
fn sum(context: usize, from: u16) -> u32 {
    let frame = Frame::new(XdpContext::new(context as *mut _));
    const WORDS: u64 = (V6::QUOTE_MAX + icmp::HEADER as u64) / 8;
    let mut sum = 0u64;
    let mut at = frame.at(from);
    for _ in 0..WORDS {
        if !frame.reaches(at + 8) {
            break;
        }
        // SAFETY: the frame reaches behind it.
        let word = unsafe { load8::<0>(at) };
        sum += (word & 0xffff_ffff) + (word >> 32);
        at += 8;
    }
    if frame.reaches(at + 4) {
        // SAFETY: the frame reaches behind it.
        sum += unsafe { load4::<0>(at) };
        at += 4;
    }
    if frame.reaches(at + 2) {
        // SAFETY: the frame reaches behind it.
        sum += unsafe { load2::<0>(at) };
        at += 2;
    }
    if frame.reaches(at + 1) {
        // The first one of two.
        // SAFETY: the frame reaches behind it.
        sum += unsafe { load1::<0>(at) };
    }
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    ((sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32)) as u32
}

/// Back where the frame came from, or by the routing table where that was not the client.
#[inline(always)]
fn send<I: Icmp>(frame: &Frame, scratch: &Scratch, verdict: Verdict) -> Result<Exit, DropReason> {
    let ingress = frame.ingress_ifindex();
    if scratch.by_route == 0 {
        return Ok(Exit::send(verdict, ingress, ingress));
    }
    let headers = Headers::<I>::without_ports(frame, &scratch.packet)?;
    let way = route::find(
        frame,
        &headers,
        &Rewritten {
            source: headers.source,
            destination: headers.destination,
            ports: 0,
        },
    )?;
    match way {
        Way::Hop(hop, _) => {
            rewrite::link(frame, &hop)?;
            Ok(Exit::send(verdict, hop.ifindex, ingress))
        }
        Way::Kernel => {
            // As it came in, so that the kernel takes it.
            rewrite::turn(frame)?;
            Ok(Exit::pass(verdict))
        }
    }
}
