//! Connections from their beginning to their end.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use lbfabric_proxy::{
    ProxyConfig,
    tls::{Certificates, TlsConfig, TlsOptions, UnknownName},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::CertificateDer,
};

use crate::{
    authority::Authority,
    clients::{options, secured},
    nginx::Nginx,
    worker::engine,
};

/// A connection that begins with one certificate lives on while others begin with the next.
#[test]
fn certificates_are_replaced_under_living_connections() {
    let authority = Authority::new("authority");
    let nginx = Nginx::start();
    let [old, new] = [&["a.example", "old"], &["a.example", "new"]]
        .map(|names| authority.issue(names).certificate());
    let config = Arc::new(TlsConfig::new(&options(&[old], UnknownName::First)).unwrap());
    let engine = engine(ProxyConfig {
        tls: Some(config.clone()),
        ..ProxyConfig::to(&[nginx.address])
    });
    let names = |client: &Client| {
        let certificates = client.conn.peer_certificates().unwrap();
        let contains = |name: &[u8]| certificates[0].windows(3).any(|it| it == name);
        (contains(b"old"), contains(b"new"))
    };
    let mut before = connect(engine, &authority);
    assert_eq!(ask(&mut before), "hello\n");
    config.replace_certificates(Arc::new(Certificates::new([&new], UnknownName::First)));
    let mut after = connect(engine, &authority);
    for client in [&mut before, &mut after] {
        assert_eq!(ask(client), "hello\n");
    }
    assert_eq!(
        (names(&before), names(&after)),
        ((true, false), (false, true))
    );
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(engine: SocketAddr, authority: &Authority) -> Client {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority.der.clone()))
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "a.example".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(engine).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(connection, tcp)
}

/// The body of `/hello`, over a connection that goes on.
fn ask(client: &mut Client) -> String {
    client
        .write_all(b"GET /hello HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello\n") {
        let mut part = [0; 1000];
        let count = client.read(&mut part).unwrap();
        assert!(count > 0, "closed behind {answer:?}");
        answer.extend_from_slice(&part[..count]);
    }
    let answer = String::from_utf8(answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Also while it goes on, and also if the client wants new keys all the time.
#[test]
fn a_client_may_change_its_keys_and_hears_the_end() {
    let authority = Authority::new("authority");
    let nginx = Nginx::start();
    let of_a = [authority.issue(&["a.example"]).certificate()];
    let engine = secured(&options(&of_a, UnknownName::First), &nginx);
    let mut client = connect(engine, &authority);
    assert_eq!(ask(&mut client), "hello\n");
    for _ in 0..100 {
        client.conn.refresh_traffic_keys().unwrap();
        assert_eq!(ask(&mut client), "hello\n");
    }
    client
        .write_all(b"GET /large HTTP/1.0\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // Fails without a close_notify.
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(nginx.large().as_bytes()));
}

#[test]
fn a_handshake_is_not_waited_for() {
    let authority = Authority::new("authority");
    let nginx = Nginx::start();
    let options = TlsOptions {
        handshake_timeout: Duration::from_millis(200),
        ..options(
            &[authority.issue(&["a.example"]).certificate()],
            UnknownName::First,
        )
    };
    let engine = secured(&options, &nginx);
    for said in [&b""[..], b"\x16\x03\x01"] {
        let mut client = TcpStream::connect(engine).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client.write_all(said).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"");
    }
    // What is no TLS gets an alert.
    let mut client = TcpStream::connect(engine).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[..1], [21], "{answer:?}");
}

/// A client that wants no other request has another protocol nevertheless: the answer that switches to it is not the connection's end.
#[test]
fn another_protocol_goes_on_behind_the_last_answer() {
    let authority = Authority::new("authority");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let certificate = authority.issue(&["a.example"]).certificate();
    let config = TlsConfig::new(&options(&[certificate], UnknownName::First)).unwrap();
    let engine = engine(ProxyConfig {
        tls: Some(Arc::new(config)),
        ..ProxyConfig::to(&[server.local_addr().unwrap()])
    });
    let server = thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let _head = client.read(&mut [0; 4096]).unwrap();
        let head =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
        client.write_all(head).unwrap();
        let mut said = [0; 5];
        client.read_exact(&mut said).unwrap();
        client.write_all(&said).unwrap();
    });
    let mut client = connect(engine, &authority);
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade, close\r\nUpgrade: echo\r\n\r\nbytes";
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nbytes"), "{answer}");
    server.join().unwrap();
}
