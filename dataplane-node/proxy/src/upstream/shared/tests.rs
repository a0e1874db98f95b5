use super::*;

#[test]
fn pools_and_servers_of_one_name_are_one() {
    let pools = SharedPools::default();
    let pool = pools.pool(ServiceKey::default(), "a");
    assert!(Arc::ptr_eq(
        &pool,
        &pools.clone().pool(ServiceKey::default(), "a")
    ));
    assert!(!Arc::ptr_eq(&pool, &pools.pool(ServiceKey::default(), "b")));
    let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let server = pool.server("one", address);
    assert!(Arc::ptr_eq(&server, &pool.server("one", address)));
    assert_ne!(server.id(), pool.server("two", address).id());
    pool.retain();
    assert_eq!(
        lock(&pool.servers).len(),
        1,
        "nobody has the other one any more"
    );
}

#[test]
fn limits_hold_and_none_is_none() {
    let pool = SharedPools::default().pool(ServiceKey::default(), "");
    let server = pool.server("", "192.0.2.1:80".parse().unwrap());
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
    let server = pools
        .pool(ServiceKey::default(), "")
        .server("", "192.0.2.1:80".parse().unwrap());
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
