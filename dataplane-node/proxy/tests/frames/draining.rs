//! A service that goes tells its clients so in two steps, RFC 9113 section 6.8, and answers what they have asked.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use lbfabric_proxy::{Engine, EngineConfig, EngineService, ServiceKey};

use super::{
    to,
    wire::{ACK, Client, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM},
};

const GET: [(&[u8], &[u8]); 4] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"a"),
];

/// A server that answers when it is told to; it says when it has been asked.
fn waiting() -> (SocketAddr, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, is_asked) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Arc::new(Mutex::new(may_go));
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (asked, may_go) = (asked.clone(), may_go.clone());
            thread::spawn(move || {
                let mut request = [0; 4096];
                while client.read(&mut request).is_ok_and(|count| count > 0) {
                    asked.send(()).unwrap();
                    may_go.lock().unwrap().recv().unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    client.write_all(answer).unwrap();
                }
            });
        }
    });
    (address, is_asked, go)
}

#[test]
fn a_service_that_goes_answers_what_was_asked() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, is_asked, go) = waiting();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let engine = Engine::start(1, Duration::from_secs(20)).unwrap();
    let service = EngineService {
        listen: vec![address],
        steered: Vec::new(),
        proxy: Arc::new(to(server)),
    };
    let config = EngineConfig {
        services: [(ServiceKey { id: 1, part: 0 }, service)].into(),
        ..EngineConfig::default()
    };
    assert!(runtime.block_on(engine.apply(config)).is_empty());
    let mut client = Client::connect(address);
    client.request(1, END_STREAM, &GET);
    is_asked.recv().unwrap();
    let gone = runtime.block_on(engine.apply(EngineConfig::default()));
    assert!(gone.is_empty());
    let first = client.next_of(&[GOAWAY]).unwrap();
    assert_eq!(first.payload[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    // What was sent before the client has read that is served still.
    client.request(3, END_STREAM, &GET);
    let ping = client.next_of(&[PING]).unwrap();
    client.send(PING, ACK, 0, &ping.payload).unwrap();
    let last = client.next_of(&[GOAWAY]).unwrap();
    assert_eq!(last.payload[..8], [0, 0, 0, 3, 0, 0, 0, 0]);
    for _ in 0..2 {
        go.send(()).unwrap();
        let answer = client.next_of(&[HEADERS, RST_STREAM, GOAWAY]).unwrap();
        assert_eq!(answer.kind, HEADERS);
    }
    while let Some(frame) = client.next() {
        assert_ne!(frame.kind, RST_STREAM);
    }
}
