use std::{
    cell::Cell,
    collections::HashMap,
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Waker},
    thread,
};

use proptest::{collection::vec, prelude::*};
use tokio::{
    task::{LocalSet, yield_now},
    time::timeout,
};

use super::{
    tests::{config, pool, requests, runtime},
    *,
};
use crate::{
    SharedPools,
    balance::{Balance, Limits, OutlierConfig},
};

#[derive(Clone, Debug)]
enum Event {
    /// A request, kept to its server by a cookie if there is a number.
    Begin(Option<usize>),
    /// It is dropped, whether it waits or is served.
    End(usize),
    Poll(usize),
    Fail(usize),
    Update(Vec<u16>, u32),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => proptest::option::of(0usize..4).prop_map(Event::Begin),
        4 => (0usize..50).prop_map(Event::End),
        4 => (0usize..50).prop_map(Event::Poll),
        1 => (0usize..50).prop_map(Event::Fail),
        1 => (vec(0u16..3, 0..4), 0u32..3).prop_map(|(weights, limit)| Event::Update(weights, limit)),
    ]
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Permit, NoServer>>>>;

enum Request {
    Waits(Waiting),
    Served(Permit),
}

fn begin(pool: &Rc<Pool>, marked: Option<usize>) -> Waiting {
    let marked = marked.filter(|server| *server < pool.servers.len());
    let key = RequestKey {
        marked: marked.map(|server| crate::balance::Marked {
            server,
            is_current: true,
        }),
        ..RequestKey::default()
    };
    let pool = pool.clone();
    Box::pin(async move { pool.choose(&key).await })
}

proptest! {
    /// Whatever comes and goes, is dropped in the middle, fails, or is configured: no slot is lost, none is given twice, and nobody waits
    /// while there is room.
    #[test]
    fn no_slot_is_lost(balance in 0usize..4, events in vec(events(), 1..120)) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let shared = SharedPools::default();
        let balance = [
            Balance::RoundRobin,
            Balance::LeastConnections,
            Balance::PeakEwma { decay: Duration::from_secs(1) },
            Balance::Hash { on: crate::HashOn::Source, bound_percent: Some(125) },
        ][balance].clone();
        let with = |weights: &[u16], limit| PoolConfig {
            balance: balance.clone(),
            outliers: Some(OutlierConfig { consecutive: 2, ..OutlierConfig::default() }),
            limits: Limits { requests: limit, pending: 5, ..Limits::default() },
            ..config(weights, limit)
        };
        let mut current = pool(with(&[1, 2, 1], 2), &shared, None);
        let mut requests: Vec<Request> = Vec::new();
        for event in events {
            match event {
                Event::Begin(marked) => requests.push(Request::Waits(begin(&current, marked))),
                Event::End(at) if !requests.is_empty() => {
                    let at = at % requests.len();
                    requests.swap_remove(at);
                }
                Event::Fail(at) if !requests.is_empty() => {
                    let at = at % requests.len();
                    if let Request::Served(permit) = &requests[at] {
                        permit.failed();
                    }
                }
                Event::Poll(at) if !requests.is_empty() => {
                    let at = at % requests.len();
                    poll(&mut requests, at);
                }
                Event::Update(weights, limit) => {
                    let before = current;
                    current = pool(with(&weights, limit), &shared, Some(&before));
                    current.offer();
                    // Those who wait are woken.
                    for at in (0..requests.len()).rev() {
                        poll(&mut requests, at);
                    }
                }
                Event::End(_) | Event::Fail(_) | Event::Poll(_) => {}
            }
            check(&requests)?;
            // Whoever waits was offered all that is free.
            let waiting = shared.pool(0, "").waiting();
            current.offer();
            prop_assert_eq!(shared.pool(0, "").waiting(), waiting);
        }
        // When all that can go on has gone on, who is left waits for a server that has no room.
        for _ in 0..3 {
            for at in (0..requests.len()).rev() {
                poll(&mut requests, at);
            }
        }
        check(&requests)?;
        let counted: Vec<_> = current.servers.iter().map(|it| it.shared.clone()).collect();
        drop(requests);
        prop_assert!(counted.iter().all(|server| server.requests() == 0));
        prop_assert!(current.servers.iter().all(|server| server.requests.get() == 0));
    }
}

fn poll(requests: &mut Vec<Request>, at: usize) {
    let Request::Waits(waiting) = &mut requests[at] else {
        return;
    };
    if let Poll::Ready(chosen) = waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        match chosen {
            Ok(permit) => requests[at] = Request::Served(permit),
            Err(_) => drop(requests.swap_remove(at)),
        }
    }
}

/// A server counts what is served, and those who were given room but do not know it yet.
fn check(requests: &[Request]) -> Result<(), TestCaseError> {
    let mut counts: HashMap<u64, (u32, u32)> = HashMap::new();
    let mut waiting = 0;
    for request in requests {
        match request {
            Request::Waits(_) => waiting += 1,
            Request::Served(permit) => {
                let shared = permit.shared();
                let count = counts.entry(shared.id()).or_insert((0, shared.requests()));
                count.0 += 1;
            }
        }
    }
    for (served, counted) in counts.values() {
        prop_assert!(served <= counted && counted - served <= waiting);
    }
    Ok(())
}

/// Requests that a server works on, and how many were served.
static WORKING: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static DONE: AtomicU32 = AtomicU32::new(0);
const LIMIT: u32 = 3;

/// Workers on threads of their own with more requests than there is room for, some of which give up: no server ever has more than it may
/// have, and in the end all is free.
#[test]
fn limits_hold_for_all_workers() {
    let shared = SharedPools::default();
    let mut config = config(&[1, 1], LIMIT);
    config.limits.pending = 1000;
    config.limits.pending_timeout = Duration::from_mins(1);
    let kept = pool(config.clone(), &shared, None);
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (config, shared) = (config.clone(), shared.clone());
            thread::spawn(move || {
                let pool = pool(config, &shared, None);
                let tasks = LocalSet::new();
                for n in 0..12u64 {
                    let pool = pool.clone();
                    tasks.spawn_local(work(pool, n * 4 + worker));
                }
                runtime().block_on(tasks);
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(requests(&kept), [0, 0]);
    assert!(
        DONE.load(Ordering::SeqCst) > 4 * 12 * 100,
        "most were served"
    );
}

async fn work(pool: Rc<Pool>, seed: u64) {
    let turn = Cell::new(seed);
    for _ in 0..400 {
        turn.set(
            turn.get()
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed | 1),
        );
        let patience = Duration::from_micros(turn.get() >> 54);
        let any = RequestKey::default();
        let chosen = if turn.get() & 0x3000 == 0 {
            timeout(patience, pool.choose(&any)).await.ok()
        } else {
            Some(pool.choose(&any).await)
        };
        let Some(permit) = chosen else { continue };
        let permit = permit.unwrap();
        let working = &WORKING[permit.index()];
        assert!(working.fetch_add(1, Ordering::SeqCst) < LIMIT);
        for _ in 0..turn.get() >> 32 & 3 {
            yield_now().await;
        }
        working.fetch_sub(1, Ordering::SeqCst);
        DONE.fetch_add(1, Ordering::SeqCst);
    }
}
