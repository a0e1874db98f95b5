use std::collections::{BTreeMap, BTreeSet};

use lbfabric_abi::{POOL_BACKENDS_DEFAULT, POOL_BACKENDS_MAX, SLOTS_PER_BACKEND};
use lbfabric_proto::v1;

use crate::{
    Backend, FlowKeeping, HealthCheck, Name, QuicServerId, Violation, fields::Fields,
    maglev::next_prime,
};

/// A set of servers. Their names, addresses and QUIC server IDs are unique within it, and the IDs of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The object's name.
    pub name: Name,
    /// The servers, at most `backends_max`.
    pub backends: Vec<Backend>,
    /// How they are probed; `None`: every server counts as healthy.
    pub health_check: Option<HealthCheck>,
    /// How many servers it may ever hold.
    pub backends_max: u32,
    /// How long established flows keep their server.
    pub flow_keeping: FlowKeeping,
}

impl Pool {
    pub(crate) fn parse(
        spec: &v1::PoolSpec,
        path: &str,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let before = violations.len();
        let name = Name::parse(&spec.name, &format!("{path}.name"))
            .map_err(|v| violations.push(v))
            .ok();
        let backends_max = match spec.max_backends {
            0 => POOL_BACKENDS_DEFAULT,
            n => n,
        };
        if backends_max > POOL_BACKENDS_MAX {
            violations.push(Violation::new(
                format!("{path}.max_backends"),
                format!("{backends_max} is out of range: use 1 to {POOL_BACKENDS_MAX}"),
            ));
        } else if spec.backends.len() > backends_max as usize {
            violations.push(Violation::new(
                format!("{path}.backends"),
                format!(
                    "{} servers are more than `max_backends`, {backends_max}: raise it (at most {POOL_BACKENDS_MAX}, and \
                     only when the pool is created) or name fewer",
                    spec.backends.len()
                ),
            ));
        }
        let backends = parse_backends(&spec.backends, path, violations);
        let health_check = spec
            .health_check
            .as_ref()
            .and_then(|spec| HealthCheck::parse(spec, &format!("{path}.health_check"), violations));
        let flow_keeping =
            FlowKeeping::parse(spec.hold_time_secs, spec.dead_after_ms, path, violations);
        (violations.len() == before).then_some(Self {
            name: name?,
            backends,
            health_check,
            backends_max,
            flow_keeping,
        })
    }

    /// The slots of the pool's ring: a prime, 128 for each server that it may hold.
    pub fn slots(&self) -> u32 {
        next_prime(self.backends_max * SLOTS_PER_BACKEND)
    }

    /// The specification with every default filled in.
    pub fn to_spec(&self) -> v1::PoolSpec {
        v1::PoolSpec {
            name: self.name.to_string(),
            backends: self.backends.iter().map(Backend::to_spec).collect(),
            health_check: self.health_check.as_ref().map(HealthCheck::to_spec),
            max_backends: self.backends_max,
            hold_time_secs: self.flow_keeping.hold_time_secs,
            dead_after_ms: Some(self.flow_keeping.dead_after_ms),
        }
    }

    pub(crate) fn fields(&self) -> Fields {
        let Self {
            name: _,
            backends,
            health_check,
            backends_max,
            flow_keeping,
        } = self;
        let mut fields = Fields::default();
        for backend in backends {
            backend.fields(&mut fields);
        }
        if let Some(health_check) = health_check {
            health_check.fields(&mut fields);
        }
        fields.put("max_backends", backends_max);
        flow_keeping.fields(&mut fields);
        fields
    }
}

fn parse_backends(
    specs: &[v1::BackendSpec],
    path: &str,
    violations: &mut Vec<Violation>,
) -> Vec<Backend> {
    let mut names = BTreeSet::new();
    let mut addresses = BTreeMap::new();
    let mut backends = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let path = format!("{path}.backends[{i}]");
        let Some(backend) = Backend::parse(spec, &path, violations) else {
            continue;
        };
        if !names.insert(backend.name.clone()) {
            violations.push(Violation::new(
                format!("{path}.name"),
                format!(
                    "`{}` is the name of another server of the pool: give each its own",
                    backend.name
                ),
            ));
        }
        for address in backend.addresses() {
            if let Some(other) = addresses.insert(address, backend.name.clone()) {
                violations.push(Violation::new(
                    format!("{path}.addresses"),
                    format!("{address} is server `{other}`'s already: name each server once"),
                ));
            }
        }
        backends.push((i, backend));
    }
    check_quic_server_ids(&backends, path, violations);
    backends.into_iter().map(|(_, backend)| backend).collect()
}

/// A node tells the servers' IDs apart by their bytes, of which it reads as many for each: two alike, or one that another begins
/// with, could be either.
fn check_quic_server_ids(
    backends: &[(usize, Backend)],
    path: &str,
    violations: &mut Vec<Violation>,
) {
    let ids = backends
        .iter()
        .filter_map(|(i, b)| Some((*i, &b.name, b.quic_server_id?)));
    let mut seen: BTreeMap<QuicServerId, &Name> = BTreeMap::new();
    let mut length: Option<usize> = None;
    for (i, name, id) in ids {
        let path = format!("{path}.backends[{i}].quic_server_id");
        let bytes = id.as_bytes().len();
        let expected = *length.get_or_insert(bytes);
        if bytes != expected {
            violations.push(Violation::new(
                path,
                format!("`{id}` has {bytes} bytes, the pool's first one {expected}: give all of them the same length"),
            ));
        } else if let Some(other) = seen.insert(id, name) {
            violations.push(Violation::new(
                path,
                format!("`{id}` is server `{other}`'s already: give each its own"),
            ));
        }
    }
}
