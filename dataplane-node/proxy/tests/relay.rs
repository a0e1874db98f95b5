//! TCP through the engine: the same to the last bit, in both directions, and ended on one side as on the other.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "engine/worker.rs"]
mod worker;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use lbfabric_proxy::{PoolConfig, Protocol, ProxyConfig, Timeouts};
use nix::sys::socket::{MsgFlags, send};
use proptest::prelude::*;
use socket2::SockRef;
use worker::engine;

const PATIENCE: Duration = Duration::from_secs(30);

fn to(servers: &[SocketAddr]) -> ProxyConfig {
    ProxyConfig {
        protocol: Protocol::Tcp,
        pools: vec![PoolConfig::of(servers)],
        ..ProxyConfig::default()
    }
}

/// Both ends of a connection through an engine.
fn connected(tunnel: Duration) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ProxyConfig {
        timeouts: Timeouts {
            tunnel,
            ..Timeouts::default()
        },
        ..to(&[listener.local_addr().unwrap()])
    };
    let client = TcpStream::connect(engine(config)).unwrap();
    let (server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed << 1 | 1;
    let byte = || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(byte).take(length).collect()
}

/// How one side writes.
#[derive(Clone, Debug)]
struct Way {
    length: usize,
    /// Sizes of the parts that it is written in, over and over.
    parts: Vec<usize>,
}

/// Writes everything and closes the direction.
fn write(mut to: &TcpStream, way: &Way, seed: u64) {
    let all = bytes(way.length, seed);
    let mut rest = &all[..];
    for part in way.parts.iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(*part));
        to.write_all(now).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).unwrap();
}

fn read(mut from: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

fn check(there: &Way, back: &Way) {
    let (client, server) = connected(Timeouts::default().tunnel);
    let (at_server, at_client) = thread::scope(|scope| {
        scope.spawn(|| write(&client, there, 1));
        scope.spawn(|| write(&server, back, 2));
        let at_server = scope.spawn(|| read(&server));
        (at_server.join().unwrap(), read(&client))
    });
    assert!(at_server == bytes(there.length, 1), "{there:?}, {back:?}");
    assert!(at_client == bytes(back.length, 2), "{there:?}, {back:?}");
}

fn way() -> impl Strategy<Value = Way> {
    let length = prop_oneof![
        0usize..20,
        65_000usize..66_000,
        0usize..300_000,
        0usize..5_000_000
    ];
    let parts = prop::collection::vec(prop_oneof![100usize..2_000, 1usize..200_000], 1..6);
    (length, parts).prop_map(|(length, parts)| Way { length, parts })
}

/// Where one side stops in the middle, and what of it.
#[derive(Clone, Copy, Debug)]
struct Early {
    /// Bytes that it has read by then.
    read: usize,
    of_client: bool,
    resets: bool,
}

fn early() -> impl Strategy<Value = Early> {
    let read = prop_oneof![0usize..70_000, 0usize..4_000_000];
    (read, any::<bool>(), any::<bool>()).prop_map(|(read, of_client, resets)| Early {
        read,
        of_client,
        resets,
    })
}

/// More than all the buffers on the way.
static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| bytes(64 << 20, 3));

/// One side writes on and on, and the other goes away in the middle: the writer hears of it.
fn check_early(early: Early) {
    let (client, server) = connected(Timeouts::default().tunnel);
    let (mut leaver, stayer) = if early.of_client {
        (client, server)
    } else {
        (server, client)
    };
    let all = &*ALL;
    thread::scope(|scope| {
        let writer = scope.spawn(|| (&stayer).write_all(all));
        let mut got = vec![0; early.read];
        leaver.read_exact(&mut got).unwrap();
        assert!(got == all[..early.read], "{early:?}");
        if early.resets {
            SockRef::from(&leaver)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        drop(leaver);
        let error = writer.join().unwrap().expect_err("nobody reads it");
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "{early:?}: {error}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn everything_arrives_as_it_was(there in way(), back in way()) {
        check(&there, &back);
    }

    #[test]
    fn a_side_that_goes_away_ends_the_other(early in early()) {
        check_early(early);
    }
}

#[test]
fn large_ones_arrive_as_they_were() {
    let way = |length, parts: &[usize]| Way {
        length,
        parts: parts.to_vec(),
    };
    check(&way(64 << 20, &[1 << 20]), &way(0, &[1]));
    check(&way(3, &[1]), &way(64 << 20, &[100_000, 7]));
    check(&way(20 << 20, &[333_333]), &way(30 << 20, &[1 << 20]));
}

/// Beside the end of the other direction, which comes much earlier, and in the splicing part as well.
#[test]
fn directions_end_by_themselves() {
    for first in [10, 300_000] {
        let (client, server) = connected(Timeouts::default().tunnel);
        let short = Way {
            length: first,
            parts: vec![first],
        };
        write(&client, &short, 4);
        assert!(read(&server) == bytes(first, 4));
        // The server answers only then, in pieces that wait for each other.
        for round in 0..50 {
            let piece = bytes(5_000, round);
            (&server).write_all(&piece).unwrap();
            let mut got = vec![0; piece.len()];
            (&client).read_exact(&mut got).unwrap();
            assert!(got == piece);
        }
        drop(server);
        assert!(read(&client).is_empty());
    }
}

/// Waits for a side to hear that its connection is over, and tells how.
fn ended(mut socket: &TcpStream) -> ErrorKind {
    match socket.read(&mut [0]) {
        Ok(0) => ErrorKind::UnexpectedEof,
        Ok(_) => panic!("nothing was sent"),
        Err(error) => error.kind(),
    }
}

#[test]
fn a_reset_is_a_reset_on_the_other_side() {
    for after in [0, 200_000] {
        for of_client in [true, false] {
            for half_closed in [true, false] {
                let (client, server) = connected(Timeouts::default().tunnel);
                let (leaver, stayer) = if of_client {
                    (client, server)
                } else {
                    (server, client)
                };
                thread::scope(|scope| {
                    scope.spawn(|| (&leaver).write_all(&bytes(after, 5)).unwrap());
                    let mut got = vec![0; after];
                    (&stayer).read_exact(&mut got).unwrap();
                });
                if half_closed {
                    // Nobody reads from this side any more.
                    leaver.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(ended(&stayer), ErrorKind::UnexpectedEof);
                }
                SockRef::from(&leaver)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                drop(leaver);
                // Without a word from the other side, which reads no more if it was told of an end.
                let begun = Instant::now();
                let error = loop {
                    if let Some(error) = stayer.take_error().unwrap() {
                        break error.kind();
                    }
                    assert!(begun.elapsed() < PATIENCE, "{after} {half_closed}");
                    thread::sleep(Duration::from_millis(1));
                };
                let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(kinds.contains(&error), "{error}");
            }
        }
    }
}

#[test]
fn silence_ends_and_a_word_in_either_direction_is_none() {
    let idle = Duration::from_secs(1);
    let (mut client, mut server) = connected(idle);
    for round in 0..8 {
        let (from, to) = if round % 2 == 0 {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        // What is waited for is time itself.
        thread::sleep(idle / 4);
        from.write_all(b"x").unwrap();
        to.read_exact(&mut [0]).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(ended(&client), ErrorKind::ConnectionReset);
    assert!(begun.elapsed() >= idle * 9 / 10, "{:?}", begun.elapsed());
    assert_eq!(ended(&server), ErrorKind::ConnectionReset);
}

/// `splice` does not pass an urgent byte, and does not say so.
#[test]
fn urgent_bytes_stay_in_their_places() {
    for before in [10, 70_000, 300_000] {
        let (client, mut server) = connected(Timeouts::default().tunnel);
        let (first, then) = (bytes(before, 6), bytes(100_000, 7));
        let received = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                (&client).write_all(&first).unwrap();
                let sent = send(client.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
                assert_eq!(sent, 1);
            });
            let mut received = vec![0; before + 1];
            server.read_exact(&mut received).unwrap();
            sender.join().unwrap();
            received
        });
        assert!(received == [&first[..], b"!"].concat(), "{before}");
        thread::scope(|scope| {
            scope.spawn(|| (&client).write_all(&then).unwrap());
            let mut received = vec![0; then.len()];
            server.read_exact(&mut received).unwrap();
            assert!(received == then, "{before}");
        });
    }
}

#[test]
fn a_server_that_refuses_is_passed_over() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let both = engine(to(&[gone, there.local_addr().unwrap()]));
    for _ in 0..4 {
        let mut client = TcpStream::connect(both).unwrap();
        client.write_all(b"x").unwrap();
        let (mut server, _) = there.accept().unwrap();
        server.read_exact(&mut [0]).unwrap();
    }
    for servers in [&[gone][..], &[]] {
        let client = TcpStream::connect(engine(to(servers))).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(ended(&client), ErrorKind::ConnectionReset);
    }
}
