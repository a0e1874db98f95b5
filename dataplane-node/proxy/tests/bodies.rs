//! Bodies through the engine, both ways: the same to the last bit, however they are framed and cut.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use lbfabric_proxy::ProxyConfig;
use proptest::{prelude::*, sample::select};
use worker::engine;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
    /// Answers only.
    Close,
}

/// How a body travels: its framing, and the sizes of the parts that it is written in, over and over.
#[derive(Clone, Debug)]
struct Way {
    framing: Framing,
    parts: Vec<usize>,
}

fn way(framings: &'static [Framing]) -> impl Strategy<Value = Way> {
    let parts = prop::collection::vec(prop_oneof![1usize..40, 1usize..20_000], 1..6);
    (select(framings), parts).prop_map(|(framing, parts)| Way { framing, parts })
}

fn body(length: usize) -> Vec<u8> {
    let mut state = length as u64 | 1;
    let byte = || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(byte).take(length).collect()
}

/// Writes a head with the framing's field, and the body.
fn send(to: &mut TcpStream, head: &str, body: &[u8], way: &Way) {
    let field = match way.framing {
        Framing::Length => format!("Content-Length: {}\r\n", body.len()),
        Framing::Chunks => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::Close => String::new(),
    };
    let mut bytes = format!("{head}{field}\r\n").into_bytes();
    let mut parts = way.parts.iter().cycle();
    let mut rest = body;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*parts.next().unwrap()));
        rest = later;
        if way.framing == Framing::Chunks {
            bytes.extend(format!("{:x}\r\n", now.len()).bytes());
            bytes.extend(now);
            bytes.extend(b"\r\n");
        } else {
            bytes.extend(now);
        }
        to.write_all(&bytes).unwrap();
        bytes.clear();
    }
    if way.framing == Framing::Chunks {
        bytes.extend(b"0\r\n\r\n");
    }
    to.write_all(&bytes).unwrap();
    if way.framing == Framing::Close {
        to.shutdown(Shutdown::Write).unwrap();
    }
}

/// A head's lines, and the body behind it.
fn receive(from: &mut BufReader<TcpStream>) -> (Vec<String>, Vec<u8>) {
    let mut line = || {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "{line:?}");
        line.trim_end().to_owned()
    };
    let head: Vec<String> = std::iter::repeat_with(&mut line)
        .take_while(|it| !it.is_empty())
        .collect();
    let value = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
    let mut body = Vec::new();
    if let Some(length) = value("Content-Length: ") {
        body.resize(length.parse().unwrap(), 0);
        from.read_exact(&mut body).unwrap();
    } else if value("Transfer-Encoding: chunked").is_some() {
        loop {
            let mut size = String::new();
            from.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let at = body.len();
            body.resize(at + size + 2, 0);
            from.read_exact(&mut body[at..]).unwrap();
            assert_eq!(body.split_off(at + size), b"\r\n");
            if size == 0 {
                break;
            }
        }
    } else {
        from.read_to_end(&mut body).unwrap();
    }
    (head, body)
}

/// A server that gives every body back, in this way.
fn echo(way: Way) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let (_, body) = receive(&mut BufReader::new(client.try_clone().unwrap()));
        send(&mut client, "HTTP/1.1 200 OK\r\n", &body, &way);
    });
    address
}

fn check(length: usize, there: &Way, back: &Way) {
    let engine = engine(ProxyConfig::to(&[echo(back.clone())]));
    let mut client = TcpStream::connect(engine).unwrap();
    client
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let sent = body(length);
    send(&mut client, "POST / HTTP/1.1\r\nHost: a\r\n", &sent, there);
    let (head, received) = receive(&mut BufReader::new(client));
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    assert!(
        received == sent,
        "{length} bytes, {there:?}, {back:?}: {} came back",
        received.len()
    );
}

const THERE: &[Framing] = &[Framing::Length, Framing::Chunks];
const BACK: &[Framing] = &[Framing::Length, Framing::Chunks, Framing::Close];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn they_come_back_as_they_were(
        length in prop_oneof![0usize..20, 16_000usize..17_000, 0usize..600_000],
        there in way(THERE),
        back in way(BACK),
    ) {
        check(length, &there, &back);
    }
}

#[test]
fn large_ones_come_back_as_they_were() {
    for (there, back) in [
        (Framing::Length, Framing::Length),
        (Framing::Chunks, Framing::Close),
    ] {
        let way = |framing| Way {
            framing,
            parts: vec![100_000],
        };
        check(64 << 20, &way(there), &way(back));
    }
}
