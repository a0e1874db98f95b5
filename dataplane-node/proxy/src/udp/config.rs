use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

/// How datagrams are relayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// Where sessions go, in turn.
    pub servers: Vec<SocketAddr>,
    /// Where no new sessions go, and those stay that are there.
    pub leaving: Vec<SocketAddr>,
    /// What servers are called where they are seen; the others have their addresses for that.
    pub names: BTreeMap<SocketAddr, Arc<str>>,
    /// How long a session may be silent in both directions.
    pub idle: Duration,
    /// Sessions of each worker, of a socket each. Datagrams that would begin more are dropped.
    pub sessions_max: usize,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            leaving: Vec::new(),
            names: BTreeMap::new(),
            idle: Duration::from_secs(30),
            sessions_max: 16_384,
        }
    }
}

impl UdpConfig {
    /// Whether sessions with a server go on.
    pub(super) fn keeps(&self, server: SocketAddr) -> bool {
        self.servers.contains(&server) || self.leaving.contains(&server)
    }
}
