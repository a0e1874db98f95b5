use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use lbfabric_bgp::Hops;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::{NeighborSetup, is_of_link};
use crate::raw::set_socket_option;

/// Routing traffic goes before other one (CS6, RFC 4594 section 3.2).
const CLASS: u32 = 0xc0;

/// Makes a connection to a neighbor.
pub(crate) async fn dial(setup: &NeighborSetup) -> io::Result<TcpStream> {
    let transport = &setup.transport;
    let socket = Socket::new(
        Domain::for_address(SocketAddr::new(transport.peer, 0)),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if let Some(interface) = &setup.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(local) = transport.local {
        socket.bind(&at(local, 0, setup)?.into())?;
    }
    set_md5_secret(&socket, transport.peer, transport.md5_secret.as_deref())?;
    prepare(&socket, transport.peer, transport.hops)?;
    let peer = at(transport.peer, transport.port, setup)?;
    TcpSocket::from_std_stream(socket.into())
        .connect(peer)
        .await
}

/// Makes of a connection that a neighbor has made what one of ours is.
pub(crate) fn adopt(stream: &TcpStream, setup: &NeighborSetup) -> io::Result<()> {
    let transport = &setup.transport;
    prepare(&SockRef::from(stream), transport.peer, transport.hops)
}

/// Listens for neighbors of a family. Their secrets are to be set before it is heard, so it is not listening yet.
pub(crate) fn bind_listener(is_ipv4: bool, port: u16) -> io::Result<Socket> {
    let any: IpAddr = if is_ipv4 {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let address = SocketAddr::new(any, port);
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if !is_ipv4 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Whoever proves distances by the TTL has to get the first answer as well; a higher one hurts nobody.
    prepare(&socket, any, Hops::UpTo(255))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Sets the secret of connections with the peer (RFC 2385), or takes it away. The kernel drops packets that do not know it.
pub(crate) fn set_md5_secret(
    socket: &impl AsFd,
    peer: IpAddr,
    secret: Option<&[u8]>,
) -> io::Result<()> {
    // `struct tcp_md5sig`: a `sockaddr_storage`, flags, prefix length, key length, interface index, key.
    const FAMILY: usize = 0;
    const IPV4: usize = 4;
    const IPV6: usize = 8;
    const KEY_LENGTH: usize = 130;
    const KEY: usize = 136;
    let Some(secret) = secret else {
        return Ok(());
    };
    let mut value = [0; KEY + libc::TCP_MD5SIG_MAXKEYLEN];
    let mut put = |at: usize, bytes: &[u8]| value[at..at + bytes.len()].copy_from_slice(bytes);
    let family = match peer {
        IpAddr::V4(peer) => {
            put(IPV4, &peer.octets());
            libc::AF_INET
        }
        IpAddr::V6(peer) => {
            put(IPV6, &peer.octets());
            libc::AF_INET6
        }
    };
    let family = u16::try_from(family).map_err(io::Error::other)?;
    put(FAMILY, &family.to_ne_bytes());
    let length = u16::try_from(secret.len()).map_err(io::Error::other)?;
    put(KEY_LENGTH, &length.to_ne_bytes());
    put(KEY, secret);
    set_socket_option(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &value)
}

/// The address, on the neighbor's link where it is one of a link.
pub(crate) fn at(address: IpAddr, port: u16, setup: &NeighborSetup) -> io::Result<SocketAddr> {
    match (address, &setup.interface) {
        (IpAddr::V6(ipv6), Some(interface)) if is_of_link(address) => {
            let index = nix::net::if_::if_nametoindex(interface.as_str())?;
            Ok(SocketAddrV6::new(ipv6, port, 0, index).into())
        }
        (IpAddr::V4(_) | IpAddr::V6(_), Some(_) | None) => Ok(SocketAddr::new(address, port)),
    }
}

/// TTL and class of what is sent, and the TTL that what comes has to have.
fn prepare(socket: &Socket, peer: IpAddr, hops: Hops) -> io::Result<()> {
    let least = hops.least_ttl().map(|ttl| i32::from(ttl).to_ne_bytes());
    match peer {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(hops.sent_ttl().into())?;
            socket.set_tos_v4(CLASS)?;
            if let Some(least) = least {
                set_socket_option(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least)?;
            }
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(hops.sent_ttl().into())?;
            socket.set_tclass_v6(CLASS)?;
            if let Some(least) = least {
                let name = libc::IPV6_MINHOPCOUNT;
                set_socket_option(socket, libc::IPPROTO_IPV6, name, &least)?;
            }
        }
    }
    if socket.r#type()? == Type::STREAM {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(())
}

/// As [`prepare`], for datagrams that leave with the highest TTL.
pub(crate) fn prepare_datagrams(socket: &Socket, is_ipv4: bool) -> io::Result<()> {
    if is_ipv4 {
        prepare(socket, Ipv4Addr::UNSPECIFIED.into(), Hops::UpTo(255))
    } else {
        prepare(socket, Ipv6Addr::UNSPECIFIED.into(), Hops::UpTo(255))
    }
}
