//! Behind proxies that say whose connections theirs are, and ahead of servers that are told.
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use lbfabric_model::Prefix;
use lbfabric_proxy::{
    ForwardedConfig, PoolConfig, Protocol, ProxyConfig, Timeouts,
    http1::ForwardedPolicy,
    proxy_protocol::{
        Extras, Header, Origin, Others, ProxyProtocolConfig, Tls, Version, read, write,
    },
};
use socket2::{Domain, Socket, Type};

use crate::{nginx::Nginx, worker::engine};

const PATIENCE: Duration = Duration::from_secs(20);
const VERSIONS: [Version; 2] = [Version::One, Version::Two];

fn to(server: SocketAddr, proxy_protocol: ProxyProtocolConfig) -> ProxyConfig {
    ProxyConfig {
        pools: vec![PoolConfig::of(&[server])],
        forwarded: ForwardedConfig {
            x_forwarded: ForwardedPolicy::Replace,
            forwarded: ForwardedPolicy::Leave,
        },
        proxy_protocol,
        ..ProxyConfig::default()
    }
}

/// From proxies on this machine's loopback, but for 127.0.0.2 and the like.
fn from_proxies(others: Others) -> ProxyProtocolConfig {
    ProxyProtocolConfig {
        sources: vec![Prefix::new([127, 0, 0, 1].into(), 32).unwrap()],
        others,
        send: None,
    }
}

fn told(version: Version) -> ProxyProtocolConfig {
    ProxyProtocolConfig {
        send: Some(version),
        ..ProxyProtocolConfig::default()
    }
}

fn header(version: Version, origin: Origin, is_tls: bool) -> Vec<u8> {
    let tls = Tls {
        is_used: is_tls,
        ..Tls::default()
    };
    let extras = Extras {
        tls: is_tls.then_some(tls),
        ..Extras::default()
    };
    let mut bytes = Vec::new();
    let header = Header {
        version,
        origin,
        extras,
    };
    write(&mut bytes, &header);
    bytes
}

fn client(client: &str) -> Origin {
    Origin::Client {
        client: client.parse().unwrap(),
        service: "[2001:db8::2]:443".parse().unwrap(),
        is_datagram: false,
    }
}

/// From one of this machine's addresses 127.0.0.x.
fn connect(from: u8, engine: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from(([127, 0, 0, from], 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&engine.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

/// Asks for a path and reads the answer's body, which is a line.
fn ask(client: &mut TcpStream, before: &[u8], path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client
        .write_all(&[before, request.as_bytes()].concat())
        .unwrap();
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = client.read(&mut part).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&part[..count]);
        let text = String::from_utf8(answer.clone()).unwrap();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(body) = body.and_then(|body| body.strip_suffix('\n')) {
            return body.to_owned();
        }
    }
}

fn is_reset(mut client: &TcpStream) -> bool {
    let error = client.read(&mut [0]).map_err(|error| error.kind());
    error == Err(ErrorKind::ConnectionReset)
}

#[test]
fn a_header_says_who_the_client_is() {
    let nginx = Nginx::start();
    let engine = engine(to(nginx.address, from_proxies(Others::Served)));
    for version in VERSIONS {
        for (origin, is_tls, expected) in [
            (client("[2001:db8::1]:7"), false, "2001:db8::1|http||a"),
            (client("192.0.2.1:7"), false, "192.0.2.1|http||a"),
            (
                client("192.0.2.1:7"),
                version == Version::Two,
                match version {
                    Version::One => "192.0.2.1|http||a",
                    Version::Two => "192.0.2.1|https||a",
                },
            ),
            (Origin::Unknown, false, "127.0.0.1|http||a"),
            (Origin::Proxy, false, "127.0.0.1|http||a"),
        ] {
            let header = header(version, origin, is_tls);
            let mut whole = connect(1, engine);
            assert_eq!(ask(&mut whole, &header, "/seen"), expected);
            // It is said of the connection: for all its requests.
            assert_eq!(ask(&mut whole, b"", "/seen"), expected);
            let mut in_parts = connect(1, engine);
            for byte in &header {
                in_parts.write_all(&[*byte]).unwrap();
            }
            assert_eq!(ask(&mut in_parts, b"", "/seen"), expected);
        }
    }
    // One that a real client writes.
    let curl = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--haproxy-protocol"])
        .arg(format!("http://{engine}/seen"))
        .output()
        .unwrap();
    let expected = format!("127.0.0.1|http||{engine}\n");
    assert_eq!(String::from_utf8(curl.stdout).unwrap(), expected);
}

#[test]
fn a_header_is_required_of_proxies_and_believed_of_nobody_else() {
    let nginx = Nginx::start();
    let limited = ProxyConfig {
        timeouts: Timeouts {
            head: Duration::from_millis(300),
            ..Timeouts::default()
        },
        ..to(nginx.address, from_proxies(Others::Served))
    };
    let served = engine(limited);
    let sound = header(Version::Two, client("192.0.2.1:7"), false);
    let mut wrong = sound.clone();
    wrong[13] = 0x13;
    for bad in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &wrong[..],
        &sound[..20],
        b"",
    ] {
        let mut proxy = connect(1, served);
        proxy.write_all(bad).unwrap();
        assert!(is_reset(&proxy), "{bad:?}");
    }
    let mut other = connect(2, served);
    assert_eq!(ask(&mut other, b"", "/seen"), "127.0.0.2|http||a");
    // It is what the client says, and no request.
    let mut other = connect(2, served);
    other.write_all(&sound).unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");

    let refused = engine(to(nginx.address, from_proxies(Others::Refused)));
    assert!(is_reset(&connect(2, refused)));
    let mut proxy = connect(1, refused);
    assert_eq!(ask(&mut proxy, &sound, "/seen"), "192.0.2.1|http||a");
}

#[test]
fn a_real_server_hears_who_its_clients_are() {
    let nginx = Nginx::start();
    for version in VERSIONS {
        let engine = engine(to(nginx.proxied, told(version)));
        let (mut one, mut other) = (connect(2, engine), connect(3, engine));
        let mut connections = Vec::new();
        for client in [&mut one, &mut other] {
            let from = client.local_addr().unwrap();
            let seen = ask(client, b"", "/");
            let expected = format!("{from} {engine} ");
            let connection = seen.strip_prefix(&expected);
            connections.push(connection.expect(&seen).to_owned());
        }
        assert_ne!(connections[0], connections[1]);
        // Each goes on over its own.
        for _ in 0..3 {
            for (client, connection) in [&mut one, &mut other].into_iter().zip(&connections) {
                let seen = ask(client, b"", "/");
                assert!(seen.ends_with(&format!(" {connection}")), "{seen}");
            }
        }
        // What one leaves is for nobody.
        drop(one);
        let mut third = connect(4, engine);
        let from = third.local_addr().unwrap();
        assert!(ask(&mut third, b"", "/").starts_with(&format!("{from} ")));
    }
}

/// From one engine to the next, and to a server: what the first one saw.
#[test]
fn headers_go_through_several() {
    let nginx = Nginx::start();
    for first in VERSIONS {
        for protocol in [Protocol::Http, Protocol::Tcp] {
            let inner = engine(ProxyConfig {
                protocol,
                ..to(
                    nginx.proxied,
                    ProxyProtocolConfig {
                        send: Some(Version::Two),
                        ..from_proxies(Others::Refused)
                    },
                )
            });
            let outer = engine(ProxyConfig {
                protocol,
                ..to(inner, told(first))
            });
            let mut client = connect(5, outer);
            let from = client.local_addr().unwrap();
            let seen = ask(&mut client, b"", "/");
            assert!(seen.starts_with(&format!("{from} {outer} ")), "{seen}");
        }
    }
}

/// Not a byte of either is lost where they meet.
#[test]
fn relayed_connections_begin_with_a_header_of_their_own() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(ProxyConfig {
        protocol: Protocol::Tcp,
        ..to(
            server.local_addr().unwrap(),
            ProxyProtocolConfig {
                send: Some(Version::One),
                ..from_proxies(Others::Served)
            },
        )
    });
    let origin = client("192.0.2.1:7");
    let mut proxy = connect(1, engine);
    let bytes = [&header(Version::Two, origin, true)[..], b"PROXY bytes"].concat();
    proxy.write_all(&bytes).unwrap();
    proxy.shutdown(std::net::Shutdown::Write).unwrap();
    let (mut behind, _) = server.accept().unwrap();
    behind.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    behind.read_to_end(&mut got).unwrap();
    let (header, length) = read(&got).unwrap().unwrap();
    assert_eq!(header.version, Version::One);
    let mapped = "[::ffff:192.0.2.1]:7".parse().unwrap();
    let service = "[2001:db8::2]:443".parse().unwrap();
    let expected = Origin::Client {
        client: mapped,
        service,
        is_datagram: false,
    };
    assert_eq!(header.origin, expected);
    assert_eq!(&got[length..], b"PROXY bytes");
}

/// A proxy that opens a connection and says nothing does not keep it.
#[test]
fn a_header_is_not_waited_for_too_long() {
    let nginx = Nginx::start();
    let limit = Duration::from_millis(300);
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            head: limit,
            ..Timeouts::default()
        },
        ..to(nginx.address, from_proxies(Others::Served))
    });
    let begun = Instant::now();
    let mut proxy = connect(1, engine);
    proxy.write_all(b"PROXY ").unwrap();
    assert!(is_reset(&proxy));
    assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
}
