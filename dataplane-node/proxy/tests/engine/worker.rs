use std::{net::SocketAddr, thread};

use lbfabric_proxy::{ProxyConfig, SharedPools, listener, work};

/// A worker on a thread of its own, which lives as long as the process of the tests.
pub(crate) fn engine(config: ProxyConfig) -> SocketAddr {
    engine_beside(config, SharedPools::default())
}

/// One of several workers of a node.
pub(crate) fn engine_beside(config: ProxyConfig, shared: SharedPools) -> SocketAddr {
    let listener = listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || work(listener, config, shared).unwrap());
    address
}
