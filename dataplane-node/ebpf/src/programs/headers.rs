//! The headers as they stand in a frame. Multi-byte fields stay in network order.

use super::frame::Header;

/// Ethernet II.
#[repr(C)]
pub(crate) struct Ethernet {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) ethertype: [u8; 2],
}

/// IPv4 without its options, RFC 791.
#[repr(C)]
pub(crate) struct Ipv4 {
    pub(crate) version_ihl: u8,
    pub(crate) tos: u8,
    pub(crate) total_length: [u8; 2],
    pub(crate) id: [u8; 2],
    pub(crate) flags_offset: [u8; 2],
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: [u8; 2],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

/// IPv6, RFC 8200.
#[repr(C)]
pub(crate) struct Ipv6 {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub(crate) version_class_label: [u8; 4],
    pub(crate) payload_length: [u8; 2],
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

/// TCP without its options, RFC 9293.
#[repr(C)]
pub(crate) struct Tcp {
    pub(crate) source_port: [u8; 2],
    pub(crate) destination_port: [u8; 2],
    pub(crate) sequence: [u8; 4],
    pub(crate) acknowledgement: [u8; 4],
    pub(crate) data_offset: u8,
    pub(crate) flags: u8,
    pub(crate) window: [u8; 2],
    pub(crate) checksum: [u8; 2],
    pub(crate) urgent: [u8; 2],
}

/// UDP, RFC 768.
#[repr(C)]
pub(crate) struct Udp {
    pub(crate) source_port: [u8; 2],
    pub(crate) destination_port: [u8; 2],
    pub(crate) length: [u8; 2],
    pub(crate) checksum: [u8; 2],
}

// SAFETY: made of `u8` only.
unsafe impl Header for Ethernet {}
// SAFETY: made of `u8` only.
unsafe impl Header for Ipv4 {}
// SAFETY: made of `u8` only.
unsafe impl Header for Ipv6 {}
// SAFETY: made of `u8` only.
unsafe impl Header for Tcp {}
// SAFETY: made of `u8` only.
unsafe impl Header for Udp {}

impl Ethernet {
    pub(crate) const IPV4: [u8; 2] = [0x08, 0x00];
    pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];
}

impl Ipv4 {
    /// The header's length without options, as a length field has it.
    pub(crate) const LENGTH: u16 = 20;
    pub(crate) const DONT_FRAGMENT: [u8; 2] = [0x40, 0x00];

    /// The version in the first nibble.
    #[inline(always)]
    pub(crate) const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// The header's length with its options, in bytes: 0 to 60.
    #[inline(always)]
    pub(crate) const fn header_length(&self) -> usize {
        ((self.version_ihl & 0x0f) as usize) << 2
    }

    /// Whether it is a fragment: more are to come, or it is not the first.
    #[inline(always)]
    pub(crate) const fn is_fragment(&self) -> bool {
        self.flags_offset[0] & 0x3f != 0 || self.flags_offset[1] != 0
    }
}

impl Tcp {
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const ACK: u8 = 0x10;
}

impl Ipv6 {
    /// The version in the first nibble.
    #[inline(always)]
    pub(crate) const fn version(&self) -> u8 {
        self.version_class_label[0] >> 4
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub(crate) const fn traffic_class(&self) -> u8 {
        self.version_class_label[0] << 4 | self.version_class_label[1] >> 4
    }
}

/// IP protocol numbers.
pub(crate) mod protocol {
    /// IPv4 in IP, RFC 2003.
    pub(crate) const IPIP: u8 = 4;
    /// RFC 9293.
    pub(crate) const TCP: u8 = 6;
    /// RFC 768.
    pub(crate) const UDP: u8 = 17;
    /// IPv6 in IP, RFC 4213.
    pub(crate) const IPV6: u8 = 41;
    /// IPv6's fragment header, RFC 8200 section 4.5.
    pub(crate) const FRAGMENT: u8 = 44;
}
