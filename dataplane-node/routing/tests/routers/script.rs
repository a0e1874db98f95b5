use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::network::{Network, Over, node_address, router_address, until};
use crate::peering::ROUTER_AS;

/// A router that says what a test wants it to, byte by byte.
pub(crate) struct Script(TcpStream);

/// OPEN, UPDATE, NOTIFICATION, KEEPALIVE.
pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;

const PORT: u16 = 179;
const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// For an answer.
const LIMIT: Duration = Duration::from_secs(20);

// === impl Script ===

impl Script {
    /// Where it waits for the node.
    pub(crate) fn listen(network: &Network) -> TcpListener {
        let address = SocketAddr::new(router_address(Over::Ipv4), PORT);
        let listen = || TcpListener::bind(address).expect("the port is free");
        network.router.within(listen)
    }

    /// The node's connection.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().expect("it listens");
        Self::of(stream)
    }

    /// A connection to the node.
    pub(crate) fn dial(network: &Network) -> Self {
        let address = SocketAddr::new(node_address(0, Over::Ipv4), PORT);
        let mut stream = None;
        until("the node listens", LIMIT, || {
            let dialled = network.router.within(|| TcpStream::connect(address));
            let dialled = dialled.map_err(|error| error.to_string());
            dialled.map(|dialled| stream = Some(dialled))
        });
        Self::of(stream.expect("it listens"))
    }

    fn of(stream: TcpStream) -> Self {
        let limit = Some(LIMIT);
        stream.set_read_timeout(limit).expect("it is not zero");
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // Whether it was taken shows in what comes of it.
        let _sent = self.0.write_all(bytes);
    }

    /// The next message, its type first; none if the node closes the connection.
    pub(crate) fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 19];
        self.0.read_exact(&mut header).ok()?;
        let length = u16::from_be_bytes([header[16], header[17]]);
        let mut body = vec![0; usize::from(length) - header.len()];
        self.0.read_exact(&mut body).ok()?;
        Some((header[18], body))
    }

    /// Reads until a message of the type comes.
    pub(crate) fn until(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let (came, body) = self.receive().expect("a message of the type comes");
            if came == kind {
                return body;
            }
        }
    }

    /// Code and subcode of the NOTIFICATION that comes before the end of the connection; none if it ends without.
    pub(crate) fn until_end(&mut self) -> Option<(u8, u8)> {
        let mut told = None;
        while let Some((kind, body)) = self.receive() {
            if kind == NOTIFICATION {
                told = Some((body[0], body[1]));
            }
        }
        told
    }

    /// Agrees on a session.
    pub(crate) fn meet(&mut self, asn: u32) {
        self.send(&open(asn, ROUTER_ID, 90));
        self.send(&message(KEEPALIVE, &[]));
        self.until(KEEPALIVE);
    }
}

/// A message with a right header.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("it is short");
    let mut bytes = vec![0xff; 16];
    bytes.extend(length.to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

/// An OPEN with IPv4, IPv6 and AS numbers of four bytes.
pub(crate) fn open(asn: u32, id: Ipv4Addr, hold_time_secs: u16) -> Vec<u8> {
    open_with(asn, id, hold_time_secs, &[])
}

/// As [`open`], with more capabilities.
fn open_with(asn: u32, id: Ipv4Addr, hold_time_secs: u16, more: &[u8]) -> Vec<u8> {
    let mut body = vec![4];
    let two_bytes = u16::try_from(asn).expect("the tests' AS numbers are short");
    body.extend(two_bytes.to_be_bytes());
    body.extend(hold_time_secs.to_be_bytes());
    body.extend(id.octets());
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4];
    capabilities.extend(asn.to_be_bytes());
    capabilities.extend(more);
    let length = u8::try_from(capabilities.len()).expect("they are few");
    body.extend([length + 2, 2, length]);
    body.extend(capabilities);
    message(OPEN, &body)
}

/// The OPEN of an external neighbor that is as it should be.
pub(crate) fn right_open() -> Vec<u8> {
    open(ROUTER_AS, ROUTER_ID, 90)
}

/// As [`right_open`], of a neighbor that wants to know when it has been told all (RFC 4724 section 3).
pub(crate) fn open_for_ends() -> Vec<u8> {
    let graceful_restart = [64, 2, 0, 0];
    open_with(ROUTER_AS, ROUTER_ID, 90, &graceful_restart)
}

/// An UPDATE of these three parts.
pub(crate) fn update(withdrawn: &[u8], attributes: &[u8], announced: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| {
        u16::try_from(part.len())
            .expect("it is short")
            .to_be_bytes()
    };
    let parts = [
        &length(withdrawn),
        withdrawn,
        &length(attributes),
        attributes,
        announced,
    ];
    message(UPDATE, &parts.concat())
}
