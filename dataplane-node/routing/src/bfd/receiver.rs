use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use lbfabric_bgp::bfd::{Packet, Path};
use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::sockopt::{
    Ipv4PacketInfo, Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6RecvPacketInfo,
};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::StartBfdError;
use super::route::{MULTIHOP_PORT, SINGLE_HOP_PORT};
use crate::socket::prepare_datagrams;

/// The sockets at which packets come: both families, one hop and several.
#[derive(Debug)]
pub(super) struct Receivers(Vec<Receiver>);

#[derive(Debug)]
struct Receiver {
    socket: Socket,
    is_single_hop: bool,
}

/// With authentication, which nobody here reads, they have up to 52 bytes.
const PACKET_MAX: usize = 128;
/// Packets that are read before something else is looked after.
const BATCH: usize = 1024;

// === impl Receivers ===

impl Receivers {
    pub(super) fn open() -> Result<Self, StartBfdError> {
        let mut receivers = vec![];
        for is_ipv4 in [true, false] {
            for port in [SINGLE_HOP_PORT, MULTIHOP_PORT] {
                let socket = open(is_ipv4, port);
                let socket = socket.map_err(|source| StartBfdError::Receive { port, source })?;
                receivers.push(Receiver {
                    socket,
                    is_single_hop: port == SINGLE_HOP_PORT,
                });
            }
        }
        Ok(Self(receivers))
    }

    /// Goes on with those of another process.
    pub(super) fn resume(sockets: Vec<UdpSocket>) -> io::Result<Self> {
        let receiver = |socket: UdpSocket| {
            Ok(Receiver {
                is_single_hop: socket.local_addr()?.port() == SINGLE_HOP_PORT,
                socket: socket.into(),
            })
        };
        let receivers = sockets.into_iter().map(receiver);
        Ok(Self(receivers.collect::<io::Result<_>>()?))
    }

    /// Copies for another process.
    pub(super) fn copies(&self) -> io::Result<Vec<UdpSocket>> {
        let copy = |it: &Receiver| Ok(it.socket.try_clone()?.into());
        self.0.iter().map(copy).collect()
    }

    /// Hands over what has come, with the path and TTL that it came with.
    pub(super) fn receive(&self, mut take: impl FnMut(&Packet, Path, u8)) {
        for receiver in &self.0 {
            for _ in 0..BATCH {
                match receiver.receive() {
                    Ok(Some((packet, path, ttl))) => take(&packet, path, ttl),
                    // Not a packet of BFD, or not one that can be told apart from others.
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// Sleeps until something comes, somebody wakes it, or the time is over.
    pub(super) fn wait(&self, waker: BorrowedFd<'_>, timeout: Option<Duration>) {
        let sockets = self.0.iter().map(|it| it.socket.as_fd());
        let all: Vec<_> = sockets.chain([waker]).collect();
        wait(&all, timeout);
    }
}

// === impl Receiver ===

impl Receiver {
    fn receive(&self) -> io::Result<Option<(Packet, Path, u8)>> {
        let mut bytes = [0; PACKET_MAX];
        let mut control = cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::c_int);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let mut ttl = None;
        let mut arrived: Option<(u32, IpAddr)> = None;
        for said in message.cmsgs()? {
            match said {
                ControlMessageOwned::Ipv4Ttl(it) | ControlMessageOwned::Ipv6HopLimit(it) => {
                    ttl = u8::try_from(it).ok();
                }
                ControlMessageOwned::Ipv4PacketInfo(it) => {
                    let local = Ipv4Addr::from_bits(u32::from_be(it.ipi_addr.s_addr));
                    let index = u32::try_from(it.ipi_ifindex).ok();
                    arrived = index.map(|index| (index, local.into()));
                }
                ControlMessageOwned::Ipv6PacketInfo(it) => {
                    let local = Ipv6Addr::from(it.ipi6_addr.s6_addr);
                    arrived = Some((it.ipi6_ifindex, local.into()));
                }
                _ => {}
            }
        }
        let remote = message.address.and_then(|it| remote_address(&it));
        let length = message.bytes;
        let packet = Packet::read(&bytes[..length]);
        let (Ok(packet), Some(remote), Some((interface, local)), Some(ttl)) =
            (packet, remote, arrived, ttl)
        else {
            return Ok(None);
        };
        let path = if self.is_single_hop {
            Path::SingleHop { remote, interface }
        } else {
            Path::Multihop { remote, local }
        };
        Ok(Some((packet, path, ttl)))
    }
}

/// Sleeps until something comes at one of them, or the time is over.
pub(super) fn wait(descriptors: &[BorrowedFd<'_>], timeout: Option<Duration>) {
    let watched = descriptors.iter();
    let mut watched: Vec<PollFd<'_>> = watched
        .map(|descriptor| PollFd::new(*descriptor, PollFlags::POLLIN))
        .collect();
    // What there is shows when it is read; a signal only makes that sooner.
    let _ready = ppoll(&mut watched, timeout.map(Into::into), None);
}

fn remote_address(address: &SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = address.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
    ipv4.or_else(|| address.as_sockaddr_in6().map(|it| it.ip().into()))
}

fn open(is_ipv4: bool, port: u16) -> io::Result<Socket> {
    let any: IpAddr = if is_ipv4 {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let address = SocketAddr::new(any, port);
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    prepare_datagrams(&socket, is_ipv4)?;
    if is_ipv4 {
        setsockopt(&socket, Ipv4RecvTtl, &true)?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
    } else {
        socket.set_only_v6(true)?;
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
