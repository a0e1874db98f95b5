//! Reads IPv6.

use lbfabric_abi::DropReason;

use super::{
    frame::Frame,
    headers::{Ethernet, Ipv6, protocol},
    l4,
    packet::{Family, Packet, Unservable},
    words::load16,
};

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "17 bits")]
pub(crate) fn read(frame: &Frame, packet: &mut Packet) -> Result<(), Unservable> {
    let start = frame.start() + size_of::<Ethernet>();
    let ip: &mut Ipv6 = frame.header(start).ok_or(Unservable::NoDestination)?;
    if ip.version() != 6 {
        return Err(Unservable::NotIp);
    }
    let payload_start = start + size_of::<Ipv6>();
    let payload_length = usize::from(u16::from_be_bytes(ip.payload_length));
    packet.flow.source = load16(&ip.source);
    packet.flow.destination = load16(&ip.destination);
    packet.flow.protocol = ip.next_header;
    packet.length = (size_of::<Ipv6>() + payload_length) as u32;
    packet.ip_header_length = size_of::<Ipv6>() as u32;
    packet.family = Family::Ipv6;
    packet.traffic_class = ip.traffic_class();
    packet.ttl = ip.hop_limit;

    if payload_length > frame.length_from(payload_start) {
        return Err(Unservable::Broken(DropReason::BadLength));
    }
    if ip.next_header == protocol::FRAGMENT {
        return Err(Unservable::Broken(DropReason::Fragment));
    }
    l4::read(frame, &mut packet.flow, payload_start, payload_length)
}
