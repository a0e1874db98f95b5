//! TLS that is passed through by the name of the server: real clients on one side, real servers on the other.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

#[path = "passthrough/servers.rs"]
mod servers;
#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use lbfabric_proxy::{
    PoolConfig, Protocol, ProxyConfig, ServerNames, SniRoute, SniTable, Timeouts, Unrouted,
    proxy_protocol::{ProxyProtocolConfig, Version, read},
};
use servers::Servers;
use worker::engine;

const PATIENCE: Duration = Duration::from_secs(20);
const ONE: &str = "one.example";
const OTHER: &str = "other.example";
const REST: &str = "rest.example";

/// `ONE` to the first, all below `OTHER` to the second, and the rest as said.
fn to(servers: &[SocketAddr], rest: &[SocketAddr], unrouted: Unrouted) -> ProxyConfig {
    let names = [ONE, "*.other.example"].map(|it| ServerNames::parse(it).unwrap());
    // Behind the pool of the rest.
    let routes = names.into_iter().zip(1..);
    let routes = routes.map(|(names, pool)| SniRoute { names, pool });
    let pools = servers.iter().enumerate().map(|(at, server)| PoolConfig {
        name: format!("named {at}"),
        ..PoolConfig::of(&[*server])
    });
    ProxyConfig {
        protocol: Protocol::TlsPassthrough,
        pools: [PoolConfig::of(rest)].into_iter().chain(pools).collect(),
        sni: Arc::new(SniTable::new(routes, unrouted)),
        ..ProxyConfig::default()
    }
}

/// Asks with curl, which checks the certificate.
fn curl(servers: &Servers, engine: SocketAddr, name: &str, of: &str, more: &[&str]) -> Output {
    let port = engine.port();
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(servers.certificate(of))
        .args(["--resolve", &format!("{name}:{port}:{}", engine.ip())])
        .args(more)
        .arg(format!("https://{name}:{port}/"))
        .output()
        .expect("curl is installed")
}

/// What `openssl s_client` says, without a request.
fn s_client(engine: SocketAddr, more: &[&str]) -> Output {
    Command::new("openssl")
        .args(["s_client", "-connect", &engine.to_string()])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed")
}

#[test]
fn clients_get_the_server_that_they_name() {
    let servers = Servers::start(&[ONE, OTHER, REST]);
    let [one, other, rest] = servers.addresses[..] else {
        panic!("there are three");
    };
    let engine = engine(to(&[one, other], &[rest], Unrouted::Served));
    for (name, of) in [
        (ONE, ONE),
        ("a.other.example", OTHER),
        ("A.Other.Example", OTHER),
    ] {
        for (more, protocol) in [
            (&["--http1.1", "--tls-max", "1.2"][..], "HTTP/1.1"),
            (&["--http1.1", "--tlsv1.3"], "HTTP/1.1"),
            (&["--http2"], "HTTP/2.0"),
        ] {
            let output = curl(&servers, engine, name, of, more);
            let said = String::from_utf8(output.stdout).unwrap();
            // The server sees the name as the client has written it, or as curl does.
            let expected = format!("{of} {} {protocol}\n", name.to_lowercase());
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said.to_lowercase(), expected.to_lowercase(), "{error}");
        }
    }
    // No route is for these.
    for name in [REST, OTHER, "a.one.example"] {
        let output = curl(&servers, engine, name, REST, &["--insecure"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("rest.example "), "{name}: {output:?}");
    }
    for (more, of) in [
        (&["-servername", ONE, "-alpn", "h2"][..], ONE),
        (&["-servername", "x.y.other.example", "-tls1_2"], OTHER),
        (
            &[
                "-servername",
                ONE,
                "-tls1_3",
                "-curves",
                "X448:P-521:X25519",
            ],
            ONE,
        ),
        (&["-noservername"], REST),
    ] {
        let output = s_client(engine, more);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains(&format!("subject=CN = {of}\n")),
            "{more:?}: {said}"
        );
    }
}

#[test]
fn unknown_names_get_an_alert() {
    let servers = Servers::start(&[ONE, OTHER]);
    let [one, other] = servers.addresses[..] else {
        panic!("there are two");
    };
    let engine = engine(to(&[one, other], &[one], Unrouted::Refused));
    for more in [
        &["-servername", "unknown.example"][..],
        &["-servername", "unknown.example", "-tls1_2"],
        &["-noservername"],
    ] {
        let output = s_client(engine, more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("unrecognized name"), "{more:?}: {said}");
        assert!(!output.status.success());
    }
    let output = curl(&servers, engine, ONE, ONE, &[]);
    assert!(output.status.success(), "{output:?}");
}

/// What a real client says first, to a server with this name.
fn hello(name: &str) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let name = name.to_owned();
    let client = thread::spawn(move || s_client(address, &["-servername", &name]));
    let (mut socket, _) = listener.accept().unwrap();
    let mut bytes = vec![0; 16 << 10];
    let mut length = 0;
    // Its record's length is in its fourth and fifth bytes.
    while length < 5 || length < 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]])) {
        length += socket.read(&mut bytes[length..]).unwrap();
    }
    drop(socket);
    client.join().unwrap();
    bytes.truncate(length);
    bytes
}

/// The same message, in records of one byte.
fn in_small_records(hello: &[u8]) -> Vec<u8> {
    let record = |byte: &u8| [22, 3, 1, 0, 1, *byte];
    hello[5..].iter().flat_map(record).collect()
}

fn connect(engine: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(engine).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// However it comes, and with what the client says without waiting.
#[test]
fn a_hello_arrives_as_it_was() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(ProxyConfig {
        proxy_protocol: ProxyProtocolConfig {
            send: Some(Version::Two),
            ..ProxyProtocolConfig::default()
        },
        ..to(&[server.local_addr().unwrap()], &[], Unrouted::Refused)
    });
    let hello = hello("ONE.example");
    for bytes in [hello.clone(), in_small_records(&hello)] {
        for part in [1, 100, 100_000] {
            let whole = [&bytes[..], b"early data"].concat();
            let mut client = connect(engine);
            for now in whole.chunks(part) {
                client.write_all(now).unwrap();
            }
            client.shutdown(Shutdown::Write).unwrap();
            let (mut socket, _) = server.accept().unwrap();
            let mut got = Vec::new();
            socket.read_to_end(&mut got).unwrap();
            // The server is told whom the client has named.
            let (header, length) = read(&got).unwrap().unwrap();
            assert_eq!(header.extras.authority, Some(ONE));
            assert!(got[length..] == whole, "in parts of {part}");
        }
    }
}

#[test]
fn what_is_no_hello_reaches_no_server() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            head: Duration::from_millis(300),
            ..Timeouts::default()
        },
        ..to(&[address], &[address], Unrouted::Served)
    });
    let sound = hello(ONE);
    let mut lying = sound.clone();
    // The length of the session's identifier.
    lying[5 + 4 + 2 + 32] = 33;
    for (bytes, answer) in [
        (
            &b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n"[..],
            &b""[..],
        ),
        (&lying, &[21, 3, 3, 0, 2, 2, 50]),
        (&[22, 3, 1, 0, 0], &[21, 3, 3, 0, 2, 2, 22]),
        (&[22, 3, 1, 0, 4, 2, 0, 0, 0], &[21, 3, 3, 0, 2, 2, 10]),
    ] {
        let mut client = connect(engine);
        client.write_all(bytes).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, answer);
    }
    // One that stops in the middle is not waited for.
    let mut client = connect(engine);
    client.write_all(&sound[..sound.len() - 1]).unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err(), "nothing has been sent on");
}
