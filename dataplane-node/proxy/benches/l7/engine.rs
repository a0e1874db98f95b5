//! Ours: the engine with one worker in a process of its own, which this program starts itself as.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use lbfabric_proxy::{
    Engine, EngineConfig, EngineService, ForwardedConfig, Idle, PoolConfig, ProxyConfig,
    ServiceKey, http1::ForwardedPolicy,
};

/// Serves until it is ended.
pub(crate) fn run(listens: SocketAddr, server: SocketAddr) {
    let proxy = ProxyConfig {
        pools: vec![PoolConfig {
            idle: Idle {
                connections: 128,
                ..Idle::default()
            },
            ..PoolConfig::of(&[server])
        }],
        // The others say less of a client: its address alone.
        forwarded: ForwardedConfig {
            x_forwarded: ForwardedPolicy::Replace,
            forwarded: ForwardedPolicy::Leave,
        },
        ..ProxyConfig::default()
    };
    let service = EngineService {
        listen: vec![listens],
        proxy: Arc::new(proxy),
    };
    let key = ServiceKey { id: 1, part: 0 };
    let config = EngineConfig {
        services: BTreeMap::from([(key, service)]),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let engine = Engine::start(1, Duration::ZERO).unwrap();
        let failed = engine.apply(config).await;
        assert!(failed.is_empty(), "{failed:?}");
        std::future::pending::<()>().await;
    });
}
