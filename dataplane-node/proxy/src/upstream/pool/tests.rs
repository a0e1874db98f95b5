use std::{
    future::Future,
    net::SocketAddr,
    task::{Context, Poll, Waker},
};

use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::*;
use crate::SharedPools;
use crate::balance::{Balance, Limits, OutlierConfig, ServerConfig, StickyConfig, StickyKey};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Named by their places.
pub(super) fn config(weights: &[u16], requests: u32) -> PoolConfig {
    let server = |(n, weight): (usize, &u16)| ServerConfig {
        name: format!("server-{n}"),
        weight: *weight,
        ..ServerConfig::of(&SocketAddr::from((
            [192, 0, 2, u8::try_from(n).unwrap()],
            80,
        )))
    };
    PoolConfig {
        servers: weights.iter().enumerate().map(server).collect(),
        limits: Limits {
            requests,
            ..Limits::default()
        },
        ..PoolConfig::default()
    }
}

pub(super) fn pool(config: PoolConfig, shared: &SharedPools, before: Option<&Pool>) -> Rc<Pool> {
    let shared = shared.pool(0, &config.name);
    Pool::new(
        config,
        Transport::default(),
        (shared, 0),
        before,
        Instant::now(),
    )
}

/// What comes out at once, without waiting.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn choose(pool: &Rc<Pool>, key: &RequestKey) -> Result<Permit, NoServer> {
    at_once(pool.choose(key)).expect("there is room")
}

fn key(pool: &Pool, fields: &[(&'static str, &'static [u8])]) -> RequestKey {
    let fields = fields.iter().map(|(name, value)| Field { name, value });
    pool.key(fields, CLIENT)
}

/// The field that a client sends back.
fn cookie(permit: &Permit) -> String {
    let line = permit.mark().expect("it is marked");
    let pair = line.strip_prefix("Set-Cookie: ").unwrap();
    pair.split_once(';').unwrap().0.to_owned()
}

#[test]
fn who_fails_is_out_for_all_workers() {
    let shared = SharedPools::default();
    let config = PoolConfig {
        outliers: Some(OutlierConfig::default()),
        ..config(&[1, 1], 0)
    };
    let (one, other) = (
        pool(config.clone(), &shared, None),
        pool(config, &shared, None),
    );
    let any = RequestKey::default();
    // Four of one worker's and one of the other's.
    for n in 0..20 {
        let permit = choose(if n % 8 < 6 { &one } else { &other }, &any).unwrap();
        match permit.index() {
            0 => permit.answered(503, true),
            _ => permit.answered(500, true),
        }
    }
    for pool in [&one, &other] {
        assert!((0..10).all(|_| choose(pool, &any).unwrap().index() == 1));
    }
}

#[test]
fn a_client_stays_with_its_server_though_it_is_drained() {
    let shared = SharedPools::default();
    let sticky = StickyConfig::new("lb", StickyKey::new([1; 32]));
    let config = |weights| PoolConfig {
        sticky: Some(sticky.clone()),
        ..config(weights, 0)
    };
    let before = pool(config(&[1, 1]), &shared, None);
    let permits: Vec<_> = (0..2)
        .map(|_| choose(&before, &key(&before, &[])).unwrap())
        .collect();
    let first = permits.iter().find(|permit| permit.index() == 0).unwrap();
    let field: &'static [u8] = cookie(first).into_bytes().leak();
    let drained = pool(config(&[0, 1]), &shared, Some(&before));
    for _ in 0..5 {
        let permit = choose(&drained, &key(&drained, &[("Cookie", field)])).unwrap();
        assert_eq!((permit.index(), permit.mark()), (0, None));
        let forged = choose(&drained, &key(&drained, &[("Cookie", b"lb=00")])).unwrap();
        assert_eq!(forged.index(), 1);
        assert!(forged.mark().is_some());
    }
    let mut elsewhere = key(&drained, &[("Cookie", field)]);
    elsewhere.avoids = Some(0);
    let permit = choose(&drained, &elsewhere).unwrap();
    assert_eq!(permit.index(), 1);
    assert_ne!(
        cookie(&permit).as_bytes(),
        field,
        "it comes back here from now on"
    );
}

#[test]
fn a_hash_goes_by_what_it_is_told_to() {
    let shared = SharedPools::default();
    let of = |on| PoolConfig {
        balance: Balance::Hash {
            on,
            bound_percent: None,
        },
        ..config(&[1; 10], 0)
    };
    let by_header = pool(
        of(crate::HashOn::Header("x-user".to_owned())),
        &shared,
        None,
    );
    let by_cookie = pool(of(crate::HashOn::Cookie("user".to_owned())), &shared, None);
    let servers = |pool: &Rc<Pool>, name, field: fn(usize) -> String| {
        let server = |n| {
            let value: &'static [u8] = field(n).into_bytes().leak();
            let key = key(pool, &[("Other", b"x"), (name, value)]);
            (0..3)
                .map(|_| choose(pool, &key).unwrap().index())
                .collect::<Vec<_>>()
        };
        let servers: Vec<_> = (0..50).map(server).collect();
        assert!(servers.iter().all(|it| it[0] == it[1] && it[1] == it[2]));
        servers
            .iter()
            .map(|it| it[0])
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    assert!(servers(&by_header, "X-User", |n| n.to_string()) > 5);
    assert!(servers(&by_cookie, "Cookie", |n| format!("a=b; user={n}")) > 5);
    // Without what it goes by, the source tells.
    assert_eq!(servers(&by_cookie, "Cookie", |n| format!("other={n}")), 1);
}

#[test]
fn a_new_server_begins_with_little_of_what_it_gets() {
    let shared = SharedPools::default();
    let slow = |weights| PoolConfig {
        slow_start: Duration::from_mins(10),
        ..config(weights, 0)
    };
    let before = pool(slow(&[1]), &shared, None);
    let any = RequestKey::default();
    assert!((0..100).all(|_| choose(&before, &any).unwrap().index() == 0));
    let after = pool(slow(&[1, 1]), &shared, Some(&before));
    assert!(Rc::ptr_eq(&before.servers[0], &after.servers[0]));
    let of_new = (0..200)
        .filter(|_| choose(&after, &any).unwrap().index() == 1)
        .count();
    assert!(of_new <= 3, "{of_new}");
}

/// What waits gets room in its order, whoever gives it back, and 503 says why there is none.
#[test]
fn who_finds_no_room_waits() {
    let shared = SharedPools::default();
    let mut config = config(&[1, 1], 1);
    config.limits.pending = 1;
    config.limits.pending_timeout = Duration::from_millis(100);
    let pool = pool(config, &shared, None);
    let any = RequestKey::default();
    runtime().block_on(async {
        let mut held: Vec<_> = (0..2).map(|_| choose(&pool, &any).unwrap()).collect();
        let waiting = pool.choose(&any);
        tokio::pin!(waiting);
        assert!(
            timeout(Duration::from_millis(10), &mut waiting)
                .await
                .is_err()
        );
        let refused = pool.choose(&any).await.map(|_| ());
        assert_eq!(refused, Err(NoServer::QueueFull));
        let freed = held.remove(1).index();
        assert_eq!(waiting.await.unwrap().index(), freed);
        let begun = Instant::now();
        held.push(choose(&pool, &any).unwrap());
        let late = pool.choose(&any).await.map(|_| ());
        assert_eq!(late, Err(NoServer::WaitedTooLong));
        assert!(begun.elapsed() >= Duration::from_millis(100));
    });
    assert_eq!(requests(&pool), [0, 0]);
    let nobody = self::pool(PoolConfig::default(), &SharedPools::default(), None);
    assert_eq!(
        at_once(nobody.choose(&any)).unwrap().map(|_| ()),
        Err(NoServer::NoneThere)
    );
}

/// A wait ends with its configuration, and who is ejected meanwhile gets none of those who wait until it is back.
#[test]
fn who_waits_sees_what_changes() {
    let shared = SharedPools::default();
    let mut config = config(&[1, 1], 1);
    config.limits.pending_timeout = Duration::from_mins(1);
    config.outliers = Some(OutlierConfig {
        consecutive: 1,
        ejection: Duration::from_millis(200),
        ..OutlierConfig::default()
    });
    let (one, other) = (
        pool(config.clone(), &shared, None),
        pool(config, &shared, None),
    );
    let any = RequestKey::default();
    runtime().block_on(async {
        let mut held: Vec<_> = (0..2).map(|_| choose(&one, &any).unwrap()).collect();
        let waiting = other.choose(&any);
        tokio::pin!(waiting);
        assert!(
            timeout(Duration::from_millis(10), &mut waiting)
                .await
                .is_err()
        );
        let begun = Instant::now();
        held[0].failed();
        let ejected = held.remove(0).index();
        let permit = timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(permit.index(), ejected);
        assert!(begun.elapsed() >= Duration::from_millis(200));

        let waiting = other.choose(&any);
        tokio::pin!(waiting);
        assert!(
            timeout(Duration::from_millis(10), &mut waiting)
                .await
                .is_err()
        );
        let _empty = pool(PoolConfig::default(), &shared, Some(&other));
        let told = timeout(Duration::from_secs(20), waiting).await.unwrap();
        assert_eq!(told.map(|_| ()), Err(NoServer::NoneThere));
    });
}

pub(super) fn requests(pool: &Pool) -> Vec<u32> {
    pool.servers
        .iter()
        .map(|server| server.shared.requests())
        .collect()
}
