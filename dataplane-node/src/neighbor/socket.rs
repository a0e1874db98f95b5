//! Frames of the node's own, past the kernel's network layer: packet(7).
#![expect(unsafe_code, reason = "the kernel's own form of an address")]

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

/// Sends Ethernet frames.
#[derive(Debug)]
pub(super) struct FrameSocket(Socket);

impl FrameSocket {
    /// A socket in the current thread's network namespace. It gets no frames.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends a frame as it is out of an interface.
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        self.0.send_to(frame, &address(0, ifindex)?).map(drop)
    }
}

/// Hears what neighbors of all interfaces answer when they are asked for an address.
#[derive(Debug)]
pub(super) struct AnswerSocket(Socket);

impl AnswerSocket {
    /// Replies of ARP.
    pub(super) fn arp() -> io::Result<Self> {
        // The operation is a reply.
        Self::open(libc::ETH_P_ARP, &only(&[(HALF, 20, 2)]))
    }

    /// Advertisements of neighbor discovery.
    pub(super) fn discovery() -> io::Result<Self> {
        // ICMPv6 behind the header, and its type.
        Self::open(libc::ETH_P_IPV6, &only(&[(BYTE, 20, 58), (BYTE, 54, 136)]))
    }

    fn open(protocol: i32, filter: &[SockFilter]) -> io::Result<Self> {
        // Without a protocol it gets nothing before it has its filter.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(filter)?;
        let protocol = u16::try_from(protocol).expect("a type of Ethernet");
        socket.bind(&address(protocol, 0)?)?;
        Ok(Self(socket))
    }

    /// The next frame that is for this host: its interface and its bytes, as far as they have room. None if there is none yet.
    pub(super) fn next<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<(u32, &'a [u8])>> {
        loop {
            let (length, from) = match recvfrom::<LinkAddr>(self.0.as_raw_fd(), buffer) {
                Ok(received) => received,
                Err(nix::Error::EWOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let from = from.filter(|it| it.pkttype() <= libc::PACKET_MULTICAST);
            if let Some(from) = from
                && let Ok(ifindex) = u32::try_from(from.ifindex())
            {
                let length = length.min(buffer.len());
                return Ok(Some((ifindex, &buffer[..length])));
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "codes of classic BPF have 16 bits"
)]
const BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
#[expect(
    clippy::cast_possible_truncation,
    reason = "codes of classic BPF have 16 bits"
)]
const HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;

/// Lets a frame through, whole, if each of the loads at these distances gives what it should.
#[expect(
    clippy::cast_possible_truncation,
    reason = "codes of classic BPF have 16 bits"
)]
fn only(conditions: &[(u16, u32, u32)]) -> Vec<SockFilter> {
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut filter = Vec::new();
    for (load, distance, wanted) in conditions {
        filter.push(SockFilter::new(*load, 0, 0, *distance));
        // Over the next one.
        filter.push(SockFilter::new(IF_EQUAL, 1, 0, *wanted));
        filter.push(SockFilter::new(RETURN, 0, 0, 0));
    }
    filter.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    filter
}

fn address(protocol: u16, ifindex: u32) -> io::Result<SockAddr> {
    let family = u16::try_from(libc::AF_PACKET).expect("a small number");
    let ifindex = i32::try_from(ifindex).map_err(|_too_large| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage is as large as every address and begins with zeros; a `sockaddr_ll` is written there, and its length
    // given.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = family;
            (*link).sll_protocol = protocol.to_be();
            (*link).sll_ifindex = ifindex;
            *length =
                libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("a small number");
            Ok(())
        })
    }?;
    Ok(address)
}
