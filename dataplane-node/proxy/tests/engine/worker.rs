use std::{net::SocketAddr, thread};

use lbfabric_proxy::{ProxyConfig, listener, serve};

/// A worker on a thread of its own, which lives as long as the process of the tests.
pub(crate) fn engine(config: ProxyConfig) -> SocketAddr {
    let listener = listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new()
            .block_on(&runtime, serve(listener, config))
            .unwrap();
    });
    address
}
