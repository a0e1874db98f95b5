use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use nix::sys::socket::{
    setsockopt,
    sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBufForce, UdpGroSegment},
};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of clients' datagrams that wait while a worker does something else, or is replaced by one of another agent: with what the kernel
/// adds to them, some thousands of short ones.
const WAITING_BYTES: usize = 4 << 20;

/// A socket that each worker makes for itself: the kernel spreads clients over them, each to the same one for as long as there are as many.
/// The address need not be the machine's yet.
pub fn udp_listener(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new(address)?;
    socket.set_reuse_port(true)?;
    // Who may not have more has what the machine gives to all.
    let _less = setsockopt(&socket, RcvBufForce, &WAITING_BYTES);
    // Which of its addresses a client has gone to.
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
    } else {
        socket.set_freebind_v6(true)?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A session's socket.
pub(super) fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new(server)?;
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&any.into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

fn new(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, UdpGroSegment, &true)?;
    Ok(socket)
}
