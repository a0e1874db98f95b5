//! What connections cost that have had a request and wait for the next one.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};
use socket2::{Domain, Socket, Type};

use crate::{
    process::{Process, memory_bytes},
    proxies::{BODY_BYTES, CERTIFICATE, NAME},
};

/// What a process needs for the first ones is not theirs.
const FIRST: usize = 500;
const MORE: usize = 8_000;
/// From one address of ours.
const EACH: usize = 1_000;
/// Opened at the same time: fewer than the kernel keeps for a listener.
const BATCH: u32 = 500;
/// Of both processes, which have other files too.
const FILES_BESIDE: u32 = 1_000;
/// What a connection takes of the machine, with its client's end: no more than this.
const BOTH_ENDS_BYTES: f64 = 10_000.0;
/// Of the memory that is free.
const MEMORY_SHARE: f64 = 0.8;

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
    connections.iter().for_each(expect_quiet);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = grown / MORE as f64;
    each
}

/// Connections to one process that wait, all at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) connections: u32,
    /// Bytes of the process, for each.
    pub(crate) resident_each: f64,
    /// Bytes of the kernel for the process's end of each. Both ends are on this machine, so it is half of what has come.
    pub(crate) kernel_each: f64,
}

impl Crowd {
    /// What a million of them take of the process.
    pub(crate) fn gib_for_a_million(&self) -> f64 {
        self.resident_each * 1e6 / f64::from(1 << 30)
    }
}

/// Opens as many connections as there may be, or as files and memory allow, each with a request and its answer.
pub(crate) fn crowd(process: &Process, to: SocketAddr, most: u32) -> Crowd {
    let count = most.min(room()) / BATCH * BATCH;
    let (resident, kernel) = (process.resident_bytes(), memory_bytes("Slab"));
    let mut connections = Vec::with_capacity(count as usize);
    for batch in 0..count / BATCH {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let opened: Vec<_> = numbers.map(|n| connected(to, n as usize)).collect();
        opened.iter().for_each(say);
        opened.iter().for_each(hear);
        connections.extend(opened);
    }
    let grown = process.resident_bytes() - resident;
    let kernel = memory_bytes("Slab") - kernel;
    connections.iter().for_each(expect_quiet);
    for connection in connections {
        // Otherwise the kernel remembers each of them for a minute.
        let linger = Some(Duration::ZERO);
        Socket::from(connection).set_linger(linger).unwrap();
    }
    Crowd {
        connections: count,
        resident_each: grown / f64::from(count),
        kernel_each: kernel / 2.0 / f64::from(count),
    }
}

/// For how many connections there are files and memory.
fn room() -> u32 {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let files = u32::try_from(most).unwrap_or(u32::MAX);
    let memory = memory_bytes("MemAvailable") * MEMORY_SHARE / BOTH_ENDS_BYTES;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is more than none, and of billions all are too many"
    )]
    let memory = memory as u32;
    files.saturating_sub(FILES_BESIDE).min(memory)
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
    let (net, host) = (n / EACH / 250, 2 + n / EACH % 250);
    let part = |it: usize| u8::try_from(it).expect("it is small");
    let from = Ipv4Addr::new(127, 0, 1 + part(net), part(host));
    let from = SocketAddr::new(IpAddr::V4(from), 0);
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

/// A connection that was closed meanwhile would cost nothing.
fn expect_quiet(connection: &TcpStream) {
    connection.set_nonblocking(true).unwrap();
    let read = (&mut &*connection).read(&mut [0]);
    let kind = read.expect_err("it is open and quiet").kind();
    assert_eq!(kind, std::io::ErrorKind::WouldBlock);
}

/// A request with its whole answer.
fn ask(mut client: impl Read + Write) {
    say(&mut client);
    hear(client);
}

fn say(mut client: impl Write) {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request).unwrap();
}

fn hear(mut client: impl Read) {
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
