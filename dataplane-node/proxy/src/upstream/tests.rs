use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use tokio::{runtime::Builder, task::LocalSet};

use super::*;
use crate::{
    balance::{Balance, HashOn, Idle, Limits, OutlierConfig, PoolConfig, ServerConfig},
    observe::Watch,
};

const LIMIT: Duration = Duration::from_secs(10);

/// In a worker.
fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn config(addresses: &[SocketAddr], timeout: Duration) -> PoolConfig {
    PoolConfig {
        idle: Idle {
            timeout,
            ..Idle::default()
        },
        ..PoolConfig::of(addresses)
    }
}

fn through(pool: PoolConfig) -> ProxyConfig {
    ProxyConfig {
        pools: vec![pool],
        ..ProxyConfig::default()
    }
}

/// A request that goes well; whether its connection had carried another one.
async fn request(upstreams: &Upstreams, origin: Option<Rc<Origin>>) -> bool {
    let pool = upstreams.pool(0).unwrap();
    let mut key = pool.key(std::iter::empty(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    key.origin = origin;
    let (permit, upstream) = pool
        .reach::<Upstream>(&key, &Arc::default(), LIMIT, &Watch::of(None))
        .await
        .unwrap();
    let is_reused = upstream.is_reused;
    permit.keep(upstream, None);
    is_reused
}

fn accepted(listener: &TcpListener) -> TcpStream {
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    server
}

/// Reads until the other side has closed.
async fn is_closed(mut server: TcpStream) {
    let read = task::spawn_blocking(move || server.read(&mut [0])).await;
    assert_eq!(read.unwrap().unwrap(), 0);
}

#[test]
fn connections_stay_through_a_change_of_configuration() {
    run(async {
        let ((one, first), (other, second)) = (listener(), listener());
        let before = config(&[first], LIMIT);
        let upstreams = Upstreams::new(
            &through(before.clone()),
            ServiceKey::default(),
            SharedPools::default(),
        );
        assert!(!request(&upstreams, None).await);
        assert!(request(&upstreams, None).await);
        let server = accepted(&one);
        // Another weight, another name for the pool's place, a server more.
        let after = PoolConfig {
            servers: vec![
                ServerConfig {
                    weight: 5,
                    ..ServerConfig::of(&first)
                },
                ServerConfig {
                    weight: 0,
                    ..ServerConfig::of(&second)
                },
            ],
            ..before
        };
        upstreams.update(&through(after));
        assert!(request(&upstreams, None).await);
        // A request that is under way when its server leaves.
        let pool = upstreams.pool(0).unwrap();
        let key = pool.key(std::iter::empty(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (permit, upstream) = pool
            .reach::<Upstream>(&key, &Arc::default(), LIMIT, &Watch::of(None))
            .await
            .unwrap();
        assert!(upstream.is_reused);
        upstreams.update(&through(config(&[second], LIMIT)));
        permit.keep(upstream, None);
        is_closed(server).await;
        assert!(!request(&upstreams, None).await);
        drop(accepted(&other));
    });
}

#[test]
fn a_connection_of_one_client_is_not_anothers() {
    run(async {
        let (_server, address) = listener();
        let upstreams = Upstreams::new(
            &through(config(&[address], LIMIT)),
            ServiceKey::default(),
            SharedPools::default(),
        );
        let client = || Origin::new(Box::new(*b" "), None);
        let clients = [None, client(), client()];
        for client in clients.clone() {
            assert!(!request(&upstreams, client).await);
        }
        for client in clients {
            assert!(request(&upstreams, client).await);
        }
    });
}

#[test]
fn idle_connections_are_closed_in_time_and_beyond_their_number() {
    run(async {
        let (listener, address) = listener();
        let mut config = config(&[address], Duration::from_millis(100));
        config.idle.connections = 1;
        let upstreams = Upstreams::new(
            &through(config),
            ServiceKey::default(),
            SharedPools::default(),
        );
        let pool = upstreams.pool(0).unwrap();
        let key = pool.key(std::iter::empty(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut reached = Vec::new();
        for _ in 0..2 {
            reached.push(
                pool.reach::<Upstream>(&key, &Arc::default(), LIMIT, &Watch::of(None))
                    .await
                    .unwrap(),
            );
        }
        let [first, second] = [accepted(&listener), accepted(&listener)];
        let begun = Instant::now();
        for (permit, upstream) in reached {
            permit.keep(upstream, None);
        }
        is_closed(second).await;
        is_closed(first).await;
        assert!(begun.elapsed() < LIMIT, "both are closed by the engine");
    });
}

/// One that the server has closed is not used.
#[test]
fn a_closed_connection_is_left_out() {
    run(async {
        let (listener, address) = listener();
        let upstreams = Upstreams::new(
            &through(config(&[address], LIMIT)),
            ServiceKey::default(),
            SharedPools::default(),
        );
        assert!(!request(&upstreams, None).await);
        drop(accepted(&listener));
        let begun = Instant::now();
        while request(&upstreams, None).await {
            assert!(begun.elapsed() < LIMIT, "it is not seen");
            task::yield_now().await;
        }
    });
}

#[test]
fn a_server_is_one_for_all_parts_of_a_service() {
    run(async {
        let (_listens_four, at_four) = listener();
        let (listens_six, at_six) = listener();
        let config = |address| PoolConfig {
            servers: vec![ServerConfig {
                name: "one".to_owned(),
                id: 7,
                ..ServerConfig::of(&address)
            }],
            limits: Limits {
                connections: 1,
                ..Limits::default()
            },
            outliers: Some(OutlierConfig {
                consecutive: 1,
                ejected_percent_max: 100,
                ..OutlierConfig::default()
            }),
            ..PoolConfig::default()
        };
        let shared = SharedPools::default();
        let of = |id, part, address| {
            let key = ServiceKey { id, part };
            let upstreams = Upstreams::new(&through(config(address)), key, shared.clone());
            (upstreams.pool(0).unwrap(), upstreams)
        };
        let (four, _of_four) = of(1, 0, at_four);
        let (six, _of_six) = of(1, 1, at_six);
        let (other, _of_other) = of(2, 0, at_four);
        let key = four.key(std::iter::empty(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let permit = four.choose(&key).await.unwrap();
        // Another service's limit is its own.
        drop(other.choose(&key).await.unwrap());
        let waits = task::spawn_local({
            let (six, key) = (six.clone(), key.clone());
            async move { six.choose(&key).await }
        });
        while four.shared().waiting() == 0 {
            assert!(!waits.is_finished(), "it had room");
            task::yield_now().await;
        }
        drop(permit);
        let permit = waits.await.unwrap().unwrap();
        let _connected = permit.connect_anew(LIMIT).await.unwrap();
        accepted(&listens_six);
        permit.failed();
        let waits = four.try_choose(&key, Instant::now());
        assert!(waits.is_err(), "it is ejected for all parts");
    });
}

#[test]
fn who_looks_at_a_pool_sees_what_its_servers_have() {
    run(async {
        let (_one, one) = listener();
        let (_other, other) = listener();
        let pool = PoolConfig {
            limits: Limits {
                requests: 1,
                ..Limits::default()
            },
            balance: Balance::Hash {
                on: HashOn::Source,
                bound_percent: None,
            },
            ..PoolConfig::of(&[one, other])
        };
        let (shared, service) = (SharedPools::default(), ServiceKey::default());
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let look = || shared.view(service, &pool, std::iter::empty(), client);
        let Some(Decided::Hash(at)) = look().decided else {
            panic!("a hash decides");
        };
        let upstreams = Upstreams::new(&through(pool.clone()), service, shared.clone());
        let own = upstreams.pool(0).unwrap();
        let key = own.key(std::iter::empty(), client);
        let permit = own.choose(&key).await.unwrap();
        let full = look();
        let servers = &full.servers;
        assert_eq!((servers[at].requests, servers[at].has_room), (1, false));
        assert_eq!(
            (servers[1 - at].requests, servers[1 - at].has_room),
            (0, true)
        );
        // As a request would, that comes now.
        assert_eq!(full.decided, Some(Decided::Hash(1 - at)));
        drop(permit);
        assert_eq!(look().decided, Some(Decided::Hash(at)));
    });
}
