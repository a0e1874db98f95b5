//! Where requests go: the pools of a worker, and what workers share of them.
//!
//! ```text
//!            worker (one thread)                              node
//! Upstreams ─► Pool (one configuration) ──────────────► SharedPool: queue, ejections
//!               │  │ choose: balance/, by Standing             │
//!               │  ▼                                           │
//!               │ Permit ── connect ─► Upstream, keep          │
//!               ▼    │ answered, failed                        │
//!             Server: idle connections, latency ──────► SharedServer: requests and connections, counted
//! ```
//!
//! Turns, latencies and idle connections are a worker's own: nobody waits for another worker. What must hold for the whole node is
//! counted in [`SharedServer`](shared_server::SharedServer), one cache line for each server: limits, the queue behind them, ejections, and the requests that
//! [`Balance::LeastConnections`](crate::Balance) goes by.

mod carrier;
mod choice;
mod connection;
mod key;
mod origin;
mod permit;
mod pool;
mod server;
mod shared;
mod shared_server;
mod source;
mod view;
mod waiting;

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use tokio::{task, time::timeout};

pub(crate) use carrier::Carrier;
use connection::Transport;
pub(crate) use connection::Upstream;
pub(crate) use key::RequestKey;
pub(crate) use origin::Origin;
pub(crate) use permit::Permit;
pub(crate) use pool::{NoUpstream, Pool};
pub use shared::SharedPools;
pub(crate) use source::Source;
pub use view::{Decided, PoolView, ServerView};

use crate::{config::ProxyConfig, engine::ServiceKey};

/// How often connections are looked at that wait for their next request.
const LOOK: Duration = Duration::from_secs(1);

/// A worker's pools.
#[derive(Debug)]
pub(crate) struct Upstreams {
    pools: RefCell<Vec<Rc<Pool>>>,
    /// Whose pools they are: another service's of the same name are others, another part's of the same service share what holds for the node.
    service: ServiceKey,
    shared: SharedPools,
}

impl Upstreams {
    /// Runs a task beside that closes connections nobody needs: within a [`LocalSet`](task::LocalSet).
    pub(crate) fn new(config: &ProxyConfig, service: ServiceKey, shared: SharedPools) -> Rc<Self> {
        let upstreams = Rc::new(Self {
            pools: RefCell::default(),
            service,
            shared,
        });
        upstreams.update(config);
        task::spawn_local(look_after(Rc::downgrade(&upstreams)));
        upstreams
    }

    /// Goes over to another configuration. Servers that stay keep their connections, what is known of them and the requests that they
    /// work on; the others get no more. Requests that hold a pool of the old one finish by it.
    pub(crate) fn update(&self, config: &ProxyConfig) {
        let transport = Transport::of(config);
        let now = Instant::now();
        let mut pools = self.pools.borrow_mut();
        let old = std::mem::take(&mut *pools);
        *pools = config
            .pools
            .iter()
            .map(|config| {
                let before = old.iter().find(|pool| pool.config().name == config.name);
                match before {
                    Some(pool) if pool.is(config, &transport) => pool.clone(),
                    before => {
                        let before = before.map(|it| &**it);
                        let ServiceKey { id, part } = self.service;
                        let shared = (self.shared.pool(id, &config.name), part);
                        Pool::new(config.clone(), transport.clone(), shared, before, now)
                    }
                }
            })
            .collect();
        for pool in old
            .iter()
            .filter(|old| !pools.iter().any(|it| it.config().name == old.config().name))
        {
            pool.retire(None);
        }
        for server in old.iter().flat_map(|pool| pool.servers()) {
            let remains = |pool: &Rc<Pool>| pool.servers().iter().any(|it| Rc::ptr_eq(it, server));
            if !pools.iter().any(remains) {
                server.leave();
            }
        }
        for pool in &*pools {
            pool.shared().retain();
            pool.offer();
        }
    }

    /// A pool by its place in the configuration.
    pub(crate) fn pool(&self, index: usize) -> Option<Rc<Pool>> {
        self.pools.borrow().get(index).cloned()
    }

    /// Closes idle connections that have waited for too long, that servers have closed, or whose place others need.
    fn tidy(&self) {
        let now = Instant::now();
        for pool in &*self.pools.borrow() {
            for server in pool.servers() {
                server.tidy(now);
            }
        }
    }
}

async fn look_after(upstreams: Weak<Upstreams>) {
    let Some(shared) = upstreams.upgrade().map(|it| it.shared.clone()) else {
        return;
    };
    loop {
        let needed = shared.needed().notified();
        tokio::pin!(needed);
        // Who needs a place from here on is heard.
        needed.as_mut().enable();
        match upstreams.upgrade() {
            Some(upstreams) => upstreams.tidy(),
            None => return,
        }
        // Time for the next look, or somebody needs a place.
        let _either = timeout(LOOK, needed).await;
    }
}

#[cfg(test)]
mod tests;
