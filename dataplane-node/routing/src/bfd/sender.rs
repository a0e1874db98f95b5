use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;

use lbfabric_bgp::bfd::{Packet, Path};
use socket2::{Domain, Protocol, Socket, Type};

use super::BfdRoute;
use crate::clock::random;
use crate::socket::prepare_datagrams;

/// One session's socket. Packets of a session keep their source port, and no other session has it (RFC 5881 section 4).
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    remote: SocketAddr,
}

const FIRST_PORT: u16 = 49_152;

// === impl Sender ===

impl Sender {
    pub(super) fn open(route: &BfdRoute) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking();
        let domain = Domain::for_address(route.remote);
        let socket = Socket::new(domain, kind, Some(Protocol::UDP))?;
        prepare_datagrams(&socket, route.remote.is_ipv4())?;
        if let Path::SingleHop { interface, .. } = route.path {
            let interface = NonZeroU32::new(interface);
            if route.remote.is_ipv4() {
                socket.bind_device_by_index_v4(interface)?;
            } else {
                socket.bind_device_by_index_v6(interface)?;
            }
        }
        bind(&socket, route)?;
        Ok(Self {
            socket: socket.into(),
            remote: route.remote,
        })
    }

    /// Goes on with the socket of another process.
    pub(super) fn resume(socket: UdpSocket, route: &BfdRoute) -> Self {
        let remote = route.remote;
        Self { socket, remote }
    }

    /// A copy for another process.
    pub(super) fn copy(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    /// A packet that cannot be sent is lost like others on the way.
    pub(super) fn send(&self, packet: &Packet) {
        drop(self.socket.send_to(&packet.to_bytes(), self.remote));
    }
}

/// Binds it to a port of those for this, beginning at any.
fn bind(socket: &Socket, route: &BfdRoute) -> io::Result<()> {
    let ports = u16::MAX - FIRST_PORT;
    let begin = u16::try_from(random() % u64::from(ports)).unwrap_or(0);
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for step in 0..ports {
        let port = FIRST_PORT + (begin + step) % ports;
        let mut local = route.remote;
        local.set_ip(route.local);
        local.set_port(port);
        outcome = socket.bind(&local.into());
        match &outcome {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Ok(()) | Err(_) => break,
        }
    }
    outcome
}
