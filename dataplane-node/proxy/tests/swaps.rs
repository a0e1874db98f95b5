//! Configurations come and go while clients are served.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail loudly wherever they meet what they do not expect"
)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use lbfabric_proxy::{
    ApplyError, Engine, EngineConfig, EngineService, PoolConfig, ProxyConfig, ServiceKey, Timeouts,
};

const PATIENCE: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(2);
const KEY: ServiceKey = ServiceKey { id: 7, part: 0 };

/// A server that answers every request with its own name, after a pause if the target begins with `/slow`.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counted.fetch_add(1, Relaxed);
                thread::spawn(move || answer(client, name));
            }
        });
        Self {
            address,
            connections,
        }
    }
}

fn answer(mut client: TcpStream, name: &str) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
        name.len()
    );
    loop {
        let head = read_head(&mut client)?;
        if head.starts_with("GET /slow") {
            thread::sleep(Duration::from_millis(300));
        }
        client.write_all(answer.as_bytes()).ok()?;
    }
}

/// A head, byte by byte; none at the end.
fn read_head(from: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A client's connection that is kept.
struct Client(TcpStream);

impl Client {
    fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self(socket)
    }

    fn ask(&mut self, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
    }

    /// The head and the body of an answer.
    fn hear(&mut self) -> Option<(String, String)> {
        let head = read_head(&mut self.0)?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))?;
        let mut body = vec![0; length.parse().ok()?];
        self.0.read_exact(&mut body).ok()?;
        Some((head, String::from_utf8(body).ok()?))
    }

    fn get(&mut self, target: &str) -> Option<(String, String)> {
        self.ask(target);
        self.hear()
    }

    /// Nothing more comes, and the end does.
    fn assert_ends(&mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

fn to(servers: &[&Server]) -> ProxyConfig {
    ProxyConfig {
        pools: vec![PoolConfig::of(
            &servers
                .iter()
                .map(|server| server.address)
                .collect::<Vec<_>>(),
        )],
        ..ProxyConfig::default()
    }
}

fn config(address: SocketAddr, proxy: &Arc<ProxyConfig>) -> EngineConfig {
    let service = EngineService {
        listen: vec![address],
        steered: Vec::new(),
        proxy: Arc::clone(proxy),
    };
    EngineConfig {
        services: [(KEY, service)].into(),
        ..EngineConfig::default()
    }
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn a_connection_goes_on_with_the_configuration_of_each_request() {
    let (one, other) = (Server::start("one"), Server::start("other"));
    let address = free_port();
    run(async {
        let engine = Engine::start(2, DRAIN).unwrap();
        let first = Arc::new(to(&[&one]));
        assert!(engine.apply(config(address, &first)).await.is_empty());
        let mut client = Client::connect(address);
        assert_eq!(client.get("/").unwrap().1, "one");
        // One that has begun ends as it began.
        client.ask("/slow");
        thread::sleep(Duration::from_millis(100));
        let second = Arc::new(to(&[&other]));
        assert!(engine.apply(config(address, &second)).await.is_empty());
        assert_eq!(client.hear().unwrap().1, "one");
        assert_eq!(client.get("/").unwrap().1, "other");
        // The connection to a server that stays is used on.
        let both = Arc::new(to(&[&other, &one]));
        assert!(engine.apply(config(address, &both)).await.is_empty());
        for _ in 0..4 {
            client.get("/").unwrap();
        }
        assert_eq!(other.connections.load(Relaxed), 1);
        let traffic = engine.traffic()[&KEY];
        assert_eq!((traffic.connections, traffic.requests), (1, 7));
        drop(client);
        engine.stop().await;
    });
}

#[test]
fn connections_of_a_service_that_goes_end_in_order() {
    let server = Server::start("one");
    let address = free_port();
    run(async {
        let engine = Engine::start(2, DRAIN).unwrap();
        let proxy = Arc::new(to(&[&server]));
        assert!(engine.apply(config(address, &proxy)).await.is_empty());
        let (mut idle, mut kept, mut busy) = (
            Client::connect(address),
            Client::connect(address),
            Client::connect(address),
        );
        kept.get("/").unwrap();
        busy.ask("/slow");
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        assert!(engine.apply(EngineConfig::default()).await.is_empty());
        idle.assert_ends();
        kept.assert_ends();
        let (head, body) = busy.hear().unwrap();
        assert!(head.contains("Connection: close\r\n"), "{head}");
        assert_eq!(body, "one");
        busy.assert_ends();
        assert!(begun.elapsed() < DRAIN, "{:?}", begun.elapsed());
        TcpStream::connect(address).unwrap_err();
        engine.stop().await;
    });
}

/// What neither answers nor ends is not waited for longer than the drain time.
#[test]
fn a_connection_that_does_not_end_is_ended() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free_port();
    run(async {
        let engine = Engine::start(1, DRAIN).unwrap();
        let proxy = Arc::new(ProxyConfig {
            pools: vec![PoolConfig::of(&[silent.local_addr().unwrap()])],
            ..ProxyConfig::default()
        });
        assert!(engine.apply(config(address, &proxy)).await.is_empty());
        let mut client = Client::connect(address);
        client.ask("/");
        let (held, _) = silent.accept().unwrap();
        let begun = Instant::now();
        engine.stop().await;
        client.assert_ends();
        let took = begun.elapsed();
        assert!(DRAIN <= took && took < DRAIN * 3, "{took:?}");
        drop(held);
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let address = free_port();
    run(async {
        let engine = Engine::start(1, DRAIN).unwrap();
        let proxy = Arc::new(ProxyConfig {
            timeouts: Timeouts {
                head: Duration::from_millis(100),
                idle: Duration::from_millis(500),
                ..Timeouts::default()
            },
            ..ProxyConfig::default()
        });
        assert!(engine.apply(config(address, &proxy)).await.is_empty());
        Client::connect(address).assert_ends();
        engine.stop().await;
    });
}

#[test]
fn what_cannot_be_listened_at_is_told_and_the_rest_is_served() {
    let server = Server::start("one");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken_at, free) = (taken.local_addr().unwrap(), free_port());
    run(async {
        let engine = Engine::start(2, DRAIN).unwrap();
        let proxy = Arc::new(to(&[&server]));
        let service = |listen: &[SocketAddr]| EngineService {
            listen: listen.to_vec(),
            steered: Vec::new(),
            proxy: Arc::clone(&proxy),
        };
        let second = ServiceKey { part: 1, ..KEY };
        let config = EngineConfig {
            services: [
                (KEY, service(&[taken_at, free])),
                (second, service(&[free])),
            ]
            .into(),
            ..EngineConfig::default()
        };
        let errors = engine.apply(config.clone()).await;
        assert!(
            matches!(&errors[&KEY], ApplyError::Listen { address, source }
                if *address == taken_at && source.kind() == std::io::ErrorKind::AddrInUse),
            "{errors:?}"
        );
        assert!(matches!(&errors[&second], ApplyError::Taken { address } if *address == free));
        assert_eq!(Client::connect(free).get("/").unwrap().1, "one");
        drop(taken);
        let errors = engine.apply(config).await;
        assert_eq!(errors.keys().collect::<Vec<_>>(), [&second]);
        assert_eq!(Client::connect(taken_at).get("/").unwrap().1, "one");
        engine.stop().await;
    });
}

/// Every connection asks one request after the other while the configuration is swapped a hundred times.
#[test]
fn no_request_fails_while_configurations_are_swapped() {
    const CLIENTS: usize = 200;
    const SWAPS: usize = 100;
    let servers = [Server::start("one"), Server::start("other")];
    let address = free_port();
    run(async {
        let engine = Engine::start(2, DRAIN).unwrap();
        let first = Arc::new(to(&[&servers[0]]));
        assert!(engine.apply(config(address, &first)).await.is_empty());
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut client = Client::connect(address);
                    let mut answered = 0;
                    while !stop.load(Relaxed) {
                        let (head, body) = client.get("/").expect("an answer");
                        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                        assert!(["one", "other"].contains(&&*body), "{body}");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for swap in 0..SWAPS {
            let proxy = match swap % 3 {
                0 => to(&[&servers[1]]),
                1 => to(&[&servers[0], &servers[1]]),
                _ => to(&[&servers[0]]),
            };
            let proxy = Arc::new(proxy);
            assert!(engine.apply(config(address, &proxy)).await.is_empty());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.store(true, Relaxed);
        let answered: u64 = clients.into_iter().map(|it| it.join().unwrap()).sum();
        let traffic = engine.traffic()[&KEY];
        assert_eq!(traffic.requests, answered);
        assert_eq!(traffic.connections, CLIENTS as u64);
        assert!(answered > (CLIENTS * SWAPS) as u64 / 10, "{answered}");
        engine.stop().await;
    });
}
