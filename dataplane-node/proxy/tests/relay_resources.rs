//! What relayed connections hold, and what becomes of them when there is no more of it. Alone in a process, whose descriptors it counts.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "engine/worker.rs"]
mod worker;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use lbfabric_proxy::{PoolConfig, Protocol, ProxyConfig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use worker::engine;

/// Enough for a direction to have got a pipe.
const MUCH: usize = 400_000;
const CONNECTIONS: usize = 300;
/// Pipes that a worker may keep, of two descriptors each, and one in use.
const PIPES_KEPT: usize = 65 * 2;

/// Descriptors of pipes, counted without opening one.
fn pipes() -> usize {
    let target = |n| fs::read_link(format!("/proc/self/fd/{n}")).ok();
    let targets = (0..4_096).filter_map(target);
    targets
        .filter(|it| it.to_string_lossy().starts_with("pipe:"))
        .count()
}

/// Resident bytes of this process.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

fn across(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(bytes).unwrap());
        let mut got = vec![0; bytes.len()];
        to.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    });
}

#[test]
fn idle_connections_hold_nothing_and_none_needs_a_pipe() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(ProxyConfig {
        protocol: Protocol::Tcp,
        pools: vec![PoolConfig::of(&[listener.local_addr().unwrap()])],
        ..ProxyConfig::default()
    });
    let bytes: Vec<u8> = (0..MUCH).map(|n| n.to_le_bytes()[n % 2]).collect();
    let connect = || {
        let client = TcpStream::connect(engine).unwrap();
        let (server, _) = listener.accept().unwrap();
        across(&client, &server, b"x");
        (client, server)
    };
    let own = pipes();
    let first: Vec<_> = (0..20).map(|_| connect()).collect();

    // Those that a process has anyway take the numbers below.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    for (client, server) in &first {
        across(client, server, &bytes);
    }
    assert_eq!(pipes(), own, "there was no descriptor for one");
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    for (client, server) in &first {
        across(client, server, &bytes);
    }
    assert!(pipes() > own, "they have pipes as soon as they can");
    let before = resident();
    let connections = (0..CONNECTIONS).map(|_| {
        let (client, server) = connect();
        across(&client, &server, &bytes);
        across(&server, &client, &bytes);
        (client, server)
    });
    let idle: Vec<_> = connections.collect();
    assert!(pipes() <= own + PIPES_KEPT, "{} of {own}", pipes());
    let each = resident().saturating_sub(before) / idle.len();
    assert!(each < 8 << 10, "{each} bytes for each connection");
}
