//! Reads IPv4.

use lbfabric_abi::{Address, DropReason};

use super::{
    frame::{Frame, opaque},
    headers::{Ethernet, Ipv4},
    l4,
    packet::{Family, Packet, Unservable},
    words::load4,
};

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "16 bits")]
pub(crate) fn read(frame: &Frame, packet: &mut Packet) -> Result<(), Unservable> {
    let start = frame.start() + size_of::<Ethernet>();
    let ip: &mut Ipv4 = frame.header(start).ok_or(Unservable::NoDestination)?;
    if ip.version() != 4 {
        return Err(Unservable::NotIp);
    }
    let header_length = ip.header_length();
    let length = usize::from(u16::from_be_bytes(ip.total_length));
    packet.flow.source = Address::from_ipv4(load4(&ip.source));
    packet.flow.destination = Address::from_ipv4(load4(&ip.destination));
    packet.flow.protocol = ip.protocol;
    packet.length = length as u32;
    packet.ip_header_length = header_length as u32;
    packet.family = Family::Ipv4;
    packet.traffic_class = ip.tos;
    packet.ttl = ip.ttl;

    if header_length < size_of::<Ipv4>()
        || length < header_length
        || length > frame.length_from(start)
    {
        return Err(Unservable::Broken(DropReason::BadLength));
    }
    if ip.is_fragment() {
        return Err(Unservable::Broken(DropReason::Fragment));
    }
    l4::read(
        frame,
        &mut packet.flow,
        opaque(start + header_length),
        length - header_length,
    )
}
