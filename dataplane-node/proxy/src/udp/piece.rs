use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::RawFd,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, recvmsg,
        sendmsg,
    },
};

/// Bytes of the longest datagram, and of all that come in one piece.
const PIECE_BYTES: usize = 1 << 16;

/// Where a worker receives into: what is in it is sent on before the next one is received.
pub(super) struct Room {
    bytes: Box<[u8]>,
    control: Vec<u8>,
}

/// Datagrams of one flow: one, or several of the same size, of which the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes of each datagram; as many as there are bytes if it is one.
    segment: usize,
}

/// Whom a piece is from, and for which address it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    pub(super) client: Option<SocketAddr>,
    pub(super) service: Option<IpAddr>,
}

/// Where a piece goes, on a socket that is not connected: to a client, from the address that it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) client: SocketAddr,
    pub(super) service: IpAddr,
}

// === impl Room ===

impl Room {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; PIECE_BYTES].into(),
            control: cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, i32),
        }
    }

    /// What a socket has, without waiting for it.
    pub(super) fn receive(&mut self, socket: RawFd) -> io::Result<(Piece<'_>, From)> {
        self.control.resize(self.control.capacity(), 0);
        let mut parts = [IoSliceMut::new(&mut self.bytes)];
        let control = Some(&mut self.control[..]);
        let received =
            recvmsg::<SockaddrStorage>(socket, &mut parts, control, MsgFlags::MSG_DONTWAIT)?;
        let (mut segment, mut service) = (None, None);
        for message in received.cmsgs()? {
            match message {
                ControlMessageOwned::UdpGroSegments(bytes) => segment = usize::try_from(bytes).ok(),
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let address = Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr));
                    service = Some(address.into());
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    service = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                // The kernel gives what was asked for.
                _ => {}
            }
        }
        let from = From {
            client: received.address.as_ref().and_then(socket_address),
            service,
        };
        let length = received.bytes;
        let piece = Piece {
            bytes: &self.bytes[..length],
            segment: segment.filter(|it| *it > 0).unwrap_or(length),
        };
        Ok((piece, from))
    }
}

// === impl Piece ===

impl Piece<'_> {
    /// How many datagrams it is.
    pub(super) fn datagrams(&self) -> u64 {
        self.bytes.len().div_ceil(self.segment.max(1)).max(1) as u64
    }

    /// Bytes of so many of its datagrams, the first ones.
    pub(super) fn bytes_of(&self, datagrams: u64) -> u64 {
        (self.segment as u64 * datagrams).min(self.bytes.len() as u64)
    }

    /// Sends it, and says how many datagrams of it have gone; all or none, where the kernel takes it as a piece.
    pub(super) fn send(&self, socket: RawFd, way: Option<&Way>) -> io::Result<u64> {
        if self.bytes.len() <= self.segment {
            send(socket, self.bytes, None, way)?;
            return Ok(1);
        }
        let segment = u16::try_from(self.segment).ok();
        match send(socket, self.bytes, segment, way) {
            Ok(()) => Ok(self.datagrams()),
            // A device that computes no checksums, or a segment that the way there is too narrow for: one by one, in fragments if need be.
            Err(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE) => self.send_each(socket, way),
            Err(error) => Err(error.into()),
        }
    }

    fn send_each(&self, socket: RawFd, way: Option<&Way>) -> io::Result<u64> {
        let mut sent = 0;
        for datagram in self.bytes.chunks(self.segment) {
            match send(socket, datagram, None, way) {
                Ok(()) => sent += 1,
                // The rest is dropped as it would be.
                Err(Errno::EAGAIN) if sent > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }
}

fn send(socket: RawFd, bytes: &[u8], segment: Option<u16>, way: Option<&Way>) -> Result<(), Errno> {
    let parts = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let segments = segment.as_ref().map(ControlMessage::UdpGsoSegments);
    let Some(way) = way else {
        let control = segments.as_slice();
        return sendmsg::<()>(socket, &parts, control, flags, None).map(drop);
    };
    let to = SockaddrStorage::from(way.client);
    let (info4, info6);
    let source = match way.service {
        IpAddr::V4(address) => {
            info4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: address.to_bits().to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            ControlMessage::Ipv4PacketInfo(&info4)
        }
        IpAddr::V6(address) => {
            info6 = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: 0,
            };
            ControlMessage::Ipv6PacketInfo(&info6)
        }
    };
    match segments {
        Some(segments) => sendmsg(socket, &parts, &[source, segments], flags, Some(&to)),
        None => sendmsg(socket, &parts, &[source], flags, Some(&to)),
    }
    .map(drop)
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|it| SocketAddr::from(*it));
    let v6 = || address.as_sockaddr_in6().map(|it| SocketAddr::from(*it));
    address.family().and_then(|_| v4().or_else(v6))
}
