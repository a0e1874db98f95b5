//! Pings: echo requests of ICMP (RFC 792) and ICMPv6 (RFC 4443 section 4).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice, Icmpv6Type,
    Ipv4HeaderSlice,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// What comes back as it went.
const PAYLOAD: &[u8; 16] = b"lbfabric-lab-png";
/// More than a reply has.
const REPLY_BYTES_MAX: usize = 2048;

/// Sends one echo request from the network namespace that the calling thread is in, and waits for its reply.
pub(super) fn ping(target: IpAddr, number: u32, limit: Duration) -> Result<(), String> {
    let echo = echo(number);
    match exchange(target, echo, limit) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(format!("no echo from {target}"))
        }
        Err(error) => Err(format!("pinging {target}: {error}")),
    }
}

fn exchange(target: IpAddr, echo: IcmpEchoHeader, limit: Duration) -> io::Result<()> {
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    // The standard library's socket of datagrams reads and writes a raw one as well.
    let socket = UdpSocket::from(socket);
    // A connected socket takes packets from the VIP only.
    socket.connect(SocketAddr::new(target, 0))?;
    socket.send(&request(target, echo))?;
    let deadline = Instant::now() + limit;
    let mut buffer = [0; REPLY_BYTES_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        if is_reply(target, echo, &buffer[..length]) {
            return Ok(());
        }
    }
}

/// What tells a request from others: all of its number.
fn echo(number: u32) -> IcmpEchoHeader {
    let [a, b, c, d] = number.to_be_bytes();
    IcmpEchoHeader {
        id: u16::from_be_bytes([a, b]),
        seq: u16::from_be_bytes([c, d]),
    }
}

/// The message, for the kernel to put a header of IP before it.
fn request(target: IpAddr, echo: IcmpEchoHeader) -> Vec<u8> {
    let header = match target {
        IpAddr::V4(_) => {
            let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), PAYLOAD);
            header.to_bytes().to_vec()
        }
        // The kernel makes the checksum of ICMPv6, with the addresses in it.
        IpAddr::V6(_) => {
            let header = Icmpv6Header::new(Icmpv6Type::EchoRequest(echo));
            header.to_bytes().to_vec()
        }
    };
    [&header[..], PAYLOAD].concat()
}

/// Whether what was read from the socket is the reply to this request. Over IPv4 it begins with the header of IP.
fn is_reply(target: IpAddr, echo: IcmpEchoHeader, bytes: &[u8]) -> bool {
    match target {
        IpAddr::V4(_) => {
            let Ok(ip) = Ipv4HeaderSlice::from_slice(bytes) else {
                return false;
            };
            let icmp = Icmpv4Slice::from_slice(&bytes[ip.slice().len()..]);
            icmp.is_ok_and(|icmp| {
                icmp.icmp_type() == Icmpv4Type::EchoReply(echo) && icmp.payload() == PAYLOAD
            })
        }
        IpAddr::V6(_) => {
            let icmp = Icmpv6Slice::from_slice(bytes);
            icmp.is_ok_and(|icmp| {
                icmp.icmp_type() == Icmpv6Type::EchoReply(echo) && icmp.payload() == PAYLOAD
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn the_own_kernel_answers() {
        for target in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            for number in [0, 1, 70_000] {
                ping(target, number, LIMIT).expect("root may ping loopback");
            }
        }
    }

    #[test]
    fn another_message_is_no_reply() {
        let target = IpAddr::from(Ipv6Addr::LOCALHOST);
        let reply = |number: u32, payload: &[u8]| {
            let header = Icmpv6Header::new(Icmpv6Type::EchoReply(echo(number)));
            [&header.to_bytes()[..], payload].concat()
        };
        assert!(is_reply(target, echo(7), &reply(7, PAYLOAD)));
        assert!(!is_reply(target, echo(7), &reply(8, PAYLOAD)));
        assert!(!is_reply(target, echo(7), &reply(0x0001_0007, PAYLOAD)));
        assert!(!is_reply(target, echo(7), &reply(7, b"other")));
        assert!(!is_reply(target, echo(7), &request(target, echo(7))));
        assert!(!is_reply(target, echo(7), &[]));
        assert!(!is_reply(Ipv4Addr::LOCALHOST.into(), echo(7), &[]));
    }
}
