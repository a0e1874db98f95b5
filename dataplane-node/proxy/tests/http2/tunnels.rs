//! Tunnels to servers of HTTP/2, of which clients of both versions ask in their own way.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use lbfabric_proxy::{OutlierConfig, PoolConfig, ProxyConfig, Timeouts};

use super::{to_http2, tunnel_server::tunnel_server};
use crate::worker::engine;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client of HTTP/1.1 that has asked for a WebSocket, and the head of what it has got.
fn websocket(engine: SocketAddr, path: &str) -> (TcpStream, String) {
    upgrade(
        engine,
        path,
        "websocket",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    )
}

fn upgrade(engine: SocketAddr, path: &str, protocol: &str, fields: &str) -> (TcpStream, String) {
    let mut client = TcpStream::connect(engine).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n{fields}\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    (client, String::from_utf8(head).unwrap())
}

/// What comes until the engine closes.
fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    rest
}

/// RFC 6455 section 1.3 has this answer to this key.
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// More than anybody on the way holds, to a client that reads none of it before all of it is on its way.
#[test]
fn a_client_of_http1_gets_back_all_that_it_sends() {
    let (server, _) = tunnel_server(true);
    let engine = engine(to_http2(&[server]));
    let (client, head) = websocket(engine, "/echo");
    for part in [&SWITCHED[..34], "Upgrade: websocket\r\n", ACCEPT] {
        assert!(head.contains(part), "{head}");
    }
    let sent: Vec<u8> = (0..24_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut sending = client.try_clone().unwrap();
    sending
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut begun = 0;
    // Until nobody takes any more: who does not read is not read from.
    loop {
        match sending.write(&sent[begun..]) {
            Ok(count) => begun += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(begun < sent.len(), "somebody holds all of it");
    }
    sending.set_write_timeout(None).unwrap();
    let mut client = client;
    thread::scope(|scope| {
        scope.spawn(|| {
            sending.write_all(&sent[begun..]).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        assert!(rest(&mut client) == sent);
    });
}

#[test]
fn either_side_may_end_first() {
    let (server, seen) = tunnel_server(true);
    let engine = engine(to_http2(&[server]));
    let (mut client, _) = websocket(engine, "/early");
    assert_eq!(rest(&mut client), b"early");
    client.write_all(&vec![7; 100_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), "100000 bytes");
}

/// What is cut short looks whole to nobody.
#[test]
fn a_reset_is_one_on_the_other_side() {
    let (server, seen) = tunnel_server(true);
    let engine = engine(to_http2(&[server]));
    let (mut client, _) = websocket(engine, "/reset");
    client.write_all(b"once").unwrap();
    let broken = client.read(&mut [0]).unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
    let (client, _) = websocket(engine, "/watch");
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), "CANCEL");
}

#[test]
fn silence_ends_it_on_both_sides() {
    let (server, seen) = tunnel_server(true);
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            tunnel: Duration::from_millis(300),
            ..Timeouts::default()
        },
        ..to_http2(&[server])
    });
    let (mut client, _) = websocket(engine, "/watch");
    let broken = client.read(&mut [0]).unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), "CANCEL");
}

/// Servers that take none over HTTP/2 get it as browsers would send it.
#[test]
fn upgrades_go_over_http1_where_they_must() {
    let (server, seen) = tunnel_server(false);
    let engine = engine(to_http2(&[server]));
    let (mut client, head) = upgrade(engine, "/x", "echo", "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write_all(b"there and back").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"there and back");
    let asked = seen.recv_timeout(PATIENCE).unwrap();
    assert!(asked.starts_with("GET /x HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Upgrade: echo\r\n"), "{asked}");
    let (_client, head) = websocket(engine, "/");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let asked = seen.recv_timeout(PATIENCE).unwrap();
    assert!(
        asked.contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        "{asked}"
    );
    // Requests without one share the connection of HTTP/2.
    let (_client, head) = upgrade(engine, "/", "h2c", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(seen.try_recv().is_err());
}

/// A server that takes none in any way has not failed: a client could have all servers ejected otherwise.
#[test]
fn a_server_without_upgrades_is_not_to_blame() {
    let (server, _) = super::server::server();
    let mut config = to_http2(&[server]);
    config.pools = vec![PoolConfig {
        outliers: Some(OutlierConfig {
            consecutive: 1,
            ejected_percent_max: 100,
            ..OutlierConfig::default()
        }),
        ..config.pools.remove(0)
    }];
    let engine = engine(config);
    for _ in 0..3 {
        let (_, head) = websocket(engine, "/");
        assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
    }
    let (_, head) = upgrade(engine, "/", "h2c", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[test]
fn a_handshake_has_a_key_and_no_body() {
    let (server, _) = tunnel_server(true);
    let engine = engine(to_http2(&[server]));
    for fields in [
        "",
        "Sec-WebSocket-Key: short\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 4\r\n",
    ] {
        let (_, head) = upgrade(engine, "/", "websocket", fields);
        assert!(head.starts_with("HTTP/1.1 400 "), "{fields}: {head}");
    }
}
