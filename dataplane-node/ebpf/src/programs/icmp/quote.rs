//! The packet that an error is about, as far as the error quotes it.

use lbfabric_abi::{Endpoint, Flow};

use super::{HEADER, Icmp};
use crate::programs::{
    aligned::Aligned,
    bytes::load4,
    frame::{Frame, opaque},
    headers::{Headers, UDP, protocol},
    packet::Packet,
};

/// Its headers in the frame. Of layer 4's header, eight bytes are there for certain: the ports, and all of UDP.
pub(super) struct Quote<I: Icmp> {
    /// The address of the IP header.
    pub(super) ip: usize,
    /// The address of the TCP or UDP header.
    pub(super) l4: usize,
    pub(super) source: I::Address,
    pub(super) destination: I::Address,
    /// Source and destination port, as they stand in the frame.
    pub(super) ports: u32,
    pub(super) protocol: u8,
    /// Bytes from layer 4 on.
    pub(super) payload: u32,
}

/// Why a quote tells nothing.
pub(super) enum Unreadable {
    /// It ends too early.
    Truncated,
    /// Neither TCP nor UDP in IP of the same version, or a later fragment.
    Protocol,
}

impl<I: Icmp> Quote<I> {
    /// Reads what an error quotes, whose own headers are whole.
    #[inline(always)]
    pub(super) fn read(
        frame: &Frame,
        packet: &Packet,
        headers: &Headers<I>,
    ) -> Result<Self, Unreadable> {
        let ip = headers.l4 + HEADER;
        let there = packet.payload().saturating_sub(HEADER as u64);
        if there < I::HEADER as u64 || !frame.reaches(ip + I::HEADER) {
            return Err(Unreadable::Truncated);
        }
        // SAFETY: the header is in the frame.
        let quoted = unsafe { I::quoted(frame, ip) }.ok_or(Unreadable::Protocol)?;
        if !matches!(quoted.protocol, protocol::TCP | protocol::UDP) {
            return Err(Unreadable::Protocol);
        }
        let l4 = opaque(ip + quoted.header);
        let payload = there.saturating_sub(quoted.header as u64);
        if payload < UDP as u64 || !frame.reaches(l4 + UDP) {
            return Err(Unreadable::Truncated);
        }
        // SAFETY: both headers are in the frame as far as they are read.
        unsafe {
            Ok(Self {
                ip,
                l4,
                source: I::source(ip),
                destination: I::destination(ip),
                ports: load4::<0>(l4) as u32,
                protocol: quoted.protocol,
                payload: payload as u32,
            })
        }
    }

    /// The flow of the packets that the quoted one answers.
    #[inline(always)]
    pub(super) fn answered(&self) -> Aligned<Flow> {
        let [a, b, c, d] = self.ports.to_ne_bytes();
        Aligned(Flow {
            source: I::to_abi(self.destination),
            destination: I::to_abi(self.source),
            source_port_be: [c, d],
            destination_port_be: [a, b],
            protocol: self.protocol,
            zero: [0; 3],
        })
    }

    /// Where the quoted packet went to.
    #[inline(always)]
    pub(super) fn endpoint(&self) -> Aligned<Endpoint> {
        Aligned(Endpoint {
            address: I::to_abi(self.destination),
            port_be: self.destination_port().to_ne_bytes(),
            protocol: self.protocol,
            zero: 0,
        })
    }

    /// As in the frame.
    #[inline(always)]
    pub(super) const fn source_port(&self) -> u16 {
        self.ports as u16
    }

    /// As in the frame.
    #[inline(always)]
    pub(super) const fn destination_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }
}
