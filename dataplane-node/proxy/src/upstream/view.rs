//! What is seen of a pool from outside of its workers.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{SharedPools, key::RequestKey};
use crate::{
    balance::{Balance, Consistent, Member, PoolConfig, Standing, Sticky},
    engine::{Engine, ServiceKey},
    http1::Field,
};

/// A pool as it is at a moment, for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolView {
    /// The servers, in the order of the configuration.
    pub servers: Vec<ServerView>,
    /// Which of them gets the request, where that is not a matter of turns or of chance.
    pub decided: Option<Decided>,
}

/// A server as it is at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerView {
    /// Whether it gets requests that are for any server.
    pub is_candidate: bool,
    /// Requests, or connections that are relayed, that it works on.
    pub requests: u32,
    /// Whether it may get one more.
    pub has_room: bool,
    /// For how long it is still out because of its failures.
    pub ejected_for: Option<Duration>,
}

/// What decides on a server, and on which, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The request's cookie names it.
    Cookie(usize),
    /// The request's hash. A bound on servers' shares is not looked at: it goes by what each worker has.
    Hash(usize),
}

impl Engine {
    /// What is known of a pool of a service, for a request with these fields. Slow start is not looked at: it is each worker's own.
    pub fn pool_view<'f>(
        &self,
        service: ServiceKey,
        config: &PoolConfig,
        fields: impl Iterator<Item = Field<'f>>,
        client: IpAddr,
    ) -> PoolView {
        self.shared().view(service, config, fields, client)
    }
}

impl SharedPools {
    pub(super) fn view<'f>(
        &self,
        service: ServiceKey,
        config: &PoolConfig,
        fields: impl Iterator<Item = Field<'f>>,
        client: IpAddr,
    ) -> PoolView {
        let now = Instant::now();
        let seen = self.seen(service.id, config, now);
        let members = config.servers.iter().zip(&seen);
        let members = members.map(|(server, (_, ejected_until))| Member {
            weight: server.weight,
            is_backup: server.is_backup,
            joined: None,
            ejected_until: *ejected_until,
        });
        let mut standing = Standing::new(members.collect(), Duration::ZERO);
        standing.refresh(now);
        let mut servers: Vec<_> = seen.into_iter().map(|(view, _)| view).collect();
        for server in standing.candidates() {
            servers[*server].is_candidate = true;
        }
        let names = config.servers.iter().map(|server| server.name.as_str());
        let sticky = config.sticky.as_ref();
        let sticky = sticky.and_then(|it| Sticky::new(it, &config.name, names));
        let key = RequestKey::of(config, sticky.as_ref(), fields, client);
        let marked = key.marked.map(|marked| marked.server);
        let marked = marked.filter(|it| !standing.is_ejected(*it, now));
        let hashed = || match &config.balance {
            Balance::Hash { .. } => Consistent::new(config).choose(
                &standing,
                key.hash,
                None,
                |it| servers[it].has_room,
                |it| servers[it].requests,
            ),
            Balance::RoundRobin | Balance::LeastConnections | Balance::PeakEwma { .. } => None,
        };
        let decided = marked
            .map(Decided::Cookie)
            .or_else(|| hashed().map(Decided::Hash));
        PoolView { servers, decided }
    }
}
