//! A WebSocket over HTTP/2, RFC 8441: what the server sees is an upgrade of HTTP/1.1.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::Command,
    thread,
};

use super::{
    to,
    wire::{Client, DATA, END_STREAM, HEADERS, RST_STREAM, SETTINGS},
    worker::engine,
};

#[test]
fn a_websocket_goes_both_ways() {
    let (engine, server) = websocket_server(true);
    let mut client = Client::connect(engine);
    let settings = client.next_of(&[SETTINGS]).unwrap();
    // SETTINGS_ENABLE_CONNECT_PROTOCOL.
    let is_said = settings
        .payload
        .chunks(6)
        .any(|it| it == [0, 8, 0, 0, 0, 1]);
    assert!(is_said, "{settings:?}");
    client.request(1, 0, &WEBSOCKET);
    client.send(DATA, 0, 1, b"bytes").unwrap();
    assert_eq!(
        client.next_of(&[HEADERS, RST_STREAM]).unwrap().status(),
        200
    );
    client.send(DATA, END_STREAM, 1, b" and more").unwrap();
    let mut got = Vec::new();
    loop {
        let part = client.next_of(&[DATA, RST_STREAM]).unwrap();
        assert_eq!(part.kind, DATA);
        got.extend(part.payload);
        if part.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(got, b"bytes and more");
    let request = server.join().unwrap();
    assert!(
        request.starts_with("GET /chat HTTP/1.1\r\nHost: a\r\n"),
        "{request}"
    );
    assert!(
        request.contains("Connection: upgrade\r\nUpgrade: websocket\r\n"),
        "{request}"
    );
}

#[test]
fn a_websocket_that_is_not_agreed_on_is_none() {
    let (disagreeing, _server) = websocket_server(false);
    let mut client = Client::connect(disagreeing);
    client.request(1, 0, &WEBSOCKET);
    assert_eq!(client.next_of(&[HEADERS]).unwrap().status(), 502);
    for (answer, status) in [
        // It would look as if it had agreed.
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..], 502),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403),
    ] {
        let mut client = Client::connect(engine(to(answering(answer))));
        client.request(1, 0, &WEBSOCKET);
        assert_eq!(client.next_of(&[HEADERS]).unwrap().status(), status);
    }
}

const WEBSOCKET: [(&[u8], &[u8]); 6] = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat"),
    (b":authority", b"a"),
    (b"sec-websocket-version", b"13"),
];

/// An engine before a server that takes one upgrade, with the right answer to its key or a wrong one, and echoes.
fn websocket_server(is_right: bool) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(to(listener.local_addr().unwrap()));
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = vec![0; 4096];
        let length = client.read(&mut request).unwrap();
        request.truncate(length);
        let request = String::from_utf8(request).unwrap();
        let key = request.split("sec-websocket-key: ").nth(1).unwrap();
        let key = key.split("\r\n").next().unwrap();
        let accept = if is_right {
            accept(key)
        } else {
            accept("another")
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        client.write_all(answer.as_bytes()).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        client.write_all(&rest).unwrap();
        request
    });
    (engine, server)
}

/// By another hand than the engine's. Nothing on the digest's way may take it for text: one in thirteen holds a newline.
fn accept(key: &str) -> String {
    let command = format!(
        "printf %s '{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11' | sha1sum | cut -c1-40 | tr a-f A-F | basenc --base16 --decode --ignore-garbage | base64"
    );
    let output = Command::new("bash")
        .args(["-c", &command])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server that gives this answer.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(client.read(&mut request).unwrap() > 0);
        client.write_all(answer).unwrap();
    });
    address
}
