//! Clients that read nothing, and servers that read nothing: neither holds the other for ever.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "tls/authority.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod authority;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use authority::{Authority, Issued};
use lbfabric_proxy::{
    ProxyConfig, Timeouts,
    tls::{
        Believed, Certificates, MinimumVersion, ServerTlsConfig, ServerTlsOptions, TlsConfig,
        TlsOptions, UnknownName,
    },
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use worker::engine;

const SILENCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// Either side of a connection, over TCP or over TLS.
trait Side: Read + Write {
    fn tcp(&self) -> &TcpStream;
}

impl Side for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Side for StreamOwned<ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

impl Side for StreamOwned<ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

fn client(engine: SocketAddr, authority: Option<&Authority>) -> Box<dyn Side> {
    let tcp = TcpStream::connect(engine).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    let Some(authority) = authority else {
        return Box::new(tcp);
    };
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from(authority.der.clone());
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "a.example".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Box::new(StreamOwned::new(connection, tcp))
}

/// A server of one connection, which does this with it behind the request's head.
fn server(
    issued: Option<&Issued>,
    serve: impl FnOnce(Box<dyn Side>) + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = issued.map(|issued| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from(issued.der.clone())];
        let key = PrivatePkcs8KeyDer::from(issued.key_der.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.into());
        Arc::new(config.unwrap())
    });
    thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut side: Box<dyn Side> = match config {
            None => Box::new(tcp),
            Some(config) => {
                let connection = ServerConnection::new(config).unwrap();
                Box::new(StreamOwned::new(connection, tcp))
            }
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            side.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        serve(side);
    });
    address
}

/// An engine with the side of its clients, or that of its servers, or neither, over TLS.
fn engine_to(
    server: SocketAddr,
    tls: Option<(&Authority, &Issued)>,
    is_client: bool,
) -> SocketAddr {
    let of_clients = tls.filter(|_| is_client).map(|(_, issued)| {
        let certificates = Certificates::new(&[issued.certificate()], UnknownName::First);
        let options = TlsOptions::new(Arc::new(certificates));
        Arc::new(TlsConfig::new(&options).unwrap())
    });
    let of_servers = tls.filter(|_| !is_client).map(|(authority, _)| {
        let options = ServerTlsOptions {
            believed: Believed::IssuedBy(authority.authorities()),
            name: Some("a.example".try_into().unwrap()),
            minimum: MinimumVersion::Tls12,
            certificate: None,
        };
        Arc::new(ServerTlsConfig::new(&options).unwrap())
    });
    engine(ProxyConfig {
        timeouts: Timeouts {
            silence: SILENCE,
            ..Timeouts::default()
        },
        tls: of_clients,
        server_tls: of_servers,
        ..ProxyConfig::to(&[server])
    })
}

/// The server's connection ends too, as nobody takes what it sends.
#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let authority = Authority::new("authority");
    let issued = authority.issue(&["a.example"]);
    for is_tls in [false, true] {
        for head in ["Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
            let (ended, end) = mpsc::channel();
            let address = server(None, move |mut client| {
                let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
                client.write_all(head.as_bytes()).unwrap();
                let chunk = [b"10000\r\n", &vec![b'x'; 0x1_0000][..], b"\r\n"].concat();
                let begun = Instant::now();
                let error = loop {
                    if let Err(error) = client.write_all(&chunk) {
                        break error;
                    }
                };
                ended.send((error.kind(), begun.elapsed())).unwrap();
            });
            let tls = is_tls.then_some((&authority, &issued));
            let engine = engine_to(address, tls, true);
            let mut client = client(engine, is_tls.then_some(&authority));
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            let (error, after) = end.recv_timeout(PATIENCE).unwrap();
            assert!(
                matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                "{error}"
            );
            assert!(after >= SILENCE, "{after:?}");
            // It is not taken for the end.
            let mut all = Vec::new();
            let error = client.read_to_end(&mut all).unwrap_err();
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                ),
                "{error}"
            );
        }
    }
}

/// One that reads slowly is none that reads nothing.
#[test]
fn a_client_that_reads_slowly_gets_all() {
    const LENGTH: usize = 8 << 20;
    let address = server(None, move |mut client| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&vec![b'x'; LENGTH]).unwrap();
    });
    let mut client = client(engine_to(address, None, true), None);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let (begun, mut length, mut part) = (Instant::now(), 0, vec![0; LENGTH / 8]);
    loop {
        // Slower than the whole may be silent.
        if length < LENGTH / 2 {
            thread::sleep(SILENCE / 3);
        }
        match client.read(&mut part).unwrap() {
            0 => break,
            count => length += count,
        }
    }
    assert!(
        length > LENGTH && begun.elapsed() > SILENCE,
        "{length} in {:?}",
        begun.elapsed()
    );
}

/// Its client hears of it.
#[test]
fn a_server_that_reads_nothing_is_given_up() {
    let authority = Authority::new("authority");
    let issued = authority.issue(&["a.example"]);
    for is_tls in [false, true] {
        let (over, end) = mpsc::channel::<()>();
        let address = server(is_tls.then_some(&issued), move |client| {
            // Until the test is over.
            let _ended = end.recv_timeout(PATIENCE);
            drop(client);
        });
        let tls = is_tls.then_some((&authority, &issued));
        let engine = engine_to(address, tls, false);
        let mut client = client(engine, None);
        let sending = client.tcp().try_clone().unwrap();
        let begun = Instant::now();
        let sender = thread::spawn(move || {
            let mut sending = sending;
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
            sending.write_all(head).unwrap();
            let part = vec![b'x'; 1 << 20];
            // Until the engine does not want more of it.
            while sending.write_all(&part).is_ok() {}
        });
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 504");
        assert!(begun.elapsed() >= SILENCE);
        drop(client);
        sender.join().unwrap();
        drop(over);
    }
}
