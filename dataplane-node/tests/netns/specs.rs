//! What the documents of several tests have in common.

use lbfabric_proto::v1;

/// The pool `web`, whose only server is the peer of a [`Fixture`](crate::fixture::Fixture).
pub(crate) fn pool() -> v1::PoolSpec {
    v1::PoolSpec {
        name: "web".to_owned(),
        backends: vec![v1::BackendSpec {
            name: "s1".to_owned(),
            addresses: vec!["10.88.0.2".to_owned(), "fd88::2".to_owned()],
            ..v1::BackendSpec::default()
        }],
        ..v1::PoolSpec::default()
    }
}

/// The same, probed on port 80 every 100 ms.
pub(crate) fn probed_pool() -> v1::PoolSpec {
    let check = v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec { port: 80 });
    v1::PoolSpec {
        health_check: Some(v1::HealthCheckSpec {
            check: Some(check),
            interval_ms: 100,
            timeout_ms: 50,
            rise: 1,
            fall: 2,
        }),
        ..pool()
    }
}
