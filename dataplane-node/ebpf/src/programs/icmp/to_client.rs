//! The program for errors about what the node has sent on to servers: from servers, and from routers on the way to them.

use lbfabric_abi::{DropReason, NextProgram, Reverse, Settings, Verdict};

use super::{
    Icmp,
    quote::{Quote, Unreadable},
    translate::{self, Translated},
    tunnelled::{self, Uncovered},
};
use crate::programs::{
    dnat,
    exit::{Exit, Step},
    frame::Frame,
    headers::Headers,
    maps, own,
    packet::{Family, Scratch},
    rewrite::{self, Rewritten},
    route::{self, Way},
    session::{self, Held},
    v4::V4,
    v6::V6,
};

/// Takes an error to the client of the packet that it quotes; passes what is about no packet of a service.
#[inline(always)]
pub(crate) fn handle(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    match scratch.packet.family {
        Family::Ipv4 => by_family::<V4>(frame, scratch),
        Family::Ipv6 => by_family::<V6>(frame, scratch),
    }
}

// By itself: both families do not fit on the stack.
#[inline(never)]
fn by_family<I: Icmp>(frame: &Frame, scratch: &mut Scratch) -> Step {
    let Some(settings) = maps::settings() else {
        return Step::Drop(DropReason::Internal);
    };
    let is_own = own::is_source(settings, I::FAMILY, &scratch.packet.flow.destination);
    let Ok(headers) = Headers::<I>::without_ports(frame, &scratch.packet) else {
        return Step::Drop(DropReason::Internal);
    };
    let quote = match Quote::read(frame, &scratch.packet, &headers) {
        // Who sent a packet gets the errors about it.
        Ok(quote) if quote.source == headers.destination => quote,
        Err(Unreadable::Protocol) if is_own => return from_tunnel(frame, scratch, &headers),
        Ok(_) | Err(Unreadable::Truncated | Unreadable::Protocol) => return pass(scratch),
    };
    let new = if is_own {
        from_fullnat(settings, &quote)
    } else {
        from_dnat(settings, &headers, &quote)
    };
    let Some((client, quoted)) = new else {
        // With GUE, a tunnel's packets are UDP from the node as well.
        return if is_own {
            from_tunnel(frame, scratch, &headers)
        } else {
            pass(scratch)
        };
    };
    // Who says it: the VIP instead of the server, and everybody else as they are.
    let source = if headers.source == quote.destination {
        quoted.destination
    } else {
        headers.source
    };
    let new = Translated {
        source,
        destination: client,
        quoted,
    };
    send(frame, &headers, &quote, &new).into()
}

/// Has the client told whose packet lies in a tunnel's, if the error is about such a one.
#[inline(always)]
fn from_tunnel<I: Icmp>(frame: &Frame, scratch: &mut Scratch, headers: &Headers<I>) -> Step {
    match tunnelled::uncover(frame, scratch, headers) {
        Uncovered::Packet => Step::Next(NextProgram::TooBig),
        Uncovered::Nothing => pass(scratch),
        Uncovered::Failed => Step::Drop(DropReason::Internal),
    }
}

#[inline(always)]
const fn pass(scratch: &Scratch) -> Step {
    Step::Leave(Exit::pass(
        if scratch.otherwise == Verdict::PassNotServed as u32 {
            Verdict::PassNotServed
        } else {
            Verdict::PassNotVip
        },
    ))
}

/// The client of a packet of destination NAT, and the packet as the client has sent it; none if it is of no service.
#[inline(always)]
fn from_dnat<I: Icmp>(
    settings: &Settings,
    headers: &Headers<I>,
    quote: &Quote<I>,
) -> Option<(I::Address, Rewritten<I>)> {
    let port = quote.destination_port();
    let reverse = match I::reverse_port(quote.destination, port, quote.protocol) {
        Some(reverse) => reverse,
        None => maps::reverse_range(&quote.endpoint())?,
    };
    if reverse.flags & Reverse::EXACT != 0
        && let Some(held) = session::of_exact_server(settings, &quote.answered_ends())
    {
        return sent_by_client(&held);
    }
    if !reverse.has_vip() {
        return None;
    }
    let port = dnat::port_or(reverse.vip_port_be, port);
    let quoted = Rewritten {
        source: quote.source,
        destination: I::of(&reverse.vip),
        ports: u32::from(quote.source_port()) | u32::from(port) << 16,
    };
    Some((headers.destination, quoted))
}

/// As [`from_dnat`], of a packet of full NAT.
#[inline(always)]
fn from_fullnat<I: Icmp>(
    settings: &Settings,
    quote: &Quote<I>,
) -> Option<(I::Address, Rewritten<I>)> {
    let held = session::of_server(settings, &quote.answered_ends())?;
    sent_by_client(&held)
}

/// A session's client, and a packet as it has sent it.
#[inline(always)]
fn sent_by_client<I: Icmp>(held: &Held) -> Option<(I::Address, Rewritten<I>)> {
    let (client, vip) = held.ends::<I>()?;
    let quoted = Rewritten {
        source: client,
        destination: vip,
        ports: held.fields().client_ports(),
    };
    Some((client, quoted))
}

#[inline(always)]
fn send<I: Icmp>(
    frame: &Frame,
    headers: &Headers<I>,
    quote: &Quote<I>,
    new: &Translated<I>,
) -> Result<Exit, DropReason> {
    headers.check_ttl()?;
    let way = route::find(
        frame,
        headers,
        &Rewritten {
            source: new.source,
            destination: new.destination,
            ports: 0,
        },
    )?;
    match way {
        Way::Hop(hop, _) => {
            translate::error(frame, headers, quote, new, 1)?;
            rewrite::link(frame, &hop)?;
            Ok(Exit::send(
                Verdict::IcmpError,
                hop.ifindex,
                frame.ingress_ifindex(),
            ))
        }
        Way::Kernel => {
            translate::error(frame, headers, quote, new, 0)?;
            Ok(Exit::pass(Verdict::PassToRoute))
        }
    }
}
