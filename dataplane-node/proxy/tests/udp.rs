//! Datagrams through the engine.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::{
    collections::HashSet,
    io::IoSlice,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lbfabric_proxy::{
    Engine as Workers, EngineConfig, ServiceKey, UdpConfig, UdpCounters, UdpCounts, UdpService,
    serve_udp, udp_listener,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt::UdpGroSegment};
use proptest::prelude::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Engine {
    address: SocketAddr,
    counters: Arc<UdpCounters>,
}

/// A worker on a thread of its own, which lives as long as the process of the tests.
fn engine(address: &str, config: UdpConfig) -> Engine {
    let address = free(address);
    let listener = udp_listener(address).unwrap();
    let counters = Arc::new(UdpCounters::default());
    let counted = counters.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new()
            .block_on(&runtime, serve_udp(listener, config, counted))
            .unwrap();
    });
    Engine { address, counters }
}

/// With a port that nobody has. The kernel would give an engine one that another engine of these tests has, as they share ports.
fn free(address: &str) -> SocketAddr {
    socket(address).local_addr().unwrap()
}

fn to(servers: &[&UdpSocket]) -> UdpConfig {
    UdpConfig {
        servers: servers.iter().map(|it| it.local_addr().unwrap()).collect(),
        ..UdpConfig::default()
    }
}

fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 1 << 16];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    bytes.truncate(length);
    (bytes, from)
}

/// Until the counters say so.
fn wait(engine: &Engine, is_so: impl Fn(&UdpCounts) -> bool) -> UdpCounts {
    let begun = Instant::now();
    loop {
        let counts = engine.counters.counts();
        if is_so(&counts) {
            return counts;
        }
        assert!(begun.elapsed() < PATIENCE, "{counts:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn datagrams_go_there_and_back() {
    let server = socket("127.0.0.1:0");
    let engine = engine("127.0.0.1:0", to(&[&server]));
    let (one, other) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let mut sessions = HashSet::new();
    for round in 0..3u8 {
        for (client, name) in [(&one, 1u8), (&other, 2)] {
            // Also those without a byte, and the longest.
            for length in [0, 1, 1_400, 9_000, 65_507] {
                let mut bytes = vec![round; length];
                bytes.iter_mut().step_by(2).for_each(|it| *it = name);
                client.send_to(&bytes, engine.address).unwrap();
                let (got, session) = receive(&server);
                assert!(got == bytes, "{length}");
                sessions.insert((name, session));
                bytes.reverse();
                server.send_to(&bytes, session).unwrap();
                let (got, from) = receive(client);
                assert!(got == bytes, "{length}");
                assert_eq!(from, engine.address);
            }
        }
    }
    assert_eq!(sessions.len(), 2, "each client has one: {sessions:?}");
    let counts = engine.counters.counts();
    let expected = UdpCounts {
        sessions: 2,
        to_server: 30,
        to_client: 30,
        ..UdpCounts::default()
    };
    assert_eq!(counts, expected);
}

/// On an address for all, the answer's source is what the client went to.
#[test]
fn answers_come_from_where_the_client_went() {
    for (listen, server, services) in [
        ("0.0.0.0:0", "127.0.0.1:0", ["127.0.0.1", "127.0.7.9"]),
        ("[::]:0", "[::1]:0", ["::1", "127.0.7.9"]),
    ] {
        let server = socket(server);
        let engine = engine(listen, to(&[&server]));
        let client_of = |service: &str| {
            let any = if service.contains(':') {
                "[::1]:0"
            } else {
                "127.0.0.5:0"
            };
            let client = socket(any);
            let service = SocketAddr::new(service.parse().unwrap(), engine.address.port());
            (client, service)
        };
        for (client, service) in services.map(client_of) {
            client.send_to(b"ask", service).unwrap();
            let (_, session) = receive(&server);
            server.send_to(b"answer", session).unwrap();
            let (got, from) = receive(&client);
            assert_eq!((&got[..], from), (&b"answer"[..], service), "{listen}");
        }
        // One client at two of the addresses is two sessions.
        let client = socket("0.0.0.0:0");
        let both = ["127.0.0.1", "127.0.7.9"].map(|service| {
            let service = SocketAddr::new(service.parse().unwrap(), engine.address.port());
            client.send_to(b"ask", service).unwrap();
            receive(&server).1
        });
        assert_ne!(both[0], both[1]);
    }
}

#[test]
fn sessions_take_servers_in_turn_and_end_in_silence() {
    let (one, other) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let engine = engine(
        "127.0.0.1:0",
        UdpConfig {
            idle: Duration::from_millis(800),
            sessions_max: 2,
            ..to(&[&one, &other])
        },
    );
    let clients: Vec<_> = (0..3).map(|_| socket("127.0.0.1:0")).collect();
    for (client, server) in clients.iter().zip([&one, &other]) {
        client.send_to(b"x", engine.address).unwrap();
        receive(server);
    }
    // There is no room for a third.
    clients[2].send_to(b"x", engine.address).unwrap();
    let counts = wait(&engine, |it| it.dropped_no_room > 0);
    assert_eq!((counts.sessions, counts.to_server), (2, 2));
    // Until others have ended.
    let begun = Instant::now();
    while engine.counters.counts().sessions == 2 {
        assert!(begun.elapsed() < PATIENCE);
        clients[2].send_to(b"y", engine.address).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(receive(&one).0, b"y");
    // Its own datagrams keep it.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        clients[2].send_to(b"z", engine.address).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(engine.counters.counts().sessions, 3);
}

#[test]
fn a_server_that_is_gone_is_left() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = socket("127.0.0.1:0");
    let config = to(&[&gone, &there]);
    drop(gone);
    let relay = engine("127.0.0.1:0", config);
    let client = socket("127.0.0.1:0");
    client.send_to(b"first", relay.address).unwrap();
    wait(&relay, |it| it.servers_gone == 1);
    client.send_to(b"second", relay.address).unwrap();
    assert_eq!(receive(&there).0, b"second");

    let none = engine("127.0.0.1:0", UdpConfig::default());
    client.send_to(b"x", none.address).unwrap();
    let counts = wait(&none, |it| it.dropped_no_server == 1);
    assert_eq!(counts.to_server, 0);
}

/// In one piece, as the kernel gives them: the server gets the datagrams that the client has sent.
fn check_pieces(length: usize, segment: u16, server_takes_pieces: bool) {
    let server = socket("127.0.0.1:0");
    setsockopt(&server, UdpGroSegment, &server_takes_pieces).unwrap();
    let engine = engine("127.0.0.1:0", to(&[&server]));
    let client = socket("127.0.0.1:0");
    client.connect(engine.address).unwrap();
    let bytes: Vec<u8> = (0..length).map(|n| n.to_le_bytes()[n % 2]).collect();
    let parts = [IoSlice::new(&bytes)];
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let fd = client.as_raw_fd();
    sendmsg::<()>(fd, &parts, &control, MsgFlags::empty(), None).unwrap();
    let mut got: Vec<u8> = Vec::new();
    while got.len() < bytes.len() {
        let (datagram, session) = receive(&server);
        if !server_takes_pieces {
            let expected = usize::from(segment).min(bytes.len() - got.len());
            assert_eq!(datagram.len(), expected);
        }
        got.extend(&datagram);
        server.send_to(&datagram[..1], session).unwrap();
    }
    assert!(got == bytes);
    let datagrams = bytes.len().div_ceil(segment.into()) as u64;
    let counts = wait(&engine, |it| it.to_server == datagrams);
    assert_eq!(counts.dropped_to_server, 0);
    assert_eq!(receive(&client).0.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn datagrams_in_one_piece_stay_what_they_are(
        segment in 500u16..1_400,
        count in 1usize..45,
        less in 0usize..500,
        server_takes_pieces in any::<bool>(),
    ) {
        let length = usize::from(segment) * count - less;
        check_pieces(length.max(1), segment, server_takes_pieces);
    }
}

/// A socket that takes nothing more is no reason to wait.
#[test]
fn what_a_client_does_not_take_is_not_kept() {
    let server = socket("127.0.0.1:0");
    let engine = engine("127.0.0.1:0", to(&[&server]));
    let client = socket("127.0.0.1:0");
    client.send_to(b"x", engine.address).unwrap();
    let (_, session) = receive(&server);
    for _ in 0..3_000 {
        server.send_to(&[7; 1_000], session).unwrap();
    }
    client.send_to(b"y", engine.address).unwrap();
    assert_eq!(receive(&server).0, b"y");
    // What is still under way comes first, and may leave no room.
    let last = loop {
        server.send_to(b"z", session).unwrap();
        let got = receive(&client).0;
        if got.len() == 1 {
            break got;
        }
    };
    assert_eq!(last, b"z");
}

/// Workers that the engine has started, which take what they are told.
fn started(workers: usize) -> (tokio::runtime::Runtime, Workers) {
    let engine = Workers::start(workers, Duration::ZERO).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    (runtime.unwrap(), engine)
}

/// With fewer workers and with more than those before them.
#[test]
fn another_engine_goes_on_with_all_that_there_is() {
    const KEY: ServiceKey = ServiceKey { id: 7, part: 0 };
    let [server, other] = [(); 2].map(|()| socket("127.0.0.1:0"));
    let address = free("127.0.0.1:0");
    let apply = |runtime: &tokio::runtime::Runtime, engine: &Workers, config: UdpConfig| {
        let service = UdpService {
            listen: vec![address],
            config: Arc::new(config),
            counters: Arc::default(),
            observe: Arc::default(),
        };
        let config = EngineConfig {
            datagrams: [(KEY, service)].into(),
            ..EngineConfig::default()
        };
        let failed = runtime.block_on(engine.apply(config));
        assert!(failed.is_empty(), "{failed:?}");
    };
    let (mut runtime, mut engine) = started(2);
    apply(&runtime, &engine, to(&[&server]));
    let clients: Vec<_> = (0..16).map(|_| socket("127.0.0.1:0")).collect();
    let session = |client: &UdpSocket| {
        let (said, session) = receive(&server);
        assert_eq!(said, client.local_addr().unwrap().to_string().as_bytes());
        session
    };
    let say = |client: &UdpSocket| {
        let own = client.local_addr().unwrap().to_string();
        client.send_to(own.as_bytes(), address).unwrap();
    };
    let first: Vec<_> = clients
        .iter()
        .map(|client| {
            say(client);
            session(client)
        })
        .collect();
    for workers in [1, 3, 2] {
        let given = runtime.block_on(engine.hand_over_datagrams());
        let sessions: usize = given.iter().map(|it| it.sessions.len()).sum();
        assert_eq!((given.len(), sessions), (2, 16));
        runtime.block_on(engine.stop());
        // What is said while nobody listens waits, there and back.
        clients.iter().for_each(say);
        for session in &first {
            server.send_to(b"answer", session).unwrap();
        }
        (runtime, engine) = started(workers);
        engine.take_datagrams(given);
        apply(&runtime, &engine, to(&[&server, &other]));
        let mut seen: Vec<_> = clients.iter().map(|_| receive(&server).1).collect();
        let mut known = first.clone();
        seen.sort_unstable();
        known.sort_unstable();
        assert_eq!(seen, known);
        for client in &clients {
            assert_eq!(receive(client).0, b"answer");
        }
        for (client, known) in clients.iter().zip(&first) {
            say(client);
            assert_eq!(session(client), *known);
        }
    }
    // Sessions with a server that is not there any more end.
    let given = runtime.block_on(engine.hand_over_datagrams());
    runtime.block_on(engine.stop());
    (runtime, engine) = started(2);
    engine.take_datagrams(given);
    apply(&runtime, &engine, to(&[&other]));
    clients.iter().for_each(say);
    for _ in &clients {
        receive(&other);
    }
    runtime.block_on(engine.stop());
}

#[test]
fn the_engine_keeps_a_client_with_its_server_through_changes() {
    const KEY: ServiceKey = ServiceKey { id: 7, part: 0 };
    let [one, other, third] = [(); 3].map(|()| socket("127.0.0.1:0"));
    let (runtime, engine) = started(2);
    let address = free("127.0.0.1:0");
    let counters = Arc::new(UdpCounters::default());
    let apply = |config: UdpConfig| {
        let service = UdpService {
            listen: vec![address],
            config: Arc::new(config),
            counters: counters.clone(),
            observe: Arc::default(),
        };
        let config = EngineConfig {
            datagrams: [(KEY, service)].into(),
            ..EngineConfig::default()
        };
        let failed = runtime.block_on(engine.apply(config));
        assert!(failed.is_empty(), "{failed:?}");
    };
    let ask = |client: &UdpSocket, server: &UdpSocket| {
        client.send_to(b"ask", address).unwrap();
        let (_, session) = receive(server);
        server.send_to(b"answer", session).unwrap();
        assert_eq!(receive(client).0, b"answer");
        session
    };
    apply(to(&[&one]));
    let clients: Vec<_> = (0..16).map(|_| socket("127.0.0.1:0")).collect();
    let sessions = || clients.iter().map(|it| ask(it, &one)).collect::<Vec<_>>();
    let first = sessions();
    assert_eq!(sessions(), first, "a worker takes all of a client");
    // One that is about to leave keeps its sessions, and gets no other ones.
    apply(UdpConfig {
        leaving: vec![one.local_addr().unwrap()],
        ..to(&[&other])
    });
    assert_eq!(sessions(), first);
    let new = socket("127.0.0.1:0");
    let kept = ask(&new, &other);
    // One that is gone keeps nothing; the others' sessions are not touched.
    apply(to(&[&third, &other]));
    assert_eq!(ask(&new, &other), kept);
    for client in &clients {
        client.send_to(b"ask", address).unwrap();
    }
    let begun = Instant::now();
    while counters.counts().sessions < 33 {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(2));
    }
    one.set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    assert!(one.recv_from(&mut [0; 8]).is_err());
    // The address is free again when the service has gone.
    let gone = runtime.block_on(engine.apply(EngineConfig::default()));
    assert!(gone.is_empty(), "{gone:?}");
    let begun = Instant::now();
    while UdpSocket::bind(address).is_err() {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(2));
    }
    runtime.block_on(engine.stop());
}
