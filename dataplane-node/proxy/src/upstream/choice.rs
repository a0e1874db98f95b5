use std::{
    hash::{BuildHasher as _, RandomState},
    rc::Rc,
    time::{Duration, Instant},
};

use super::{pool::Pool, server::Server};
use crate::balance::{
    Balance, Consistent, LeastConnections, Member, PeakEwma, PoolConfig, RoundRobin, Standing,
};

/// What choices go by.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) standing: Standing,
    balancer: Balancer,
    random: u64,
    /// How many ejections `standing` knows of.
    ejections: u64,
    is_fresh: bool,
}

#[derive(Debug)]
enum Balancer {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    PeakEwma {
        decay: Duration,
    },
    Hash {
        ring: Consistent,
        bound_percent: Option<u16>,
    },
}

impl Choice {
    pub(super) fn new(config: &PoolConfig, servers: &[Rc<Server>]) -> Self {
        let members = config
            .servers
            .iter()
            .zip(servers)
            .map(|(config, server)| Member {
                weight: config.weight,
                is_backup: config.is_backup,
                joined: server.joined.get(),
                ejected_until: None,
            });
        let balancer = match &config.balance {
            Balance::RoundRobin => Balancer::RoundRobin(RoundRobin::default()),
            Balance::LeastConnections => Balancer::LeastConnections(LeastConnections::default()),
            Balance::PeakEwma { decay } => Balancer::PeakEwma { decay: *decay },
            Balance::Hash {
                on: _,
                bound_percent,
            } => Balancer::Hash {
                ring: Consistent::new(config),
                bound_percent: *bound_percent,
            },
        };
        Self {
            standing: Standing::new(members.collect(), config.slow_start),
            balancer,
            // Zero would stay zero.
            random: RandomState::new().hash_one(0) | 1,
            ejections: 0,
            is_fresh: false,
        }
    }

    /// Takes in what has changed.
    pub(super) fn look(&mut self, pool: &Pool, now: Instant) {
        let ejections = pool.shared().ejections();
        let has_changed = self
            .standing
            .next_change()
            .is_some_and(|change| change <= now);
        if self.is_fresh && !has_changed && self.ejections == ejections {
            return;
        }
        for (index, server) in pool.servers().iter().enumerate() {
            self.standing.member(index).ejected_until = pool.shared().ejected_until(&server.shared);
        }
        self.standing.refresh(now);
        if !pool.is_retired() {
            for (index, server) in pool.servers().iter().enumerate() {
                server.set_open(self.standing.weight(index) > 0);
            }
        }
        if !self.is_fresh {
            self.stagger();
        }
        (self.is_fresh, self.ejections) = (true, ejections);
    }

    /// Workers do not all begin with the same server.
    fn stagger(&mut self) {
        let turns = self.random() % (self.standing.len() as u64).max(1);
        if let Balancer::RoundRobin(balancer) = &mut self.balancer {
            for _ in 0..turns {
                balancer.choose(&self.standing, |_| true);
            }
        }
    }

    /// A server that has room and is not to be avoided.
    pub(super) fn choose(
        &mut self,
        pool: &Pool,
        hash: u64,
        avoids: Option<usize>,
        now: Instant,
    ) -> Option<usize> {
        let random = self.random();
        let servers = pool.servers();
        let has_room = |it: usize| Some(it) != avoids && servers[it].shared.has_room();
        match &mut self.balancer {
            Balancer::RoundRobin(balancer) => balancer.choose(&self.standing, has_room),
            Balancer::LeastConnections(balancer) => {
                let load = |it: usize| has_room(it).then(|| servers[it].shared.requests());
                balancer.choose(&self.standing, load)
            }
            Balancer::PeakEwma { decay } => {
                let cost = |it: usize| {
                    let requests = servers[it].shared.requests();
                    servers[it].latency.get().cost(requests, now, *decay)
                };
                PeakEwma::choose(&self.standing, random, has_room, cost)
            }
            Balancer::Hash {
                ring,
                bound_percent,
            } => {
                let load = |it: usize| servers[it].requests.get();
                ring.choose(&self.standing, hash, *bound_percent, has_room, load)
            }
        }
    }

    /// Marsaglia's xorshift: nobody gains by knowing what comes next.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
