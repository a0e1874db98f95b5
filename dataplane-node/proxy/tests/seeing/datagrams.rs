//! Sessions of datagrams.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use lbfabric_proxy::{
    Engine, EngineConfig, ServiceKey, UdpConfig, UdpService,
    observe::{DatagramFate, Sampling},
};

use crate::{
    PATIENCE,
    seen::{SERVICE, Seen, millis, text},
};

const KEY: ServiceKey = ServiceKey { id: 1, part: 0 };

/// An engine with a service of datagrams, at an address that is its own.
struct Relay {
    runtime: tokio::runtime::Runtime,
    engine: Engine,
    seen: Seen,
    address: SocketAddr,
}

impl Relay {
    fn start(sampling: Sampling) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            runtime,
            engine: Engine::start(1, Duration::ZERO).unwrap(),
            seen: Seen::start(&[], sampling, |_| {}),
            address: socket().local_addr().unwrap(),
        }
    }

    fn serve(&self, servers: &[SocketAddr], change: impl FnOnce(&mut UdpConfig)) {
        let mut config = UdpConfig {
            servers: servers.to_vec(),
            names: servers.iter().map(|it| (*it, "one".into())).collect(),
            ..UdpConfig::default()
        };
        change(&mut config);
        let service = UdpService {
            listen: vec![self.address],
            config: Arc::new(config),
            counters: Arc::default(),
            observe: Arc::new(self.seen.observe.clone()),
        };
        let config = EngineConfig {
            datagrams: [(KEY, service)].into(),
            ..EngineConfig::default()
        };
        let failed = self.runtime.block_on(self.engine.apply(config));
        assert!(failed.is_empty(), "{failed:?}");
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 2_000];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    (bytes[..length].to_vec(), from)
}

#[test]
fn a_session_is_a_line_at_its_end() {
    let relay = Relay::start(Sampling::ALL);
    let (client, server) = (socket(), socket());
    let idle = Duration::from_millis(300);
    relay.serve(&[server.local_addr().unwrap()], |it| it.idle = idle);
    for _ in 0..3 {
        client.send_to(&[1; 100], relay.address).unwrap();
        receive(&server);
    }
    assert_eq!(relay.seen.reading().connections, 1);
    client.send_to(b"last", relay.address).unwrap();
    let (_, session) = receive(&server);
    for _ in 0..2 {
        server.send_to(&[2; 700], session).unwrap();
        receive(&client);
    }
    let [line] = relay.seen.lines(1).try_into().unwrap();
    for (name, value) in [
        ("protocol", "UDP"),
        ("client", "127.0.0.1"),
        ("service", SERVICE),
        ("server", "one"),
        ("termination", "--"),
    ] {
        assert_eq!(text(&line, name), Some(value), "{line}");
    }
    for (name, value) in [
        ("received_packets", 4),
        ("sent_packets", 2),
        ("received_bytes", 304),
        ("sent_bytes", 1_400),
        ("status", 0),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert!(millis(&line, "response_ms") > 0.0, "{line}");
    let idle_ms = idle.as_secs_f64() * 1_000.0;
    assert!(millis(&line, "total_ms") >= idle_ms, "{line}");
    let reading = relay.seen.reading();
    assert_eq!((reading.connections, reading.connections_total), (0, 1));
    let datagrams = [(DatagramFate::ToServer, 4), (DatagramFate::ToClient, 2)];
    assert_eq!(reading.datagrams, datagrams.into());
    let all = reading.all_routes();
    assert_eq!((all.received, all.sent), (304, 1_400));
    assert_eq!(reading.servers["one"].connections_total, 1);
}

#[test]
fn why_a_session_ends_is_said() {
    let errors = Sampling {
        one_in: 0,
        errors: true,
    };
    let relay = Relay::start(errors);
    let (client, gone, server) = (socket(), socket().local_addr().unwrap(), socket());
    relay.serve(&[gone], |_| {});
    client.send_to(b"ask", relay.address).unwrap();
    let nobody = &relay.seen.lines(1)[0];
    assert_eq!(text(nobody, "termination"), Some("SC"), "{nobody}");
    assert_eq!(nobody["received_packets"], 1, "{nobody}");
    assert!(millis(nobody, "response_ms") < 0.0, "{nobody}");
    // A server that is taken away takes its sessions with it.
    relay.serve(&[server.local_addr().unwrap()], |_| {});
    client.send_to(b"ask", relay.address).unwrap();
    receive(&server);
    relay.serve(&[], |_| {});
    let taken = &relay.seen.lines(2)[1];
    assert_eq!(text(taken, "termination"), Some("PD"), "{taken}");
    client.send_to(b"ask", relay.address).unwrap();
    relay.seen.until("what nobody takes is counted", |it| {
        it.reading().datagrams.get(&DatagramFate::NoServer) == Some(&1)
    });
    let failures = relay.seen.reading().servers["one"].failures;
    assert_eq!(failures.iter().sum::<u64>(), 1);
}
