//! What connections cost that have had a request and wait for the next one.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{process::Process, proxies::BODY_BYTES};

/// What a process needs for the first ones is not theirs.
const FIRST: usize = 500;
const MORE: usize = 8_000;
/// From one address of ours.
const EACH: usize = 1_000;

/// Bytes that a proxy's process has grown by, for each connection.
pub(crate) fn bytes_each(process: &Process, to: SocketAddr) -> f64 {
    let mut connections: Vec<_> = (0..FIRST).map(|n| asked(to, n)).collect();
    let before = process.resident_bytes();
    connections.extend((FIRST..FIRST + MORE).map(|n| asked(to, n)));
    let grown = process.resident_bytes() - before;
    // A connection that was closed meanwhile would cost nothing.
    for connection in &connections {
        connection.set_nonblocking(true).unwrap();
        let read = (&mut &*connection).read(&mut [0]);
        let kind = read.expect_err("it is open and quiet").kind();
        assert_eq!(kind, std::io::ErrorKind::WouldBlock);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = grown / MORE as f64;
    each
}

/// The n-th connection, after a request with its answer.
fn asked(to: SocketAddr, n: usize) -> TcpStream {
    let host = 2 + u8::try_from(n / EACH).expect("a few thousand");
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, host)), 0);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut client = TcpStream::from(socket);
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::<u8>::new();
    let mut part = [0; 4096];
    loop {
        let count = client.read(&mut part).unwrap();
        assert!(count > 0, "it closes");
        answer.extend(&part[..count]);
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
        if end.is_some_and(|end| answer.len() == end + 4 + BODY_BYTES) {
            return client;
        }
    }
}
