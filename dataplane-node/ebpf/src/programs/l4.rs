//! Reads TCP and UDP.

use lbfabric_abi::{DropReason, Flow};

use super::{
    frame::{Frame, Header},
    headers::{Tcp, Udp, protocol},
    packet::Unservable,
};

/// Reads the ports of the header behind the IP header. The frame is known to hold `length` bytes from there.
#[inline(always)]
pub(crate) fn read(
    frame: &Frame,
    flow: &mut Flow,
    start: usize,
    length: usize,
) -> Result<(), Unservable> {
    let header_length = match flow.protocol {
        protocol::TCP => {
            let tcp: &mut Tcp = whole(frame, start, length)?;
            flow.source_port_be = tcp.source_port;
            flow.destination_port_be = tcp.destination_port;
            let header_length = usize::from(tcp.data_offset >> 4) << 2;
            if header_length < size_of::<Tcp>() {
                return Err(Unservable::Broken(DropReason::BadLength));
            }
            header_length
        }
        protocol::UDP => {
            let udp: &mut Udp = whole(frame, start, length)?;
            flow.source_port_be = udp.source_port;
            flow.destination_port_be = udp.destination_port;
            let udp_length = usize::from(u16::from_be_bytes(udp.length));
            if udp_length < size_of::<Udp>() {
                return Err(Unservable::Broken(DropReason::BadLength));
            }
            udp_length
        }
        _ => return Err(Unservable::Protocol),
    };
    if header_length > length {
        return Err(Unservable::Broken(DropReason::BadLength));
    }
    Ok(())
}

#[inline(always)]
fn whole<T: Header>(frame: &Frame, start: usize, length: usize) -> Result<&mut T, Unservable> {
    if length < size_of::<T>() {
        return Err(Unservable::Broken(DropReason::Truncated));
    }
    frame
        .header(start)
        .ok_or(Unservable::Broken(DropReason::Truncated))
}
