use std::{net::SocketAddr, thread};

use lbfabric_proxy::{ProxyConfig, listener, work};

/// A worker on a thread of its own, which lives as long as the process of the tests.
pub(crate) fn engine(config: ProxyConfig) -> SocketAddr {
    let listener = listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || work(listener, config).unwrap());
    address
}
