//! What connections cost that have had a request and wait for the next one.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};
use socket2::{Domain, Socket, Type};

use crate::{
    process::Process,
    proxies::{BODY_BYTES, CERTIFICATE, NAME},
};

/// What a process needs for the first ones is not theirs.
const FIRST: usize = 500;
const MORE: usize = 8_000;
/// From one address of ours.
const EACH: usize = 1_000;

/// Bytes that a proxy's process has grown by, for each connection; over TLS with its client's configuration.
pub(crate) fn bytes_each(
    process: &Process,
    to: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
) -> f64 {
    let open = |n: usize| {
        let connection = connected(to, n);
        match tls {
            None => ask(&connection),
            Some(client) => {
                let name = ServerName::try_from(NAME).unwrap();
                let session = ClientConnection::new(client.clone(), name).unwrap();
                ask(StreamOwned::new(session, &connection));
            }
        }
        connection
    };
    let mut connections: Vec<_> = (0..FIRST).map(open).collect();
    let before = process.resident_bytes();
    connections.extend((FIRST..FIRST + MORE).map(open));
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

/// What a client of TLS needs, which trusts the certificate of the proxies.
pub(crate) fn tls_client(folder: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = fs::read(folder.join(CERTIFICATE)).unwrap();
    roots.add(CertificateDer::from(certificate)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The n-th connection.
fn connected(to: SocketAddr, n: usize) -> TcpStream {
    let host = 2 + u8::try_from(n / EACH).expect("a few thousand");
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, host)), 0);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let client = TcpStream::from(socket);
    // A handshake's last part is not to be waited for.
    client.set_nodelay(true).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client
}

/// A request with its whole answer.
fn ask(mut client: impl Read + Write) {
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
            return;
        }
    }
}
