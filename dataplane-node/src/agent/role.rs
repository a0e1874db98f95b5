use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Instant as StdInstant;

use lbfabric_abi::Verdict;
use lbfabric_lease::LeaseCounts;
use lbfabric_model::{ObjectKey, ObjectKind, PacketQuestion, PoolId};
use lbfabric_proto::v1;
use tokio::time::Instant;
use tracing::warn;

use super::{leases::Leases, program::Program, report, rivals, server_role::Server};
use crate::{
    chain::Chain,
    engine::{EngineDriver, Surroundings},
    explain::{Names, explain},
    health::HealthTable,
    maps::{AyaMaps, LbMaps, ReadMapError, monotonic_ns},
    netlink::{LinkView, NetworkView},
    plan::{Desired, Health, Local, NatPorts, Sources},
    reconciler::{PlanInputs, ReconcileError, Reconciler},
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
    pub(crate) engine: EngineDriver,
    pub(crate) leases: Leases,
}

/// What the role knows when it applies what is desired.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) network: &'a NetworkView,
    pub(crate) health: &'a HealthTable,
}

impl Situation<'_> {
    /// Servers of which it is not known whether they are healthy, or how a healthy one is reached.
    fn unknown_servers(self) -> usize {
        let Self {
            desired,
            network,
            health,
        } = self;
        let health = health.view();
        let pools = desired.pools.values();
        let servers = pools.flat_map(|pool| pool.backends.iter().map(move |it| (pool, it)));
        let unknown = servers.filter(|(pool, backend)| match health.of(pool, backend.id) {
            Health::Unknown => true,
            Health::Down { .. } => false,
            Health::Up => {
                let v4 = backend.ipv4.map(IpAddr::V4);
                let mut addresses = v4.into_iter().chain(backend.ipv6.map(IpAddr::V6));
                !addresses.all(|address| network.next_hops.contains_key(&address))
            }
        });
        unknown.count()
    }
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
            Self::LoadBalancer(lb) => {
                let times = lb.wake_at.into_iter().chain(lb.engine.wake_at());
                times.min().map(Instant::from_std)
            }
            Self::Server(server) => server.wake_at.map(Instant::from_std),
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

    /// Why a load balancer's program does not run on any interface.
    pub(crate) fn down(&self) -> Option<String> {
        match self {
            Self::LoadBalancer(lb) => lb.program.down().map(ToString::to_string),
            Self::Server(_) => None,
        }
    }

    pub(crate) fn mode(&self) -> v1::XdpMode {
        match self {
            Self::LoadBalancer(lb) => lb.program.mode(),
            Self::Server(server) => server.program.mode(),
        }
    }

    /// As [`Program::map_memory`].
    pub(crate) fn map_memory(&self) -> io::Result<u64> {
        match self {
            Self::LoadBalancer(lb) => lb.program.map_memory(),
            Self::Server(server) => server.program.map_memory(),
        }
    }

    pub(crate) async fn apply(&mut self, situation: Situation<'_>) -> Applied {
        match self {
            Self::LoadBalancer(lb) => {
                let mut applied = lb.apply(situation);
                let health = situation.health.view();
                let around = Surroundings {
                    subnets: &situation.network.subnets,
                    own: &situation.network.on_node,
                    local_ports: kernel_ports(),
                };
                let refused = lb.engine.apply(situation.desired, &health, around).await;
                applied.refusals.extend(refused);
                lb.follow_leases(situation, &applied);
                applied
            }
            Self::Server(server) => server.apply(situation.desired).await,
        }
    }

    /// What has become of leases of VIPs.
    pub(crate) fn lease_counts(&self) -> LeaseCounts {
        match self {
            Self::LoadBalancer(lb) => lb.leases.counts(),
            Self::Server(_) => LeaseCounts::default(),
        }
    }

    /// What the program would do with a packet, or why that cannot be said.
    pub(crate) fn explain(
        &self,
        packet: &v1::PacketQuestion,
        situation: Situation<'_>,
    ) -> Result<v1::Explanation, String> {
        match self {
            Self::LoadBalancer(lb) => {
                let packet = PacketQuestion::parse(packet, "packet").map_err(|violations| {
                    let texts: Vec<_> = violations.iter().map(ToString::to_string).collect();
                    texts.join("; ")
                })?;
                if lb.program.filling().is_some() {
                    let reason = "a program with another layout of the maps forwards until its own are filled";
                    return Err(reason.to_owned());
                }
                let maps = lb.program.maps().map(Reconciler::maps);
                let maps = maps.ok_or_else(|| "its program does not run".to_owned())?;
                let links = situation.network.links.iter();
                let names = Names {
                    desired: situation.desired,
                    links: links
                        .map(|(name, link)| (link.index, name.as_str()))
                        .collect(),
                };
                let told = explain(&packet, &names, maps, monotonic_ns())?;
                let goes_up = [Verdict::PassNotVip, Verdict::PassNotServed];
                if !goes_up.iter().any(|it| it.name() == told.verdict) {
                    return Ok(told);
                }
                let Situation {
                    desired, health, ..
                } = situation;
                let engine = lb.engine.explain(&packet, desired, &health.view());
                Ok(match engine {
                    Some(explanation) => v1::Explanation {
                        verdict: told.verdict,
                        ..explanation
                    },
                    None => told,
                })
            }
            Self::Server(_) => Err("a server forwards nothing".to_owned()),
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
                report.services = report::services(desired, maps, monotonic_ns())?;
                report.services.extend(lb.engine.reports());
                let links = &situation.network.links;
                rivals::warn_services(&mut report.services, &self.rivals(), links, desired);
                if let Some(maps) = maps {
                    report.counters = report::counters(maps.counters()?);
                }
                report.counters.extend(lb.engine.steering_counts());
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
    /// VIPs are answered for from the maps of the program that runs.
    fn follow_leases(&mut self, situation: Situation<'_>, applied: &Applied) {
        let runs = self.program.down().is_none() && self.program.filling().is_none();
        let maps = self.program.maps().filter(|_| runs);
        let vips = maps.map(|it| it.maps().leased_vips());
        self.leases.follow(vips, situation, applied);
    }

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
            is_known4: wanted.iter().any(IpAddr::is_ipv4),
            is_known6: wanted.iter().any(IpAddr::is_ipv6),
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
        if let Some(failure) = self.waits_for_servers(situation) {
            return Applied {
                refusals: desired.undecodable.clone(),
                failure: Some(failure),
            };
        }
        let outcome = match self.program.down() {
            Some(_) => Ok(Applied::default()),
            None => self.reconcile(&inputs),
        };
        if outcome.is_ok() {
            self.program.switch();
        }
        let reason = match self.program.down() {
            Some(fault) => fault.to_string(),
            None => match outcome {
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
        let failure = self.program.down().is_none().then_some(reason);
        Applied { refusals, failure }
    }

    /// What keeps maps beside those of another layout from being filled: rings that are made before their servers are known
    /// would not be the same as those that forward.
    fn waits_for_servers(&self, situation: Situation<'_>) -> Option<String> {
        let (patience_ends, beside) = self.program.filling()?;
        if Instant::now() >= patience_ends {
            return None;
        }
        let unknown = situation.unknown_servers();
        (unknown > 0).then(|| {
            format!(
                "the program with the maps in {} forwards on, without changes, until {unknown} servers are probed and their \
                 next hops known",
                beside.display()
            )
        })
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

/// Refusals of a role as the controller wants them.
pub(crate) fn refusals(
    applied: &Applied,
    desired: &Desired,
    held: &HeldSnapshot,
) -> Vec<v1::NodeObjectRefusal> {
    report::refusals(&applied.refusals, desired, held)
}
