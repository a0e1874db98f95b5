//! What the controller sends: many small pools with a service each, and one pool of the largest size.

use std::collections::BTreeMap;

use lbfabric_model::{
    Apply, Command, CompiledFabric, Document, FabricState, Generation, NodeFacts, ObjectKey,
    Outcome, Role,
};
use lbfabric_proto::v1;

/// Servers of the large pool, of the 512 that it has room for.
pub(crate) const LARGE_SERVERS: usize = 500;
const LARGE_ROOM: u32 = 512;
/// The large pool's name. Pools get their ids in the order of the document, which has it first.
pub(crate) const LARGE: &str = "large";

/// A fabric as the controller keeps it, and what the node has of it.
pub(crate) struct Fabric {
    state: FabricState,
    compiled: CompiledFabric,
    sent: BTreeMap<ObjectKey, u64>,
    spec: v1::FabricSpec,
}

impl Fabric {
    /// One service of the large pool, and `small` services with as many pools of two to four servers and the default size.
    pub(crate) fn new(small: usize) -> Self {
        let mut state = FabricState::default();
        let key = Command::SetHashKey(*b"0123456789abcdef");
        assert!(matches!(
            state.apply(Generation(1), &key),
            Outcome::Applied { .. }
        ));
        let mut spec = v1::FabricSpec::default();
        spec.pools.push(v1::PoolSpec {
            name: LARGE.to_owned(),
            max_backends: LARGE_ROOM,
            backends: (0..LARGE_SERVERS).map(large_server).collect(),
            health_check: Some(v1::HealthCheckSpec {
                check: Some(v1::health_check_spec::Check::Tcp(v1::TcpCheckSpec {
                    port: 80,
                })),
                ..v1::HealthCheckSpec::default()
            }),
            ..v1::PoolSpec::default()
        });
        spec.services
            .push(service(LARGE, LARGE, "203.0.113.1", v1::Mode::L4Dsr));
        for n in 0..small {
            let pool = format!("pool-{n}");
            let modes = [
                v1::Mode::L4Dsr,
                v1::Mode::L4Dnat,
                v1::Mode::L4Tunnel,
                v1::Mode::L4Fullnat,
            ];
            let vip = format!("198.18.{}.{}", n / 250, 1 + n % 250);
            let name = format!("service-{n}");
            spec.services
                .push(service(&name, &pool, &vip, modes[n % modes.len()]));
            spec.pools.push(v1::PoolSpec {
                name: pool,
                backends: (0..2 + n % 3).map(|k| small_server(n, k)).collect(),
                ..v1::PoolSpec::default()
            });
        }
        let compiled = CompiledFabric::compile(&state, None);
        let mut fabric = Self {
            state,
            compiled,
            sent: BTreeMap::new(),
            spec,
        };
        fabric.apply();
        fabric
    }

    /// Changes the large pool's servers.
    pub(crate) fn change_large(&mut self, change: impl FnOnce(&mut Vec<v1::BackendSpec>)) {
        change(&mut self.spec.pools[0].backends);
        self.apply();
    }

    fn apply(&mut self) {
        let command = Command::Apply(Apply {
            document: Document::parse(&self.spec).unwrap(),
            prune: true,
            expected_generation: None,
        });
        let next = Generation(self.state.generation().0 + 1);
        let outcome = self.state.apply(next, &command);
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        self.compiled = CompiledFabric::compile(&self.state, Some(&self.compiled));
    }

    /// What a node is sent that holds nothing.
    pub(crate) fn whole(&mut self) -> v1::Delta {
        self.sent.clear();
        self.delta()
    }

    /// What the node is sent next.
    pub(crate) fn delta(&mut self) -> v1::Delta {
        let facts = NodeFacts {
            name: "lb1".to_owned(),
            role: Role::LoadBalancer,
            addresses: Vec::new(),
        };
        let snapshot = self.compiled.for_node(&facts);
        let delta = snapshot.delta(&self.sent);
        self.sent = snapshot.held();
        delta
    }
}

/// A server of the large pool, by number.
pub(crate) fn large_server(n: usize) -> v1::BackendSpec {
    let address = format!("10.0.{}.{}", n / 250, 1 + n % 250);
    server(format!("s{n}"), address)
}

fn small_server(pool: usize, n: usize) -> v1::BackendSpec {
    let address = format!("10.{}.{}.{}", 1 + pool / 250, pool % 250, 1 + n);
    server(format!("s{n}"), address)
}

fn server(name: String, address: String) -> v1::BackendSpec {
    v1::BackendSpec {
        name,
        addresses: vec![address],
        ..v1::BackendSpec::default()
    }
}

fn service(name: &str, pool: &str, vip: &str, mode: v1::Mode) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: name.to_owned(),
        vips: vec![vip.to_owned()],
        ports: vec!["80".to_owned()],
        mode: mode.into(),
        pool: pool.to_owned(),
        ..v1::ServiceSpec::default()
    }
}
