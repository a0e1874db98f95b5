//! Ours: a worker of the engine in a process of its own, which this program starts itself as.

use std::net::SocketAddr;

use lbfabric_proxy::{ForwardedConfig, ProxyConfig, http1::ForwardedPolicy, listener, work};

/// Serves until it is ended.
pub(crate) fn run(listens: SocketAddr, server: SocketAddr) {
    let config = ProxyConfig {
        servers: vec![server],
        // The others say less of a client: its address alone.
        forwarded: ForwardedConfig {
            x_forwarded: ForwardedPolicy::Replace,
            forwarded: ForwardedPolicy::Leave,
        },
        idle_connections: 128,
        ..ProxyConfig::default()
    };
    work(listener(listens).unwrap(), config).unwrap();
}
