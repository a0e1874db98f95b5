use lbfabric_model::{ObjectKind, snapshot::NodePool};
use lbfabric_proto::v1;
use lbfabric_proxy::{
    Balance, Decided, PoolConfig, Protocol, ProxyConfig, ServerConfig, ServerView,
    http1::RequestHead,
};

use super::{Asked, Told};
use crate::plan::Health;

impl Asked<'_> {
    /// The servers of the pool at a place, the one that gets it where that is decided, and the way there and back.
    pub(super) fn servers(
        &self,
        config: &ProxyConfig,
        pool: usize,
        head: Option<&RequestHead<'_, '_>>,
        told: &mut Told,
    ) {
        let Some(pool_config) = config.pools.get(pool) else {
            return;
        };
        told.pool.clone_from(&pool_config.name);
        let decided = self.standings(config, pool, head, told);
        let name = |at: usize| pool_config.servers[at].name.clone();
        let has_candidate = |told: &Told| told.proxy.servers.iter().any(|it| it.candidate);
        match decided {
            Some(Decided::Cookie(at)) => {
                told.server = name(at);
                told.step(format!("its cookie names {}", told.server));
            }
            Some(Decided::Hash(at)) => {
                told.server = name(at);
                told.step(format!("its hash leads to {}", told.server));
            }
            None if !has_candidate(told) => {
                let gets = match config.protocol {
                    Protocol::Http => "the client gets 503",
                    Protocol::Tcp | Protocol::TlsPassthrough => "the connection is reset",
                };
                told.step(format!("no server takes requests: {gets}"));
                return;
            }
            None => told.step(by_choice(pool_config).to_owned()),
        }
        self.way_there(config, told);
    }

    /// Tells of the pool's servers.
    pub(super) fn standings(
        &self,
        config: &ProxyConfig,
        pool: usize,
        head: Option<&RequestHead<'_, '_>>,
        told: &mut Told,
    ) -> Option<Decided> {
        let pool = config.pools.get(pool)?;
        let fields = head.into_iter().flat_map(RequestHead::fields);
        let client = self.question.source.ip();
        let view = self.engine.pool_view(self.key, pool, fields, client);
        let known = pool.servers.iter().zip(&view.servers);
        let known = known.map(|(server, view)| standing(pool, server, *view));
        let down = self.down(pool);
        told.proxy.servers.extend(known.chain(down));
        let candidates = view.servers.iter().filter(|it| it.is_candidate).count();
        told.step(format!(
            "pool {}, by {}: {candidates} of {} servers take requests",
            pool.name,
            algorithm(&pool.balance),
            told.proxy
                .servers
                .iter()
                .filter(|it| it.pool == pool.name)
                .count()
        ));
        view.decided
    }

    /// The pool's servers that the engine does not have.
    fn down(&self, pool: &PoolConfig) -> Vec<v1::ServerStanding> {
        let Some(desired) = self.desired_pool(&pool.name) else {
            return Vec::new();
        };
        let is_there = |name: &str| pool.servers.iter().any(|it| it.name == name);
        let missing = desired.backends.iter().filter(|it| !is_there(&it.name));
        missing
            .map(|server| {
                let state = match self.health.of(desired, server.id) {
                    Health::Down { reason, .. } => format!("fails its checks: {reason}"),
                    Health::Unknown => "has not been checked yet".to_owned(),
                    Health::Up => "has no address for this VIP's family".to_owned(),
                };
                let v4 = server.ipv4.map(|it| it.to_string());
                let address = v4.or_else(|| server.ipv6.map(|it| it.to_string()));
                v1::ServerStanding {
                    pool: pool.name.clone(),
                    name: server.name.clone(),
                    address: address.unwrap_or_default(),
                    state,
                    candidate: false,
                }
            })
            .collect()
    }

    fn desired_pool(&self, name: &str) -> Option<&NodePool> {
        let mut named = self.desired.names.iter();
        let (key, _) = named.find(|(key, it)| key.kind == ObjectKind::Pool && *it == name)?;
        self.desired.pools.get(&lbfabric_model::PoolId(key.id))
    }

    /// What servers see, and where their answer goes.
    pub(super) fn way_there(&self, config: &ProxyConfig, told: &mut Told) {
        let client = self.question.source;
        let seen = match &config.transparent {
            None => "the node's address".to_owned(),
            Some(transparent) if transparent.beside.iter().any(|it| it.contains(client.ip())) => {
                "the node's address, as the client is in a server's subnet".to_owned()
            }
            Some(_) => format!("{}, and its answer is brought to this node", client.ip()),
        };
        let tls = if config.server_tls.is_some() {
            ", over TLS"
        } else {
            ""
        };
        told.step(format!(
            "the server is connected to{tls} and sees {seen}; its answer goes back over the client's connection, from {}",
            self.question.destination
        ));
    }
}

fn standing(pool: &PoolConfig, server: &ServerConfig, view: ServerView) -> v1::ServerStanding {
    let ServerView {
        is_candidate,
        requests,
        has_room,
        ejected_for,
    } = view;
    let state = match ejected_for {
        Some(left) => format!("ejected for its failures, {} s more", left.as_secs() + 1),
        None if server.weight == 0 => "draining: weight 0".to_owned(),
        None if !has_room => format!("full: {requests} of {} requests", pool.limits.requests),
        None if is_candidate => "takes requests".to_owned(),
        None => "a backup".to_owned(),
    };
    v1::ServerStanding {
        pool: pool.name.clone(),
        name: server.name.clone(),
        address: server.address.to_string(),
        state,
        candidate: is_candidate && has_room,
    }
}

const fn by_choice(pool: &PoolConfig) -> &'static str {
    match pool.balance {
        Balance::RoundRobin => "one of them gets it, in turn: each worker has turns of its own",
        Balance::LeastConnections => {
            "the one of them with the fewest requests for its weight gets it"
        }
        Balance::PeakEwma { .. } => {
            "the better of two of them gets it, by how long answers take each worker"
        }
        Balance::Hash { .. } => "no server has room: it waits until one has",
    }
}

const fn algorithm(balance: &Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round-robin",
        Balance::LeastConnections => "least-connections",
        Balance::PeakEwma { .. } => "peak-ewma",
        Balance::Hash { .. } => "hash",
    }
}
