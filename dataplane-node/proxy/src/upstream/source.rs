use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use self::port_range::LocalPortRange;

/// Where a client's connections to servers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    client: SocketAddr,
    /// The client's port is one of those that the kernel gives to connections by itself.
    keeps_range: bool,
}

/// How a socket gets its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortChoice {
    /// The client's, chosen by the kernel, which has no other choice. Unlike [`PortChoice::Bound`] it does not keep the kernel from giving the
    /// port to connections of other addresses, of which a node that keeps the ports of many clients would have none left.
    Ranged,
    /// The client's. Goes also where an earlier connection of the same ends is not forgotten yet.
    Bound,
    /// Any other one.
    Free,
}

/// `IP_LOCAL_PORT_RANGE`, of Linux 6.3: which ports the kernel may choose for a socket, of those that it chooses from anyhow. Both families
/// have it.
mod port_range {
    use nix::sys::socket::sockopt::SetStruct;

    const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

    /// The last port in the upper half, the first in the lower.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct LocalPortRange;

    nix::setsockopt_impl!(
        LocalPortRange,
        libc::IPPROTO_IP,
        IP_LOCAL_PORT_RANGE,
        u32,
        SetStruct<'_, u32>
    );
}

impl Source {
    /// `keeps_range`: the kernel gives the client's port to connections by itself.
    pub(crate) const fn new(client: SocketAddr, keeps_range: bool) -> Self {
        Self {
            client,
            keeps_range,
        }
    }

    /// Whether servers of this family can be connected to from here.
    pub(super) const fn reaches(&self, server: SocketAddr) -> bool {
        self.client.is_ipv4() == server.is_ipv4()
    }

    /// A new connection to a server, from the client's port if no other one to the server has it.
    pub(super) async fn connect(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let choices = match (self.client.port(), self.keeps_range) {
            (0, _) => &[][..],
            (_, false) => &[PortChoice::Bound],
            (_, true) => &[PortChoice::Ranged, PortChoice::Bound],
        };
        for choice in choices {
            match self.connect_by(*choice, server).await {
                Err(error) if is_about_the_port(&error) => {}
                connected => return connected,
            }
        }
        self.connect_by(PortChoice::Free, server).await
    }

    async fn connect_by(&self, choice: PortChoice, server: SocketAddr) -> io::Result<TcpStream> {
        self.socket(choice)?.connect(server).await
    }

    fn socket(&self, choice: PortChoice) -> io::Result<TcpSocket> {
        let address = self.client.ip();
        let domain = Domain::for_address(self.client);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match address {
            IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
        // Of several connections with one port each has another server.
        socket.set_reuse_address(true)?;
        let port = match choice {
            PortChoice::Bound => self.client.port(),
            PortChoice::Ranged => {
                let port = u32::from(self.client.port());
                setsockopt(&socket, LocalPortRange, &(port << 16 | port))?;
                0
            }
            PortChoice::Free => 0,
        };
        if port == 0 {
            // It is chosen with the server, as one is free that goes to no server or to others.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
        }
        socket.bind(&SocketAddr::new(address, port).into())?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }
}

/// Whether another port may do.
fn is_about_the_port(error: &io::Error) -> bool {
    let others = [
        // Ports below 1024 may be the machine's own.
        libc::EACCES,
        // Linux before 6.3 lets no socket choose its ports.
        libc::ENOPROTOOPT,
    ];
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    ) || error
        .raw_os_error()
        .is_some_and(|number| others.contains(&number))
}

#[cfg(test)]
mod tests;
