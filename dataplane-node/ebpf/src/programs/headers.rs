//! A TCP or UDP packet's headers in the frame.

use lbfabric_abi::DropReason;

use super::{
    bytes::{load1, load2, load4},
    frame::{Frame, opaque},
    ip::Ip,
    packet::Packet,
    session::Ends,
};

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// Bytes of a TCP header without options.
pub(crate) const TCP: usize = 20;
/// Bytes of a UDP header.
pub(crate) const UDP: usize = 8;

/// IP protocol numbers.
pub(crate) mod protocol {
    /// RFC 792.
    pub(crate) const ICMP: u8 = 1;
    /// IPv4 in IP, RFC 2003.
    pub(crate) const IPIP: u8 = 4;
    /// RFC 9293.
    pub(crate) const TCP: u8 = 6;
    /// RFC 768.
    pub(crate) const UDP: u8 = 17;
    /// IPv6 in IP, RFC 4213.
    pub(crate) const IPV6: u8 = 41;
    /// IPv6's hop-by-hop options, RFC 8200 section 4.3.
    pub(crate) const HOP_BY_HOP: u8 = 0;
    /// IPv6's routing header, RFC 8200 section 4.4.
    pub(crate) const ROUTING: u8 = 43;
    /// IPv6's fragment header, RFC 8200 section 4.5.
    pub(crate) const FRAGMENT: u8 = 44;
    /// RFC 4443.
    pub(crate) const ICMPV6: u8 = 58;
    /// IPv6's destination options, RFC 8200 section 4.6.
    pub(crate) const DESTINATION: u8 = 60;
}

/// TCP's flags, RFC 9293 section 3.1.
pub(crate) mod tcp_flags {
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const ACK: u8 = 0x10;
}

/// The headers, whole in the frame at the addresses given, with what routing goes by read out of them.
pub(crate) struct Headers<I: Ip> {
    /// The address of the IP header.
    pub(crate) ip: usize,
    /// The address of the TCP or UDP header.
    pub(crate) l4: usize,
    pub(crate) source: I::Address,
    pub(crate) destination: I::Address,
    /// Source and destination port, as they stand in the frame.
    pub(crate) ports: u32,
    pub(crate) protocol: u8,
    /// Whether `l4` and `ports` are of any meaning.
    pub(crate) has_ports: bool,
    /// From the IP header on, without what Ethernet may have padded.
    pub(crate) length: u64,
}

impl<I: Ip> Headers<I> {
    /// Reads a frame that begins with an Ethernet header without tags, which is in the frame like the IP header. None if the
    /// packet is anything but TCP or UDP in IP without options, or if a length does not hold.
    #[inline(always)]
    pub(crate) fn plain(frame: &Frame) -> Option<Self> {
        let ip = frame.start() + ETHERNET;
        let l4 = ip + I::HEADER;
        // Ethernet pads frames so far that shorter ones are rare.
        if !frame.reaches(l4 + TCP) {
            return None;
        }
        // SAFETY: both headers are in the frame.
        let (protocol, length) = unsafe { (I::plain_protocol(ip)?, I::length(ip)) };
        let least = match protocol {
            protocol::TCP => {
                // SAFETY: the header is in the frame.
                let header = unsafe { load1::<12>(l4) } >> 4 << 2;
                if header < TCP as u64 {
                    return None;
                }
                header
            }
            protocol::UDP => {
                // SAFETY: the header is in the frame.
                let length = super::bytes::swap2(unsafe { load2::<4>(l4) });
                if length < UDP as u64 {
                    return None;
                }
                length
            }
            _ => return None,
        };
        if length < I::HEADER as u64 + least || length > frame.rest(ip) {
            return None;
        }
        // SAFETY: both headers are in the frame. The protocol is read again for the verifier to forget which it is: it would
        // follow all that comes after once for each.
        Some(unsafe { Self::read(ip, l4, I::protocol(ip), length) })
    }

    /// Finds the headers of a packet that has been read.
    #[inline(always)]
    pub(crate) fn of(frame: &Frame, packet: &Packet) -> Result<Self, DropReason> {
        let ip = frame.at(packet.ip_at);
        if !frame.reaches(ip + I::HEADER) {
            return Err(DropReason::Internal);
        }
        let length = u64::from(packet.length);
        if !packet.has_ports {
            return Ok(Self {
                ip,
                l4: ip,
                // SAFETY: the header is in the frame.
                source: unsafe { I::source(ip) },
                // SAFETY: the header is in the frame.
                destination: unsafe { I::destination(ip) },
                ports: 0,
                protocol: packet.flow.protocol,
                has_ports: false,
                length,
            });
        }
        let l4 = frame.at(packet.l4_at);
        if !frame.reaches(l4 + UDP) {
            return Err(DropReason::Internal);
        }
        // SAFETY: both headers are in the frame.
        Ok(unsafe { Self::read(ip, l4, packet.flow.protocol, length) })
    }

    /// As [`Headers::of`], of a packet of another protocol, whose header begins with as many bytes as UDP's has. There are no
    /// ports.
    #[inline(always)]
    pub(crate) fn without_ports(frame: &Frame, packet: &Packet) -> Result<Self, DropReason> {
        let (ip, l4) = (frame.at(packet.ip_at), frame.at(packet.l4_at));
        if !frame.reaches(ip + I::HEADER) || !frame.reaches(l4 + UDP) {
            return Err(DropReason::Internal);
        }
        Ok(Self {
            ip,
            l4,
            // SAFETY: the header is in the frame.
            source: unsafe { I::source(ip) },
            // SAFETY: the header is in the frame.
            destination: unsafe { I::destination(ip) },
            ports: 0,
            protocol: packet.flow.protocol,
            has_ports: false,
            length: packet.length.into(),
        })
    }

    /// As [`Headers::of`], of a packet that is known to have ports.
    #[inline(always)]
    pub(crate) fn with_ports(frame: &Frame, packet: &Packet) -> Result<Self, DropReason> {
        let (ip, l4) = (frame.at(packet.ip_at), frame.at(packet.l4_at));
        if !frame.reaches(ip + I::HEADER) || !frame.reaches(l4 + UDP) {
            return Err(DropReason::Internal);
        }
        // SAFETY: both headers are in the frame.
        Ok(unsafe { Self::read(ip, l4, packet.flow.protocol, packet.length.into()) })
    }

    /// # Safety
    /// Both headers are in the frame.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
    unsafe fn read(ip: usize, l4: usize, protocol: u8, length: u64) -> Self {
        // SAFETY: the caller's.
        unsafe {
            Self {
                ip,
                l4,
                source: I::source(ip),
                destination: I::destination(ip),
                ports: load4::<0>(l4) as u32,
                protocol,
                has_ports: true,
                length,
            }
        }
    }

    /// What finds the packet's session.
    #[inline(always)]
    pub(crate) const fn ends(&self) -> Ends<I> {
        Ends {
            source: self.source,
            destination: self.destination,
            ports: self.ports,
            protocol: self.protocol,
        }
    }

    /// The source port, as in the frame.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "half of a word")]
    pub(crate) const fn source_port(&self) -> u16 {
        self.ports as u16
    }

    /// The destination port, as in the frame.
    #[inline(always)]
    pub(crate) const fn destination_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Whether it asks for a TCP connection. Only of [`Headers::plain`], which see that as much is in the frame.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a byte was read")]
    pub(crate) fn is_syn(&self) -> bool {
        // SAFETY: the header is in the frame.
        let flags = unsafe { load1::<13>(self.l4) } as u8;
        let other_flags = flags & (tcp_flags::SYN | tcp_flags::ACK) ^ tcp_flags::SYN;
        let other_protocol = self.protocol ^ protocol::TCP;
        // One condition, not two: the verifier follows each way.
        opaque((other_flags | other_protocol).into()) == 0
    }

    /// As [`Headers::is_syn`], whether it accepts one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a byte was read")]
    pub(crate) fn is_syn_ack(&self) -> bool {
        const BOTH: u8 = tcp_flags::SYN | tcp_flags::ACK;
        // SAFETY: the header is in the frame.
        let flags = unsafe { load1::<13>(self.l4) } as u8;
        self.protocol == protocol::TCP && flags & BOTH == BOTH
    }

    /// One if it accepts a TCP connection, else zero: without branches, as the verifier follows each way.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a byte was read, and a bit is left"
    )]
    pub(crate) fn syn_ack(&self) -> u16 {
        const BOTH: u8 = tcp_flags::SYN | tcp_flags::ACK;
        // SAFETY: the header is in the frame.
        let flags = unsafe { load1::<13>(self.l4) } as u8;
        let other = opaque((flags & BOTH ^ BOTH | self.protocol ^ protocol::TCP).into()) as u64;
        (other.wrapping_sub(1) >> 63) as u16
    }

    /// Fails if the packet may not be forwarded any further.
    #[inline(always)]
    pub(crate) fn check_ttl(&self) -> Result<(), DropReason> {
        // SAFETY: the header is in the frame.
        if unsafe { I::ttl(self.ip) } <= 1 {
            return Err(DropReason::TtlExpired);
        }
        Ok(())
    }
}
