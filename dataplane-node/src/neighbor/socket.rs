//! Frames of the node's own, past the kernel's network layer: packet(7).
#![expect(unsafe_code, reason = "the kernel's own form of an address")]

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};

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
        self.0.send_to(frame, &address(ifindex)?).map(drop)
    }
}

fn address(ifindex: u32) -> io::Result<SockAddr> {
    let family = u16::try_from(libc::AF_PACKET).expect("a small number");
    let ifindex = i32::try_from(ifindex).map_err(|_too_large| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage is as large as every address and begins with zeros; a `sockaddr_ll` is written there, and its length
    // given.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = family;
            (*link).sll_ifindex = ifindex;
            *length =
                libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("a small number");
            Ok(())
        })
    }?;
    Ok(address)
}
