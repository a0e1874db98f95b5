//! The replicated state: what all controllers agree on, changed by commands alone.

mod announcements;
mod apply;
mod certificates;
mod check;
mod claimed_ports;
mod endpoints;
mod engine_vips;
mod leases;
mod nesting;
mod restore;
mod stored;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use lbfabric_abi::{BACKENDS_MAX, POOLS_MAX, SERVICES_MAX};
use lbfabric_proto::v1;

pub use self::leases::{LeaseCommand, Leases, VipWish, WishChange};
pub(crate) use self::stored::{Stored, StoredCertificate, StoredPool, StoredService};
use crate::{
    BackendId, CERTIFICATES_MAX, CertificateId, Command, Generation, Name, Node, Outcome, PoolId,
    SecretKey, ServiceId, TicketKeys, Violation, id::IdAllocator,
};

/// The fabric as all controllers hold it. Cloning is cheap for the objects, which are shared.
#[derive(Clone, Debug)]
pub struct FabricState {
    generation: Generation,
    objects_generation: Generation,
    services: BTreeMap<Name, Arc<StoredService>>,
    pools: BTreeMap<Name, Arc<StoredPool>>,
    nodes: BTreeMap<Name, Arc<Stored<Node>>>,
    certificates: BTreeMap<Name, Arc<StoredCertificate>>,
    hash_key: Option<[u8; 16]>,
    ticket_keys: TicketKeys,
    cookie_key: Option<SecretKey>,
    service_ids: IdAllocator,
    pool_ids: IdAllocator,
    backend_ids: IdAllocator,
    certificate_ids: IdAllocator,
    leases: Arc<Leases>,
}

impl Default for FabricState {
    fn default() -> Self {
        Self {
            generation: Generation::default(),
            objects_generation: Generation::default(),
            services: BTreeMap::new(),
            pools: BTreeMap::new(),
            nodes: BTreeMap::new(),
            certificates: BTreeMap::new(),
            hash_key: None,
            ticket_keys: TicketKeys::default(),
            cookie_key: None,
            service_ids: IdAllocator::new(SERVICES_MAX),
            pool_ids: IdAllocator::new(POOLS_MAX),
            backend_ids: IdAllocator::new(BACKENDS_MAX),
            certificate_ids: IdAllocator::new(CERTIFICATES_MAX),
            leases: Arc::default(),
        }
    }
}

// === impl FabricState ===

impl FabricState {
    /// The generation of the last change, which nodes follow.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The generation of the last change of objects, which callers of the API see and expect. Keys that controllers renew by themselves
    /// leave it as it is, so that nobody's work is refused for a change that nobody made.
    pub fn objects_generation(&self) -> Generation {
        self.objects_generation
    }

    /// Executes the log entry with this index. The outcome depends on the state and the command only; a command that is
    /// refused, or finds everything as asked, changes nothing.
    pub fn apply(&mut self, index: Generation, command: &Command) -> Outcome {
        let mut next = self.clone();
        match next.execute(index, command) {
            Ok(changes) => {
                // A new fabric begins with its hash key: 0 would be no generation to expect.
                if apply::is_change(&changes) || next.hash_key != self.hash_key {
                    next.objects_generation = index;
                    next.generation = index;
                    *self = next;
                } else if next.ticket_keys != self.ticket_keys || next.cookie_key != self.cookie_key
                {
                    next.generation = index;
                    *self = next;
                } else if next.leases != self.leases {
                    *self = next;
                }
                let generation = match command {
                    Command::AddTicketKey { .. } | Command::SetCookieKey(_) => self.generation,
                    Command::Apply(_)
                    | Command::Delete(_)
                    | Command::SetHashKey(_)
                    | Command::Lease(_) => self.objects_generation,
                };
                Outcome::Applied {
                    generation,
                    changes,
                }
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// What [`Self::apply`] would answer now, with the generation as it is.
    pub fn preview(&self, command: &Command) -> Outcome {
        match self.clone().execute(self.generation, command) {
            Ok(changes) => Outcome::Applied {
                generation: self.objects_generation,
                changes,
            },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Every mistake of a specification: those of an object by itself, and those against this state.
    pub fn violations(&self, spec: &v1::FabricSpec, prune: bool) -> Vec<Violation> {
        check::violations(self, spec, prune)
    }

    /// Whether the key of the selection hash is set. Nodes get nothing before it is.
    pub fn has_hash_key(&self) -> bool {
        self.hash_key.is_some()
    }

    /// The key of cookies that keep clients with their servers.
    pub fn cookie_key(&self) -> Option<&SecretKey> {
        self.cookie_key.as_ref()
    }

    /// The names of the services that have a VIP, in order.
    pub fn services_of(&self, vip: IpAddr) -> impl Iterator<Item = &Name> {
        let services = self.services.values().map(|stored| &stored.service);
        let having = services.filter(move |it| it.vips.iter().any(|of| *of == vip.into()));
        having.map(|it| &it.name)
    }

    /// Who answers for VIPs.
    pub fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// The keys of TLS sessions' tickets.
    pub fn ticket_keys(&self) -> &TicketKeys {
        &self.ticket_keys
    }

    /// One object, without its status.
    pub fn object(&self, kind: v1::Kind, name: &str) -> Option<v1::Object> {
        match kind {
            v1::Kind::Unspecified => None,
            v1::Kind::Service => self.services.get(name).map(|s| s.to_object()),
            v1::Kind::Pool => self.pools.get(name).map(|p| p.to_object()),
            v1::Kind::Node => self.nodes.get(name).map(|n| n.to_object()),
            v1::Kind::Certificate => self.certificates.get(name).map(|c| c.to_object()),
        }
    }

    /// All objects of a kind, or of every kind for the unspecified one, by kind and name, without their status.
    pub fn objects(&self, kind: v1::Kind) -> Vec<v1::Object> {
        let wanted = |k| kind == k || kind == v1::Kind::Unspecified;
        let mut objects = Vec::new();
        if wanted(v1::Kind::Service) {
            objects.extend(self.services.values().map(|s| s.to_object()));
        }
        if wanted(v1::Kind::Pool) {
            objects.extend(self.pools.values().map(|p| p.to_object()));
        }
        if wanted(v1::Kind::Node) {
            objects.extend(self.nodes.values().map(|n| n.to_object()));
        }
        if wanted(v1::Kind::Certificate) {
            objects.extend(self.certificates.values().map(|c| c.to_object()));
        }
        objects
    }

    /// The name of the service with this id.
    pub fn service_name(&self, id: ServiceId) -> Option<&str> {
        let found = self.services.values().find(|s| s.id == id)?;
        Some(found.service.name.as_str())
    }

    /// The name of the pool with this id.
    pub fn pool_name(&self, id: PoolId) -> Option<&str> {
        let found = self.pools.values().find(|p| p.id == id)?;
        Some(found.pool.name.as_str())
    }

    /// The name of the certificate with this id.
    pub fn certificate_name(&self, id: CertificateId) -> Option<&str> {
        let found = self.certificates.values().find(|c| c.id == id)?;
        Some(found.certificate.name.as_str())
    }

    /// The names of the pool and the server with this id.
    pub fn pool_of_backend(&self, id: BackendId) -> Option<(&str, &str)> {
        self.pools.values().find_map(|p| {
            let at = p.backend_ids.iter().position(|b| *b == id)?;
            Some((p.pool.name.as_str(), p.pool.backends[at].name.as_str()))
        })
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<StoredService>> {
        self.services.values()
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<StoredPool>> {
        self.pools.values()
    }

    pub(crate) fn pool(&self, name: &Name) -> Option<&Arc<StoredPool>> {
        self.pools.get(name)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Stored<Node>>> {
        self.nodes.values()
    }

    pub(crate) fn certificate(&self, name: &Name) -> Option<&Arc<StoredCertificate>> {
        self.certificates.get(name)
    }

    pub(crate) fn hash_key(&self) -> Option<[u8; 16]> {
        self.hash_key
    }
}

#[cfg(test)]
mod tests;
