//! Requests spread over several real nginx.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lbfabric_proxy::{
    Balance, HashOn, Limits, OutlierConfig, PoolConfig, ProxyConfig, ServerConfig, SharedPools,
    StickyConfig, StickyKey,
};

use crate::{
    PATIENCE, curl,
    nginx::Nginx,
    worker::{engine, engine_beside},
};

fn pool(servers: &[(&Nginx, u16)]) -> PoolConfig {
    let server = |(nginx, weight): &(&Nginx, u16)| ServerConfig {
        weight: *weight,
        ..ServerConfig::of(&nginx.address)
    };
    PoolConfig {
        servers: servers.iter().map(server).collect(),
        ..PoolConfig::default()
    }
}

fn through(pool: PoolConfig) -> ProxyConfig {
    ProxyConfig {
        pools: vec![pool],
        ..ProxyConfig::default()
    }
}

/// Which ports so many requests have gone to, and how often; what is not 200 is counted as port 0.
fn ports(engine: SocketAddr, requests: u32, arguments: &[&str]) -> BTreeMap<u16, u32> {
    let url = format!("http://{engine}/port?[1-{requests}]");
    let answers = curl(&[arguments, &[&url]].concat());
    let mut counts = BTreeMap::new();
    for line in answers.lines() {
        *counts.entry(line.parse().unwrap_or(0)).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<u32>(), requests, "{answers}");
    counts
}

fn port(engine: SocketAddr, arguments: &[&str]) -> u16 {
    *ports(engine, 1, arguments).first_key_value().unwrap().0
}

#[test]
fn shares_follow_weights_and_a_drained_server_gets_none() {
    let servers = [Nginx::start(), Nginx::start(), Nginx::start()];
    let [three, one, none] = &servers;
    let pool = pool(&[(three, 3), (one, 1), (none, 0)]);
    let expected = BTreeMap::from([(three.address.port(), 60), (one.address.port(), 20)]);
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        let engine = engine(through(PoolConfig {
            balance,
            ..pool.clone()
        }));
        assert_eq!(ports(engine, 80, &[]), expected);
    }
}

#[test]
fn a_hash_keeps_clients_apart() {
    let servers = [Nginx::start(), Nginx::start(), Nginx::start()];
    let [one, two, three] = &servers;
    let engine = engine(through(PoolConfig {
        balance: Balance::Hash {
            on: HashOn::Header("x-user".to_owned()),
            bound_percent: Some(150),
        },
        ..pool(&[(one, 1), (two, 1), (three, 1)])
    }));
    let mut seen = BTreeMap::new();
    for user in 0..20 {
        let counts = ports(engine, 5, &["--header", &format!("X-User: {user}")]);
        assert_eq!(counts.len(), 1, "user {user}: {counts:?}");
        *seen
            .entry(*counts.first_key_value().unwrap().0)
            .or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn a_cookie_keeps_a_client_with_its_server() {
    let servers = [Nginx::start(), Nginx::start()];
    let [one, two] = &servers;
    let sticky = |weights: [u16; 2]| {
        engine(through(PoolConfig {
            sticky: Some(StickyConfig::new("shop", StickyKey::new([9; 32]))),
            ..pool(&[(one, weights[0]), (two, weights[1])])
        }))
    };
    let both = sticky([1, 1]);
    let folder = tempfile::tempdir().unwrap();
    let jars = ["a", "b"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let with =
        |engine: SocketAddr, jar: &str| port(engine, &["--cookie", jar, "--cookie-jar", jar]);
    let homes = jars.each_ref().map(|jar| with(both, jar));
    assert_ne!(homes[0], homes[1], "in turn");
    for _ in 0..3 {
        assert_eq!(jars.each_ref().map(|jar| with(both, jar)), homes);
    }
    let jar = std::fs::read_to_string(&jars[0]).unwrap();
    assert!(
        jar.contains("#HttpOnly_127.0.0.1") && jar.contains("\tshop\t"),
        "{jar}"
    );
    for server in &servers {
        assert!(!jar.contains(&server.address.port().to_string()), "{jar}");
    }
    // While a server is drained, its clients still come to it, and others do not.
    for drained in 0..2 {
        let engine = sticky(if drained == 0 { [0, 1] } else { [1, 0] });
        let others = servers[1 - drained].address.port();
        assert_eq!(jars.each_ref().map(|jar| with(engine, jar)), homes);
        assert_eq!(ports(engine, 6, &[]), BTreeMap::from([(others, 6)]));
        let forged = ["--cookie", "shop=0123456789abcdef0123456789abcdef"];
        assert_eq!(ports(engine, 6, &forged), BTreeMap::from([(others, 6)]));
    }
    let head = |arguments: &[&str]| {
        let url = format!("http://{both}/port");
        curl(&[&["--include"], arguments, &[&url]].concat())
    };
    assert!(
        head(&["--cookie", "shop=0123456789abcdef0123456789abcdef"])
            .contains("\r\nSet-Cookie: shop=")
    );
    assert!(
        !head(&["--cookie", &jars[0]]).contains("Set-Cookie"),
        "it has it already"
    );
}

/// Accepts and closes, until this is dropped; how often.
struct Broken {
    count: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    address: SocketAddr,
}

impl Broken {
    fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (count, is_over) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (count, is_over) = (count.clone(), is_over.clone());
            move || {
                for client in listener.incoming() {
                    drop(client);
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self {
            count,
            is_over,
            thread: Some(thread),
            address,
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_server_that_fails_is_out_for_a_while() {
    let servers = [Nginx::start(), Nginx::start()];
    let [one, other] = &servers;
    let ejection = Duration::from_secs(3);
    let engine = engine(through(PoolConfig {
        outliers: Some(OutlierConfig {
            consecutive: 3,
            ejection,
            ..OutlierConfig::default()
        }),
        ..pool(&[(one, 1), (other, 1)])
    }));
    assert_eq!(ports(engine, 10, &[]).len(), 2);
    let begun = Instant::now();
    one.restart_after(|| {
        let broken = Broken::start(one.address);
        let answers = curl(&[
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}\n",
            &format!("http://{engine}/port?[1-50]"),
        ]);
        let failed = answers.lines().filter(|status| *status == "502").count();
        let well = answers.lines().filter(|status| *status == "200").count();
        assert_eq!((failed, well), (3, 47), "{answers}");
        assert_eq!(broken.count.load(Ordering::SeqCst), 3);
    });
    while port(engine, &[]) != one.address.port() {
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
    }
    assert!(begun.elapsed() > ejection, "it was not out for long enough");
    let counts = ports(engine, 40, &[]);
    assert_eq!(counts.get(&one.address.port()), Some(&20), "{counts:?}");
}

/// Nothing of a request is gone when no connection can be made.
#[test]
fn a_server_that_is_gone_costs_no_request() {
    let servers = [Nginx::start(), Nginx::start()];
    let [one, other] = &servers;
    let engine = engine(through(pool(&[(one, 1), (other, 1)])));
    one.restart_after(|| {
        let all = BTreeMap::from([(other.address.port(), 30)]);
        assert_eq!(ports(engine, 30, &[]), all);
    });
}

#[test]
fn a_slow_server_gets_less() {
    let (fast, slow) = (
        [Nginx::start(), Nginx::start()],
        Nginx::with("limit_req zone=slow burst=1000;", &[]),
    );
    let engine = engine(through(PoolConfig {
        balance: Balance::PeakEwma {
            decay: Duration::from_secs(10),
        },
        ..pool(&[(&fast[0], 1), (&fast[1], 1), (&slow, 1)])
    }));
    let counts = ports(engine, 600, &["--parallel", "--parallel-max", "8"]);
    let count = |nginx: &Nginx| counts.get(&nginx.address.port()).copied().unwrap_or(0);
    assert!((1..60).contains(&count(&slow)), "{counts:?}");
    assert!(fast.iter().all(|fast| count(fast) > 150), "{counts:?}");
}

/// A request that lasts until it is finished.
struct Held(TcpStream);

impl Held {
    fn begin(engine: SocketAddr, nginx: &Nginx) -> Self {
        let mut client = TcpStream::connect(engine).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // The engine's answer to what waits for a 100 shows that nginx has it.
        let head = format!(
            "PUT /put/held{} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
            nginx.address.port()
        );
        client.write_all(head.as_bytes()).unwrap();
        let mut interim = [0; 25];
        client.read_exact(&mut interim).unwrap();
        assert_eq!(interim, *b"HTTP/1.1 100 Continue\r\n\r\n");
        Self(client)
    }

    fn finish(mut self) {
        self.0.write_all(b"hi").unwrap();
        let mut status = [0; 12];
        self.0.read_exact(&mut status).unwrap();
        assert!(status.starts_with(b"HTTP/1.1 20"), "{status:?}");
    }
}

/// Status, body and how long it took.
fn ask(engine: SocketAddr) -> (String, Duration) {
    let begun = Instant::now();
    let answer = curl(&[
        "--write-out",
        "%{http_code}",
        &format!("http://{engine}/hello"),
    ]);
    (answer, begun.elapsed())
}

#[test]
fn who_finds_no_room_waits_and_is_told_why_it_gets_none() {
    let nginx = Nginx::start();
    let limited = |pending, pending_timeout| {
        engine(through(PoolConfig {
            limits: Limits {
                requests: 1,
                pending,
                pending_timeout,
                ..Limits::default()
            },
            ..pool(&[(&nginx, 1)])
        }))
    };
    let full = "503 Service Unavailable: no server has room, nor has the queue\n503";
    let late = "503 Service Unavailable: no server had room in time\n503";
    let engine = limited(0, PATIENCE);
    let held = Held::begin(engine, &nginx);
    assert_eq!(ask(engine).0, full);
    held.finish();
    assert_eq!(ask(engine).0, "hello\n200");

    let patience = Duration::from_millis(300);
    let engine = limited(1, patience);
    let held = Held::begin(engine, &nginx);
    let (answer, took) = ask(engine);
    assert_eq!(answer, late);
    assert!(took >= patience, "{took:?}");
    held.finish();

    let engine = limited(1, PATIENCE);
    let held = Held::begin(engine, &nginx);
    let mut waiting = TcpStream::connect(engine).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting
        .write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    // As soon as it has its place in the queue.
    let begun = Instant::now();
    while ask_briefly(engine).as_deref() != Some(full) {
        assert!(begun.elapsed() < PATIENCE, "the queue does not fill");
    }
    held.finish();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello\n"),
        "{answer}"
    );
}

/// None if there is no answer soon.
fn ask_briefly(engine: SocketAddr) -> Option<String> {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "0.2",
            "--write-out",
            "%{http_code}",
        ])
        .arg(format!("http://{engine}/hello"))
        .output()
        .unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(answer)
}

/// Limits are the node's: what one worker has, another one cannot have too, and a connection that waits idly makes room.
#[test]
fn workers_share_limits() {
    let nginx = Nginx::start();
    let shared = SharedPools::default();
    let config = through(PoolConfig {
        limits: Limits {
            connections: 1,
            pending: 0,
            ..Limits::default()
        },
        ..pool(&[(&nginx, 1)])
    });
    let one = engine_beside(config.clone(), shared.clone());
    let other = engine_beside(config, shared);
    for _ in 0..3 {
        assert_eq!(ask(one).0, "hello\n200");
        assert_eq!(ask(other).0, "hello\n200");
    }
    let held = Held::begin(one, &nginx);
    assert!(ask(other).0.ends_with("\n503"));
    held.finish();
    assert_eq!(ask(other).0, "hello\n200");
}

/// A server that says how long it waits is not asked at the last moment.
#[test]
fn a_server_says_how_long_its_connections_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = engine(ProxyConfig::to(&[listener.local_addr().unwrap()]));
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = [0; 4096];
        assert!(client.read(&mut request).unwrap() > 0);
        let answer =
            b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2, max=9\r\nContent-Length: 2\r\n\r\nhi";
        client.write_all(answer).unwrap();
        let begun = Instant::now();
        assert_eq!(client.read(&mut request).unwrap(), 0, "it is closed");
        begun.elapsed()
    });
    assert_eq!(curl(&[&format!("http://{engine}/")]), "hi");
    let waited = server.join().unwrap();
    let range = Duration::from_secs(1)..Duration::from_secs(10);
    assert!(range.contains(&waited), "{waited:?}");
}
