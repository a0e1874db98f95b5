use std::{net::SocketAddr, time::Duration};

use super::{OutlierConfig, RetryBudgetConfig, StickyConfig};

/// Servers that do the same, and how requests are spread over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Unique in its service. What holds for the whole node, and for all parts of the service, is by it: limits, the queue and ejections.
    pub name: String,
    /// Where requests go. Without one, every request is answered with 503.
    pub servers: Vec<ServerConfig>,
    /// Which of them gets a request.
    pub balance: Balance,
    /// A cookie that keeps a client with its server; none: every request is for itself.
    pub sticky: Option<StickyConfig>,
    /// What servers are spared.
    pub limits: Limits,
    /// How long a server that joins or comes back takes until it has its whole share; zero: it has it at once.
    pub slow_start: Duration,
    /// Which failures take a server out for a while; none: no failure does.
    pub outliers: Option<OutlierConfig>,
    /// How many requests may be tried again.
    pub retries: RetryBudgetConfig,
    /// Connections that wait for their next request.
    pub idle: Idle,
    /// Slots of the ring of [`Balance::Hash`]: a prime, a hundred times as many as servers or more.
    pub ring_slots: u32,
}

/// One of a pool's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Unique in its pool. What sticky cookies and hashes go by, so it stays while the address changes.
    pub name: String,
    /// Which server of that name it is: one that has come in another's place is another. Parts of a service reach the same one, at other
    /// addresses or ports, and what it is spared holds for all of them together.
    pub id: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share. 0 drains it: it gets what belongs to it by a sticky cookie, and what it has begun it finishes.
    pub weight: u16,
    /// It gets requests only while no other server can.
    pub is_backup: bool,
}

/// Which server gets a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight: each worker has turns of its own.
    #[default]
    RoundRobin,
    /// The one with the fewest requests for its weight, those of all workers counted; of equals, in turn.
    LeastConnections,
    /// The better of two at random, by how long answers take and how many are awaited. Each worker goes by answers of its own.
    PeakEwma {
        /// After which time an answer weighs about a third.
        decay: Duration,
    },
    /// The same one for the same client, as long as it is there.
    Hash {
        /// What tells clients apart.
        on: HashOn,
        /// How much of its share of a worker's requests a server has at most, in percent, from 100 on; none: whatever comes.
        bound_percent: Option<u16>,
    },
}

/// What of a request a hash is made of. A request without it is told by its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    Source,
    /// A field of the head: its name, in lower case.
    Header(String),
    /// A cookie: its name.
    Cookie(String),
}

/// What the servers of a pool are spared. They hold for the whole node: all workers count together. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that a server works on at a time.
    pub requests: u32,
    /// Open connections to a server, those that wait for their next request too.
    pub connections: u32,
    /// Requests that wait until a server has room; more get 503, and with 0 none waits.
    pub pending: u32,
    /// How long one waits until it gets 503.
    pub pending_timeout: Duration,
}

/// Connections that wait for their next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// To each server, for each worker.
    pub connections: usize,
    /// How long one waits, unless the server says less.
    pub timeout: Duration,
}

// === impl PoolConfig ===

impl PoolConfig {
    /// Servers in turn, each named by its address.
    pub fn of(servers: &[SocketAddr]) -> Self {
        Self {
            servers: servers.iter().map(ServerConfig::of).collect(),
            ..Self::default()
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            servers: Vec::new(),
            balance: Balance::default(),
            sticky: None,
            limits: Limits::default(),
            slow_start: Duration::ZERO,
            outliers: None,
            retries: RetryBudgetConfig::default(),
            idle: Idle::default(),
            ring_slots: 4099,
        }
    }
}

// === impl ServerConfig ===

impl ServerConfig {
    /// With its address for a name, and a weight like the others'.
    pub fn of(address: &SocketAddr) -> Self {
        Self {
            name: address.to_string(),
            id: 0,
            address: *address,
            weight: 1,
            is_backup: false,
        }
    }
}

// === impl Limits, Idle ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 0,
            connections: 0,
            pending: 1024,
            pending_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            // As many as a burst has needed: to close what is needed again in a moment would use up the node's ports, each of which
            // rests for a minute then.
            connections: 4096,
            timeout: Duration::from_secs(50),
        }
    }
}
