//! Other addresses for an error and for what it quotes, with the checksums that cover them: of the IP header, of the quoted
//! IP header, of the quoted TCP or UDP header where it is there, and of the message, which covers all that is quoted.

use lbfabric_abi::{Checksum, DropReason};

use super::{Icmp, quote::Quote};
use crate::programs::{
    bytes::{load2, store2, store4},
    frame::{Frame, opaque},
    headers::{Headers, protocol},
    packet::Family,
    rewrite::{self, Rewritten},
};

/// What an error's addresses, and those of the packet that it quotes, become.
pub(super) struct Translated<I: Icmp> {
    pub(super) source: I::Address,
    pub(super) destination: I::Address,
    pub(super) quoted: Rewritten<I>,
}

/// Rewrites an error. One hop has to be left if it counts one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
pub(super) fn error<I: Icmp>(
    frame: &Frame,
    headers: &Headers<I>,
    quote: &Quote<I>,
    new: &Translated<I>,
    hops: u8,
) -> Result<(), DropReason> {
    let Translated {
        source,
        destination,
        quoted,
    } = new;
    let outside = rewrite::difference::<I>(headers.source, *source)
        .plus(rewrite::difference::<I>(headers.destination, *destination));
    // SAFETY: `Headers` are whole in the frame.
    unsafe {
        I::set_source(headers.ip, *source);
        I::set_destination(headers.ip, *destination);
        I::update(headers.ip, hops, outside);
    }
    let inside = quoted_ip(quote, quoted).plus(quoted_l4(frame, quote, quoted));
    let change = match I::FAMILY {
        Family::Ipv4 => inside,
        // Its checksum covers the addresses outside as well.
        Family::Ipv6 => inside.plus(outside),
    };
    // SAFETY: `Headers` are whole in the frame.
    unsafe {
        let old = load2::<2>(headers.l4) as u16;
        let new = Checksum::from_field(old).plus(change).field();
        store2::<2>(headers.l4, new.into());
    }
    Ok(())
}

/// Rewrites the quoted IP header; what the sum over it changes by.
#[inline(always)]
fn quoted_ip<I: Icmp>(quote: &Quote<I>, new: &Rewritten<I>) -> Checksum {
    let change = addresses(quote, new);
    // SAFETY: a quote's headers are in the frame.
    unsafe {
        let old = I::header_checksum(quote.ip);
        I::set_source(quote.ip, new.source);
        I::set_destination(quote.ip, new.destination);
        I::update(quote.ip, 0, change);
        change.sub16(old).add16(I::header_checksum(quote.ip))
    }
}

/// Rewrites the quoted ports, and their checksum as far as it is there; what the sum over them changes by.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
fn quoted_l4<I: Icmp>(frame: &Frame, quote: &Quote<I>, new: &Rewritten<I>) -> Checksum {
    let is_tcp = quote.protocol == protocol::TCP;
    let ports = Checksum::default().sub32(quote.ports).add32(new.ports);
    // SAFETY: a quote's ports are in the frame.
    unsafe { store4::<0>(quote.l4, new.ports.into()) };
    let at: u64 = if is_tcp { 16 } else { 6 };
    let checksum = opaque(quote.l4 + at as usize);
    if u64::from(quote.payload) < at + 2 || !frame.reaches(checksum + 2) {
        return ports;
    }
    // SAFETY: the frame reaches behind it.
    unsafe {
        let old = load2::<0>(checksum) as u16;
        rewrite::l4_checksum(checksum, is_tcp, ports.plus(addresses(quote, new)));
        let new = load2::<0>(checksum) as u16;
        ports.sub16(old).add16(new)
    }
}

/// What a sum over the quoted addresses changes by.
#[inline(always)]
fn addresses<I: Icmp>(quote: &Quote<I>, new: &Rewritten<I>) -> Checksum {
    rewrite::difference::<I>(quote.source, new.source)
        .plus(rewrite::difference::<I>(quote.destination, new.destination))
}
