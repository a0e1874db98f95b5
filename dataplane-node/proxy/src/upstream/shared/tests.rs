use super::*;
use crate::upstream::Source;

#[test]
fn pools_and_servers_of_one_name_are_one() {
    let pools = SharedPools::default();
    let pool = pools.pool(0, "a");
    assert!(Arc::ptr_eq(&pool, &pools.clone().pool(0, "a")));
    assert!(!Arc::ptr_eq(&pool, &pools.pool(0, "b")));
    let server = pool.server("one", 1);
    assert!(Arc::ptr_eq(&server, &pool.server("one", 1)));
    assert_ne!(server.id(), pool.server("two", 1).id());
    // One that has come in its place.
    assert_ne!(server.id(), pool.server("one", 2).id());
    pool.retain();
    assert_eq!(
        lock(&pool.servers).len(),
        1,
        "nobody has the other one any more"
    );
}

#[test]
fn limits_hold_and_none_is_none() {
    let pool = SharedPools::default().pool(0, "");
    let server = pool.server("", 1);
    for (limit, expected) in [(0, None), (2, Some(2)), (1, Some(1))] {
        server.set_limits(limit, 0);
        let admitted = (0..100).take_while(|_| server.admit()).count();
        assert_eq!((admitted < 100).then_some(admitted), expected);
        (0..admitted).for_each(|_| pool.release(&server));
    }
    assert_eq!(server.requests(), 0);
}

/// The place of a connection that goes is heard of, whoever is first.
#[test]
fn a_connections_place_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pools = SharedPools::default();
    let server = pools.pool(0, "").server("", 1);
    server.set_limits(0, 1);
    runtime.block_on(async {
        for _ in 0..3 {
            let slot = server.slot().unwrap();
            assert!(server.slot().is_none());
            let needed = pools.needed().notified();
            tokio::pin!(needed);
            needed.as_mut().enable();
            let waits = tokio::spawn({
                let server = server.clone();
                async move { drop(server.free_slot().await) }
            });
            needed.await;
            assert_eq!(server.needed(), 1);
            drop(slot);
            waits.await.unwrap();
            assert_eq!(server.needed(), 0);
        }
    });
}

/// Parts of a service need not reach the same servers.
#[test]
fn room_is_given_to_those_who_reach_the_server() {
    let pool = SharedPools::default().pool(0, "");
    let server = pool.server("", 1);
    server.set_limits(1, 0);
    assert!(server.admit());
    server.open_for_one_more(0, true);
    let (_first, mut elsewhere) = pool.join(None, 1, 10).unwrap();
    let (_second, mut here) = pool.join(None, 0, 10).unwrap();
    pool.release(&server);
    assert!(elsewhere.try_recv().is_err());
    let granted = here.try_recv().unwrap();
    server.open_for_one_more(1, true);
    // It goes back, and to the next one.
    drop(granted);
    drop(elsewhere.try_recv().unwrap());
    assert_eq!(server.requests(), 0);
    for part in [0, 1] {
        server.open_for_one_more(part, false);
    }
    assert!(server.open_for().is_empty());
}

#[test]
fn connections_from_clients_addresses_are_told_by_where_they_lead() {
    let pools = SharedPools::default();
    let pool = pools.pool(0, "");
    let server = pool.server("", 1);
    let [one, other]: [SocketAddr; 2] =
        ["192.0.2.1:80", "[2001:db8::1]:80"].map(|it| it.parse().unwrap());
    let source = Source::new("127.0.0.1:9".parse().unwrap(), false);
    let slot = |address| server.slot().unwrap().of(Some((source, address)));
    let (first, second, _third) = (slot(one), slot(one), slot(other));
    assert_eq!(pools.transparent(), BTreeSet::from([one, other]));
    drop(first);
    assert_eq!(pools.transparent(), BTreeSet::from([one, other]));
    drop(second);
    assert_eq!(pools.transparent(), BTreeSet::from([other]));
}
