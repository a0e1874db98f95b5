//! Clients that make work without asking for anything. Each is told to calm down, and the engine serves others meanwhile.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use lbfabric_proxy::{Http2Config, ProxyConfig, Timeouts};

use super::{
    server::Server,
    to,
    wire::{
        ACK, CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    },
    worker::engine,
};

const ENHANCE_YOUR_CALM: u32 = 11;
const NO_ERROR: u32 = 0;
const CANCEL: [u8; 4] = 8u32.to_be_bytes();

/// Sends a part of one, the n-th.
type Flood = fn(&mut Client, u32) -> std::io::Result<()>;

const GET: [(&[u8], &[u8]); 4] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"a"),
];

/// Whether a client is answered.
fn is_served(engine: SocketAddr, server: &Server) -> bool {
    let mut client = Client::connect(engine);
    client.request(1, END_STREAM, &GET);
    let answer = client.next_of(&[HEADERS, GOAWAY]);
    let is_answered = answer.is_some_and(|it| it.kind == HEADERS && it.status() == 200);
    is_answered && server.request() == "GET / a none"
}

/// Sends until the engine does not take it any more, and says why it does not.
fn flooded(
    engine: SocketAddr,
    mut send: impl FnMut(&mut Client, u32) -> std::io::Result<()> + Send,
) -> Option<u32> {
    let mut client = Client::connect(engine);
    let mut writer = client.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Far more than any allowance, and an end to a test that fails.
            (0..200_000).try_for_each(|n| send(&mut writer, n))
        });
        client.next_of(&[GOAWAY]).map(|frame| frame.code())
    })
}

#[test]
fn floods_end_with_a_goaway() {
    let server = Server::start();
    let engine = engine(to(server.address));
    let floods: [(&str, Flood); 9] = [
        ("rapid reset", |client, n| {
            let stream = 2 * n + 1;
            let request =
                super::wire::frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
            let reset = super::wire::frame(RST_STREAM, 0, stream, &CANCEL);
            client.bytes(&[request, reset].concat())
        }),
        ("ping", |client, _| client.send(PING, 0, 0, &[0; 8])),
        ("answered ping", |client, _| {
            client.send(PING, ACK, 0, &[0; 8])
        }),
        ("settings", |client, _| client.send(SETTINGS, 0, 0, b"")),
        ("table sizes", |client, n| {
            let size = u8::try_from(n % 2).unwrap();
            client.send(SETTINGS, 0, 0, &[0, 1, 0, 0, size, 0])
        }),
        ("priority", |client, _| {
            client.send(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])
        }),
        ("small window updates", |client, _| {
            client.send(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())
        }),
        ("unknown frames", |client, _| client.send(0x42, 0, 0, b"x")),
        ("empty data", |client, n| {
            if n == 0 {
                client.request(1, 0, &GET);
            }
            client.send(DATA, 0, 1, b"")
        }),
    ];
    for (name, send) in floods {
        assert_eq!(flooded(engine, send), Some(ENHANCE_YOUR_CALM), "{name}");
        assert!(is_served(engine, &server), "{name}");
    }
}

#[test]
fn header_blocks_end() {
    let server = Server::start();
    let engine = engine(to(server.address));
    let part = block(&[(b"x-y", &[b'z'; 1000])]);
    let begin = |client: &mut Client, n: u32| match n {
        0 => Some(client.send(HEADERS, END_STREAM, 1, &block(&GET))),
        _ => None,
    };
    let calmed = flooded(engine, |client, n| {
        begin(client, n).unwrap_or_else(|| client.send(CONTINUATION, 0, 1, &part))
    });
    assert_eq!(calmed, Some(ENHANCE_YOUR_CALM));
    let calmed = flooded(engine, |client, n| {
        begin(client, n).unwrap_or_else(|| client.send(CONTINUATION, 0, 1, b""))
    });
    assert_eq!(calmed, Some(ENHANCE_YOUR_CALM));
    // A field that is long once, and then said in one byte many times.
    let calmed = flooded(engine, |client, n| {
        let mut bomb = block(&GET);
        bomb.extend([0x40, 1, b'x', 0x7f, 0x80 + 0x01, 30]);
        bomb.extend([b'z'; 127 + 1 + 30 * 128]);
        bomb.extend([0xbe; 12_000]);
        client.send(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &bomb)
    });
    assert_eq!(calmed, Some(ENHANCE_YOUR_CALM));
    assert!(is_served(engine, &server));
}

/// More requests at a time than are allowed are refused, and none of them reaches a server.
#[test]
fn streams_at_a_time_are_limited() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ProxyConfig {
        http2: Http2Config {
            streams: 10,
            ..Http2Config::default()
        },
        ..to(silent.local_addr().unwrap())
    };
    let mut client = Client::connect(engine(config));
    let settings = client.next_of(&[SETTINGS]).unwrap();
    // SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113 section 6.5.2.
    let is_said = settings
        .payload
        .chunks(6)
        .any(|it| it == [0, 3, 0, 0, 0, 10]);
    assert!(is_said, "{settings:?}");
    client.send(SETTINGS, ACK, 0, b"").unwrap();
    for n in 0..15 {
        client.request(2 * n + 1, END_STREAM, &GET);
    }
    for n in 10..15 {
        let refused = client.next_of(&[RST_STREAM, GOAWAY, HEADERS]).unwrap();
        assert_eq!((refused.kind, refused.stream), (RST_STREAM, 2 * n + 1));
        // REFUSED_STREAM.
        assert_eq!(refused.code(), 7);
    }
}

#[test]
fn a_connection_without_requests_ends_in_order() {
    let server = Server::start();
    let engine = engine(ProxyConfig {
        timeouts: Timeouts {
            idle: Duration::from_millis(300),
            ..Timeouts::default()
        },
        ..to(server.address)
    });
    let mut client = Client::connect(engine);
    client.request(1, END_STREAM, &GET);
    assert_eq!(client.next_of(&[HEADERS]).unwrap().status(), 200);
    // Frames that ask for nothing do not count, and neither does a header block that does not end.
    client.send(HEADERS, END_STREAM, 3, &block(&GET)).unwrap();
    // The first says that no more are wanted, the second which were seen: RFC 9113 section 6.8.
    let first = client.next_of(&[GOAWAY]).unwrap();
    assert_eq!(first.code(), NO_ERROR);
    assert_eq!(first.payload[..4], 0x7fff_ffffu32.to_be_bytes());
    while client.next().is_some() {}
}

/// A client that is gone without a word is asked, and then let go of.
#[test]
fn who_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ProxyConfig {
        http2: Http2Config {
            keep_alive: Duration::from_millis(200),
            keep_alive_timeout: Duration::from_millis(500),
            ..Http2Config::default()
        },
        ..to(silent.local_addr().unwrap())
    };
    let engine = engine(config);
    let mut client = Client::connect(engine);
    client.request(1, END_STREAM, &GET);
    let ask = client.next_of(&[PING]).unwrap();
    assert_eq!(ask.flags & ACK, 0);
    let begun = Instant::now();
    while client.next().is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(10));
    // One that answers may wait for as long as it likes.
    let mut client = Client::connect(engine);
    client.request(1, END_STREAM, &GET);
    for _ in 0..4 {
        let ask = client.next_of(&[PING, GOAWAY]).unwrap();
        assert_eq!(ask.kind, PING);
        client.send(PING, ACK, 0, &ask.payload).unwrap();
    }
}

#[test]
fn what_is_no_preface_is_not_answered_as_one() {
    let server = Server::start();
    let engine = engine(to(server.address));
    let says = |bytes: &[u8]| {
        let mut client = TcpStream::connect(engine).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut client, &mut answer).unwrap();
        answer.escape_ascii().to_string()
    };
    let answer = says(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    // Behind a request of HTTP/1.1 it is none.
    let answer = says(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(answer.contains("HTTP/1.1 505 "), "{answer}");
}
