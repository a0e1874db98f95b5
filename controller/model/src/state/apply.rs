use std::{collections::BTreeSet, sync::Arc};

use lbfabric_proto::v1;

use super::{FabricState, Stored, StoredCertificate, StoredPool, StoredService, check};
use crate::{
    Apply, BackendId, Certificate, CertificateId, Command, Delete, Document, Generation, Name,
    Node, ObjectRef, Pool, PoolId, Refusal, RefusalKind, Service, ServiceId, document::Broken,
};

/// Whether anything differs after these.
pub(super) fn is_change(changes: &[v1::Change]) -> bool {
    changes
        .iter()
        .any(|change| change.action() != v1::Action::Unchanged)
}

impl FabricState {
    /// Executes a command on a copy that is thrown away when it is refused.
    pub(super) fn execute(
        &mut self,
        index: Generation,
        command: &Command,
    ) -> Result<Vec<v1::Change>, Refusal> {
        match command {
            Command::Apply(Apply {
                document,
                prune,
                expected_generation,
            }) => {
                self.expect_generation(*expected_generation)?;
                let violations = check::against_state(self, document, &Broken::default(), *prune);
                if !violations.is_empty() {
                    let kind = RefusalKind::Invalid;
                    return Err(Refusal { kind, violations });
                }
                self.put_document(index, document, *prune)
            }
            Command::Delete(Delete {
                refs,
                expected_generation,
            }) => {
                self.expect_generation(*expected_generation)?;
                self.delete(refs)
            }
            Command::SetHashKey(key) => {
                self.hash_key.get_or_insert(*key);
                Ok(Vec::new())
            }
            Command::AddTicketKey { period, secret } => {
                self.ticket_keys.add(*period, secret.clone());
                Ok(Vec::new())
            }
            Command::SetCookieKey(key) => {
                self.cookie_key.get_or_insert_with(|| key.clone());
                Ok(Vec::new())
            }
            Command::Lease(lease) => {
                Arc::make_mut(&mut self.leases).execute(index, lease)?;
                Ok(Vec::new())
            }
        }
    }

    fn expect_generation(&self, expected: Option<Generation>) -> Result<(), Refusal> {
        match expected {
            Some(expected) if expected != self.objects_generation => Err(Refusal::new(
                RefusalKind::Stale,
                "expected_generation",
                format!(
                    "the fabric is at generation {}, not {expected}: read it again and decide anew",
                    self.objects_generation
                ),
            )),
            _ => Ok(()),
        }
    }

    fn put_document(
        &mut self,
        index: Generation,
        document: &Document,
        prune: bool,
    ) -> Result<Vec<v1::Change>, Refusal> {
        let Document {
            pools,
            services,
            nodes,
            certificates,
        } = document;
        let mut changes = Vec::new();
        if prune {
            self.prune(document, &mut changes);
        }
        for (i, pool) in pools {
            changes.push(self.put_pool(index, *i, pool)?);
        }
        for (i, service) in services {
            changes.push(self.put_service(index, *i, service)?);
        }
        for (_, node) in nodes {
            changes.push(self.put_node(index, node));
        }
        for (i, certificate) in certificates {
            changes.push(self.put_certificate(index, *i, certificate)?);
        }
        Ok(changes)
    }

    fn prune(&mut self, document: &Document, changes: &mut Vec<v1::Change>) {
        let kept: BTreeSet<_> = document.services.iter().map(|(_, s)| &s.name).collect();
        let gone: Vec<_> = self
            .services
            .keys()
            .filter(|n| !kept.contains(n))
            .cloned()
            .collect();
        for name in gone {
            self.remove_service(&name);
            changes.push(change(v1::Kind::Service, &name, v1::Action::Delete));
        }
        let kept: BTreeSet<_> = document.pools.iter().map(|(_, p)| &p.name).collect();
        let gone: Vec<_> = self
            .pools
            .keys()
            .filter(|n| !kept.contains(n))
            .cloned()
            .collect();
        for name in gone {
            self.remove_pool(&name);
            changes.push(change(v1::Kind::Pool, &name, v1::Action::Delete));
        }
    }

    fn put_pool(
        &mut self,
        index: Generation,
        at: usize,
        pool: &Pool,
    ) -> Result<v1::Change, Refusal> {
        let before = self.pools.get(&pool.name).cloned();
        if before.as_ref().is_some_and(|before| before.pool == *pool) {
            return Ok(change(v1::Kind::Pool, &pool.name, v1::Action::Unchanged));
        }
        let full = |what: &str| {
            Refusal::new(
                RefusalKind::Invalid,
                format!("pools[{at}]"),
                format!("the fabric is full: {what}"),
            )
        };
        let id = match &before {
            Some(before) => before.id,
            None => PoolId(
                self.pool_ids
                    .allocate()
                    .ok_or_else(|| full("delete a pool first"))?,
            ),
        };
        let mut backend_ids = Vec::with_capacity(pool.backends.len());
        for backend in &pool.backends {
            // A server under the same name at another address is another server: flows of the old one must not reach it.
            let same = before.as_ref().and_then(|before| {
                let at = before.pool.backends.iter().position(|b| {
                    b.name == backend.name && b.ipv4 == backend.ipv4 && b.ipv6 == backend.ipv6
                })?;
                Some(before.backend_ids[at])
            });
            let id = match same {
                Some(id) => id,
                None => BackendId(
                    self.backend_ids
                        .allocate()
                        .ok_or_else(|| full("delete servers first"))?,
                ),
            };
            backend_ids.push(id);
        }
        let mut result = change(v1::Kind::Pool, &pool.name, v1::Action::Create);
        if let Some(before) = &before {
            for id in &before.backend_ids {
                if !backend_ids.contains(id) {
                    self.backend_ids.release(id.0);
                }
            }
            result.action = v1::Action::Update.into();
            result.fields = before.pool.fields().changes(&pool.fields());
        }
        let stored = StoredPool {
            generation: index,
            id,
            pool: pool.clone(),
            backend_ids,
        };
        self.pools.insert(pool.name.clone(), Arc::new(stored));
        Ok(result)
    }

    fn put_service(
        &mut self,
        index: Generation,
        at: usize,
        service: &Service,
    ) -> Result<v1::Change, Refusal> {
        let before = self.services.get(&service.name).cloned();
        if before
            .as_ref()
            .is_some_and(|before| before.service == *service)
        {
            return Ok(change(
                v1::Kind::Service,
                &service.name,
                v1::Action::Unchanged,
            ));
        }
        let mut result = change(v1::Kind::Service, &service.name, v1::Action::Create);
        let id = if let Some(before) = &before {
            result.action = v1::Action::Update.into();
            result.fields = before.service.fields().changes(&service.fields());
            before.id
        } else {
            ServiceId(self.service_ids.allocate().ok_or_else(|| {
                Refusal::new(
                    RefusalKind::Invalid,
                    format!("services[{at}]"),
                    "the fabric is full: delete a service first",
                )
            })?)
        };
        let stored = StoredService {
            generation: index,
            id,
            service: service.clone(),
        };
        self.services.insert(service.name.clone(), Arc::new(stored));
        Ok(result)
    }

    fn put_node(&mut self, index: Generation, node: &Node) -> v1::Change {
        let before = self.nodes.get(&node.name);
        let mut node = node.clone();
        node.keep_secrets(before.map(|before| &before.value));
        let mut result = change(v1::Kind::Node, &node.name, v1::Action::Create);
        if let Some(before) = before {
            if before.value == node {
                return change(v1::Kind::Node, &node.name, v1::Action::Unchanged);
            }
            result.action = v1::Action::Update.into();
            result.fields = node.changes(&before.value);
        }
        let stored = Stored {
            generation: index,
            value: node.clone(),
        };
        self.nodes.insert(node.name.clone(), Arc::new(stored));
        result
    }

    fn put_certificate(
        &mut self,
        index: Generation,
        at: usize,
        certificate: &Certificate,
    ) -> Result<v1::Change, Refusal> {
        let name = &certificate.name;
        let before = self.certificates.get(name).cloned();
        let mut certificate = certificate.clone();
        if certificate.key.is_none()
            && let Some(before) = &before
        {
            certificate.key.clone_from(&before.certificate.key);
        }
        let mut result = change(v1::Kind::Certificate, name, v1::Action::Create);
        let id = if let Some(before) = &before {
            if before.certificate == certificate {
                return Ok(change(v1::Kind::Certificate, name, v1::Action::Unchanged));
            }
            result.action = v1::Action::Update.into();
            result.fields = before.certificate.fields().changes(&certificate.fields());
            before.id
        } else {
            CertificateId(self.certificate_ids.allocate().ok_or_else(|| {
                Refusal::new(
                    RefusalKind::Invalid,
                    format!("certificates[{at}]"),
                    "the fabric is full: delete a certificate first",
                )
            })?)
        };
        let stored = StoredCertificate {
            generation: index,
            id,
            certificate,
        };
        self.certificates.insert(name.clone(), Arc::new(stored));
        Ok(result)
    }

    fn delete(&mut self, refs: &[ObjectRef]) -> Result<Vec<v1::Change>, Refusal> {
        let going = |kind, name: &Name| {
            refs.iter()
                .any(|r| r.kind == kind && r.name == name.as_str())
        };
        let mut missing = Vec::new();
        let mut in_use = Vec::new();
        for (i, object) in refs.iter().enumerate() {
            if self.object(object.kind, &object.name).is_none() {
                missing.extend(
                    Refusal::new(
                        RefusalKind::NotFound,
                        format!("refs[{i}].name"),
                        format!(
                            "there is no {} `{}`",
                            kind_name(object.kind),
                            crate::name::shortened(&object.name)
                        ),
                    )
                    .violations,
                );
            }
            let needs_it = |service: &Service| match object.kind {
                v1::Kind::Pool => {
                    let mut used = service.pools();
                    used.any(|(_, name)| name.as_str() == object.name)
                }
                v1::Kind::Certificate => {
                    let mut used = service.certificates().into_iter();
                    used.any(|name| name.as_str() == object.name)
                }
                v1::Kind::Unspecified | v1::Kind::Service | v1::Kind::Node => false,
            };
            let users: Vec<_> = self
                .services
                .values()
                .filter(|s| needs_it(&s.service) && !going(v1::Kind::Service, &s.service.name))
                .map(|s| format!("`{}`", s.service.name))
                .collect();
            if !users.is_empty() {
                let kind = kind_name(object.kind);
                in_use.extend(
                    Refusal::new(
                        RefusalKind::InUse,
                        format!("refs[{i}].name"),
                        format!(
                            "{kind} `{}` is used by the services {}: delete them too, or give them another {kind} first",
                            object.name,
                            users.join(", ")
                        ),
                    )
                    .violations,
                );
            }
        }
        for (kind, violations) in [
            (RefusalKind::NotFound, missing),
            (RefusalKind::InUse, in_use),
        ] {
            if !violations.is_empty() {
                return Err(Refusal { kind, violations });
            }
        }
        let mut changes = Vec::new();
        for (name, kind) in self.names(refs) {
            match kind {
                v1::Kind::Service => self.remove_service(&name),
                v1::Kind::Pool => self.remove_pool(&name),
                v1::Kind::Node => {
                    self.nodes.remove(&name);
                    Arc::make_mut(&mut self.leases).forget(&name);
                }
                v1::Kind::Certificate => self.remove_certificate(&name),
                v1::Kind::Unspecified => {}
            }
            changes.push(change(kind, &name, v1::Action::Delete));
        }
        Ok(changes)
    }

    /// The stored names that are referred to, each once.
    fn names(&self, refs: &[ObjectRef]) -> Vec<(Name, v1::Kind)> {
        let unique: BTreeSet<_> = refs.iter().collect();
        let names = unique.into_iter().filter_map(|object| {
            let name = match object.kind {
                v1::Kind::Unspecified => None,
                v1::Kind::Service => self
                    .services
                    .get_key_value(object.name.as_str())
                    .map(|e| e.0),
                v1::Kind::Pool => self.pools.get_key_value(object.name.as_str()).map(|e| e.0),
                v1::Kind::Node => self.nodes.get_key_value(object.name.as_str()).map(|e| e.0),
                v1::Kind::Certificate => self
                    .certificates
                    .get_key_value(object.name.as_str())
                    .map(|e| e.0),
            };
            Some((name?.clone(), object.kind))
        });
        names.collect()
    }

    fn remove_service(&mut self, name: &Name) {
        if let Some(stored) = self.services.remove(name) {
            self.service_ids.release(stored.id.0);
        }
    }

    fn remove_certificate(&mut self, name: &Name) {
        if let Some(stored) = self.certificates.remove(name) {
            self.certificate_ids.release(stored.id.0);
        }
    }

    fn remove_pool(&mut self, name: &Name) {
        if let Some(stored) = self.pools.remove(name) {
            self.pool_ids.release(stored.id.0);
            for id in &stored.backend_ids {
                self.backend_ids.release(id.0);
            }
        }
    }
}

fn change(kind: v1::Kind, name: &Name, action: v1::Action) -> v1::Change {
    v1::Change {
        r#ref: Some(v1::ObjectRef {
            kind: kind.into(),
            name: name.to_string(),
        }),
        action: action.into(),
        fields: Vec::new(),
    }
}

fn kind_name(kind: v1::Kind) -> &'static str {
    match kind {
        v1::Kind::Unspecified => "object",
        v1::Kind::Service => "service",
        v1::Kind::Pool => "pool",
        v1::Kind::Node => "node",
        v1::Kind::Certificate => "certificate",
    }
}
