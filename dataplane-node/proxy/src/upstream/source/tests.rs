//! Over the loopback, all of whose addresses are the machine's own. Needs root, as the sockets' option does.

use std::{
    net::{Shutdown, TcpListener},
    time::{Duration, Instant},
};

use tokio::runtime::Builder;

use super::*;

/// Ports that the kernel gives to connections by itself, and others.
const RANGED: u16 = 41_234;
const OTHER: u16 = 21_234;

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

fn server(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn source(address: &str, port: u16) -> Source {
    let client = SocketAddr::new(address.parse().unwrap(), port);
    Source::new(client, (32_768..=60_999).contains(&port))
}

/// A connection, and whom the server sees.
async fn connect(
    source: Source,
    (listener, server): &(TcpListener, SocketAddr),
) -> (TcpStream, TcpStream, SocketAddr) {
    let connected = source.connect(*server).await;
    let connected = connected.expect("these tests need root, and a free port");
    let (accepted, from) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    (connected, TcpStream::from_std(accepted).unwrap(), from)
}

#[test]
fn the_clients_port_is_kept_towards_each_server_and_another_one_is_taken_for_more() {
    run(async {
        for (client, at, ports) in [
            ("127.0.7.1", "127.0.0.1", [RANGED, OTHER]),
            ("::1", "::1", [RANGED + 1, OTHER + 1]),
        ] {
            let servers = [server(at), server(at)];
            for port in ports {
                let source = source(client, port);
                let mut all = Vec::new();
                for server in &servers {
                    let (connected, accepted, from) = connect(source, server).await;
                    assert_eq!(from, source.client);
                    all.push((connected, accepted));
                }
                for server in &servers {
                    for _ in 0..3 {
                        let (connected, accepted, from) = connect(source, server).await;
                        assert_eq!(from.ip(), source.client.ip());
                        assert_ne!(from.port(), port);
                        all.push((connected, accepted));
                    }
                }
            }
        }
    });
}

#[test]
fn a_client_whose_port_is_not_known_gets_any() {
    run(async {
        let server = server("127.0.0.1");
        let (_connected, _accepted, from) = connect(source("127.0.7.2", 0), &server).await;
        assert_eq!(from.ip().to_string(), "127.0.7.2");
    });
}

#[test]
fn a_port_that_somebody_listens_at_is_left_to_him() {
    run(async {
        let other = TcpListener::bind(("127.0.7.3", OTHER)).unwrap();
        let server = server("127.0.0.1");
        let (_connected, _accepted, from) = connect(source("127.0.7.3", OTHER), &server).await;
        assert_eq!(from.ip().to_string(), "127.0.7.3");
        assert_ne!(from.port(), OTHER);
        drop(other);
    });
}

/// Who closes first keeps the connection in mind for a minute.
#[test]
fn a_client_that_comes_back_from_its_port_at_once_gets_it_again() {
    run(async {
        let server = server("127.0.0.1");
        for port in [RANGED + 2, OTHER + 2] {
            let source = source("127.0.7.4", port);
            for round in 0..3 {
                let (connected, accepted, from) = connect(source, &server).await;
                assert_eq!(from, source.client, "round {round}");
                // The end of the one that is closed first has come when the other one closes.
                drop(connected);
                accepted.readable().await.unwrap();
                assert_eq!(accepted.try_read(&mut [0]).unwrap(), 0);
                drop(accepted);
                wait_until_forgotten(source.client, server.1);
            }
        }
    });
}

/// Until the kernel has nothing but the memory of a connection.
fn wait_until_forgotten(client: SocketAddr, server: SocketAddr) {
    const TIME_WAIT: &str = "06";
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(v4.ip().octets()),
            v4.port()
        ),
        SocketAddr::V6(_) => unreachable!("this test is of IPv4"),
    };
    let ends = format!("{} {}", hex(client), hex(server));
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let state = all.lines().find_map(|line| {
            let (_, rest) = line.split_once(": ")?;
            rest.strip_prefix(&ends)?.trim().get(..2)
        });
        if state.is_none_or(|state| state == TIME_WAIT) {
            return;
        }
        assert!(Instant::now() < deadline, "the connection is {state:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_refuses_is_told_as_such() {
    run(async {
        let (listener, address) = server("127.0.0.1");
        drop(listener);
        let error = source("127.0.7.5", OTHER).connect(address).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn connections_are_whole() {
    run(async {
        let server = server("127.0.0.1");
        let (connected, accepted, _) = connect(source("127.0.7.6", RANGED), &server).await;
        connected.writable().await.unwrap();
        assert_eq!(connected.try_write(b"word").unwrap(), 4);
        accepted.readable().await.unwrap();
        let mut heard = [0; 8];
        assert_eq!(accepted.try_read(&mut heard).unwrap(), 4);
        socket2::SockRef::from(&accepted)
            .shutdown(Shutdown::Write)
            .unwrap();
        connected.readable().await.unwrap();
        assert_eq!(connected.try_read(&mut heard).unwrap(), 0);
    });
}
