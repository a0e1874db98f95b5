use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant as StdInstant;

use lbfabric_model::{ObjectKey, ObjectKind, PoolId, Prefix, snapshot::ServerVips};
use lbfabric_proto::v1;
use tokio::time::Instant;
use tracing::warn;

use super::{program::Program, report};
use crate::{
    chain::Chain,
    health::HealthTable,
    maps::{AyaMaps, LbMaps, ReadMapError, ServerMaps},
    netlink::{LinkView, NetworkView},
    plan::{Desired, Local, NatPorts, Sources},
    reconciler::{PlanInputs, ReconcileError, Reconciler},
    server::{ServerSetup, SetupError},
    snapshot::HeldSnapshot,
};

/// The ports that the kernel gives to its own connections, `ip_local_port_range`, where it cannot be read.
const KERNEL_PORTS_DEFAULT: (u16, u16) = (32768, 60999);

/// What the agent does for its role.
#[expect(clippy::large_enum_variant, reason = "there is one of it in an agent")]
pub(crate) enum RoleState {
    LoadBalancer(LoadBalancer),
    Server(Server),
}

/// A load balancer: the program, and what its last reconciliation said.
pub(crate) struct LoadBalancer {
    pub(crate) program: Program<Reconciler<AyaMaps>>,
    pub(crate) panics: BTreeSet<PoolId>,
    /// Addresses of servers that left their pool and may still have flows.
    pub(crate) former: BTreeSet<IpAddr>,
    /// When to apply again, though nothing has happened.
    pub(crate) wake_at: Option<StdInstant>,
}

/// A server: the program, and the machine's settings.
pub(crate) struct Server {
    pub(crate) program: Program<ServerMaps>,
    pub(crate) setup: ServerSetup,
}

/// What the role knows when it applies what is desired.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) network: &'a NetworkView,
    pub(crate) health: &'a HealthTable,
}

/// The outcome of applying what is desired.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) refusals: BTreeMap<ObjectKey, String>,
    /// What failed and is worth another try.
    pub(crate) failure: Option<String>,
}

impl RoleState {
    /// Tries to run the program; `links` are just read.
    pub(crate) fn start(&mut self, links: &BTreeMap<String, LinkView>) {
        match self {
            Self::LoadBalancer(lb) => lb.program.start(links),
            Self::Server(server) => server.program.start(links),
        }
    }

    /// As [`Program::check`].
    pub(crate) fn check(&mut self, links: &BTreeMap<String, LinkView>, fresh: bool) -> bool {
        match self {
            Self::LoadBalancer(lb) => lb.program.check(links, fresh),
            Self::Server(server) => server.program.check(links, fresh),
        }
    }

    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match self {
            Self::LoadBalancer(lb) => lb.program.retry_at(),
            Self::Server(server) => server.program.retry_at(),
        }
    }

    /// When to apply again, though nothing has happened.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self {
            Self::LoadBalancer(lb) => lb.wake_at.map(Instant::from_std),
            Self::Server(_) => None,
        }
    }

    /// Addresses of servers that are not desired any more, and still needed.
    pub(crate) fn former(&self) -> BTreeSet<IpAddr> {
        match self {
            Self::LoadBalancer(lb) => lb.former.clone(),
            Self::Server(_) => BTreeSet::new(),
        }
    }

    pub(crate) fn postpone(&mut self) {
        match self {
            Self::LoadBalancer(lb) => lb.program.postpone(),
            Self::Server(server) => server.program.postpone(),
        }
    }

    pub(crate) fn fault(&self) -> Option<String> {
        let fault = match self {
            Self::LoadBalancer(lb) => lb.program.fault(),
            Self::Server(server) => server.program.fault(),
        };
        fault.map(ToString::to_string)
    }

    pub(crate) fn mode(&self) -> v1::XdpMode {
        match self {
            Self::LoadBalancer(lb) => lb.program.mode(),
            Self::Server(server) => server.program.mode(),
        }
    }

    pub(crate) async fn apply(&mut self, situation: Situation<'_>) -> Applied {
        match self {
            Self::LoadBalancer(lb) => lb.apply(situation),
            Self::Server(server) => server.apply(situation.desired).await,
        }
    }

    /// The part of a report that comes from the maps.
    pub(crate) fn fill(
        &self,
        report: &mut v1::NodeReport,
        situation: Situation<'_>,
    ) -> Result<(), ReadMapError> {
        match self {
            Self::LoadBalancer(lb) => {
                let maps = lb.program.maps().map(Reconciler::maps);
                let Situation {
                    desired, health, ..
                } = situation;
                report.backends = report::backends(desired, &health.view(), &lb.panics, maps)?;
                report.services = report::services(desired, maps)?;
                if let Some(maps) = maps {
                    report.counters = report::counters(maps.counters()?);
                }
            }
            Self::Server(server) => {
                if let Some(maps) = server.program.maps() {
                    report.counters = report::counters(maps.counters()?);
                }
            }
        }
        Ok(())
    }
}

// === impl LoadBalancer ===

impl LoadBalancer {
    fn apply(&mut self, situation: Situation<'_>) -> Applied {
        let Situation {
            desired,
            network,
            health,
        } = situation;
        let wanted = desired.settings.as_ref().map_or(&[][..], |s| &s.sources);
        let sources = Sources::choose(wanted, &network.on_interface, &network.on_node);
        let (first, last) = kernel_ports();
        let local = Local {
            sources4: sources.v4,
            sources6: sources.v6,
            nat_ports: NatPorts::beside(first, last),
        };
        let inputs = PlanInputs {
            desired,
            health: &health.view(),
            next_hops: &network.next_hops,
            local: &local,
            settings_refusal: sources.refusal.as_deref(),
            now: StdInstant::now(),
        };
        self.wake_at = None;
        let reason = match self.program.fault() {
            Some(fault) => fault.to_string(),
            None => match self.reconcile(&inputs) {
                Ok(applied) => return applied,
                Err(error) => {
                    warn!(error = %Chain(&error), "the maps are not as desired");
                    Chain(&error).to_string()
                }
            },
        };
        // Whatever needs the program is refused with what keeps it from running.
        let mut refusals = desired.undecodable.clone();
        let services = desired.services.keys().map(|id| ObjectKey {
            kind: ObjectKind::Service,
            id: id.0,
        });
        refusals.extend(services.map(|key| (key, reason.clone())));
        let failure = self.program.fault().is_none().then_some(reason);
        Applied { refusals, failure }
    }

    fn reconcile(&mut self, inputs: &PlanInputs<'_>) -> Result<Applied, ReconcileError> {
        let Some(reconciler) = self.program.maps_mut() else {
            return Ok(Applied::default());
        };
        let outcome = reconciler.reconcile(inputs)?;
        if outcome.writes > 0 {
            tracing::debug!(writes = outcome.writes, "maps written");
        }
        self.panics = outcome.panics;
        self.former = outcome.former;
        self.wake_at = outcome.wake_at;
        Ok(Applied {
            refusals: outcome.refusals,
            failure: None,
        })
    }
}

fn kernel_ports() -> (u16, u16) {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    range
        .ok()
        .and_then(|text| {
            let mut ports = text.split_whitespace();
            Some((ports.next()?.parse().ok()?, ports.next()?.parse().ok()?))
        })
        .unwrap_or(KERNEL_PORTS_DEFAULT)
}

// === impl Server ===

impl Server {
    async fn apply(&mut self, desired: &Desired) -> Applied {
        let mut applied = Applied {
            refusals: desired.undecodable.clone(),
            failure: None,
        };
        let key = ObjectKey {
            kind: ObjectKind::ServerVips,
            id: 0,
        };
        let ServerVips { vips, gue_ports } = &desired.server;
        let vips: BTreeSet<Prefix> = vips.iter().copied().collect();
        if !gue_ports.is_empty() {
            let reason = "encapsulation gue: this server cannot do that yet";
            applied.refusals.insert(key, reason.to_owned());
        }
        let setup = self.set_up(&vips).await;
        if let Err(error) = setup {
            let reason = Chain(&error).to_string();
            warn!(%reason, "the server is not set up as desired");
            applied.failure = Some(reason.clone());
            applied.refusals.insert(key, reason);
        } else if let Some(fault) = self.program.fault()
            && !vips.is_empty()
        {
            let reason = format!("tunnelled packets cannot be unpacked: {fault}");
            applied.refusals.insert(key, reason);
        }
        applied
    }

    /// New VIPs go to the loopback first, old ones leave it last.
    async fn set_up(&mut self, vips: &BTreeSet<Prefix>) -> Result<(), ServerError> {
        self.setup.add_vips(vips).await?;
        if let Some(maps) = self.program.maps_mut() {
            maps.set_vips(vips)?;
        }
        self.setup.remove_vips_except(vips).await?;
        Ok(())
    }
}

/// The server could not be brought to the desired state.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("the program's VIPs")]
    Maps(#[from] ReadMapError),
}

/// Refusals of a role as the controller wants them.
pub(crate) fn refusals(
    applied: &Applied,
    desired: &Desired,
    held: &HeldSnapshot,
) -> Vec<v1::NodeObjectRefusal> {
    report::refusals(&applied.refusals, desired, held)
}
