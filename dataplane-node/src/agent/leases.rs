//! Leases of VIPs: what the thread for them is told, and what it writes to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lbfabric_lease::{LeaseCounts, NodeLeases, NodeLeasesConfig, Readiness, VipAnswers};
use lbfabric_model::{
    AnnouncedBy, Name, ObjectKey, ObjectKind,
    lease::{Adopted, Epoch, LossPolicy, Moment, Timers, Unfit},
};
use tokio::sync::watch;
use tracing::{error, warn};

use super::{
    announcing::healthy_servers,
    role::{Applied, Situation},
};
use crate::{
    NodeConfig,
    chain::Chain,
    neighbor::{LeasedVips, LeasedVipsError, VipOwner},
};

/// The node's part in leases, as soon as there are maps to answer from.
pub(crate) struct Leases {
    /// None if the node's name is none that a controller takes.
    config: Option<NodeLeasesConfig>,
    interfaces: Vec<String>,
    readiness: watch::Sender<Readiness>,
    running: Option<Running>,
}

struct Running {
    /// What it answers from.
    vips: Arc<LeasedVips>,
    leases: NodeLeases,
}

/// What the programs and the neighbors are told.
struct Answers(VipOwner);

// === impl Leases ===

impl Leases {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        let name = Name::parse(&config.name, "name").ok();
        let of_node = |node| NodeLeasesConfig {
            node,
            controllers: config.controllers.clone(),
            timers: Timers::default(),
            policy: LossPolicy::Hold,
        };
        Self {
            config: name.map(of_node),
            interfaces: config.interfaces.clone(),
            readiness: watch::Sender::new(Readiness::default()),
            running: None,
        }
    }

    /// Tells what the node can serve now. `vips` are the maps of a program that runs.
    pub(crate) fn follow(
        &mut self,
        vips: Option<&Arc<LeasedVips>>,
        situation: Situation<'_>,
        applied: &Applied,
    ) {
        let readiness = self.readiness(vips.is_some(), situation, applied);
        self.readiness.send_if_modified(|it| {
            let is_new = *it != readiness;
            *it = readiness;
            is_new
        });
        let Some(vips) = vips else {
            // What is answered for ends with the lease.
            return;
        };
        let runs = |it: &Running| Arc::ptr_eq(&it.vips, vips);
        if self.running.as_ref().is_some_and(runs) {
            return;
        }
        // Two of them would be two owners of the same node's name.
        self.running = None;
        self.running = self.start(vips);
    }

    /// What has become of leases since the thread was started.
    pub(crate) fn counts(&self) -> LeaseCounts {
        let running = self.running.as_ref();
        running.map(|it| it.leases.counts()).unwrap_or_default()
    }

    fn start(&self, vips: &Arc<LeasedVips>) -> Option<Running> {
        let config = self.config.clone()?;
        let started = VipOwner::start(vips.clone()).and_then(|owner| {
            let answers = Box::new(Answers(owner));
            NodeLeases::start(config, self.readiness.subscribe(), answers)
        });
        match started {
            Ok(leases) => Some(Running {
                vips: vips.clone(),
                leases,
            }),
            Err(error) => {
                error!(error = %Chain(&error), "leases of VIPs are not kept");
                None
            }
        }
    }

    fn readiness(&self, has_maps: bool, situation: Situation<'_>, applied: &Applied) -> Readiness {
        let Situation {
            desired,
            network,
            health,
        } = situation;
        let health = health.view();
        let is_up = |name| network.links.get(name).is_some_and(|link| link.up);
        let mut leased = BTreeSet::new();
        let mut unfit = BTreeMap::new();
        for (id, announcement) in &desired.announcements {
            let AnnouncedBy::Lease(rule) = &announcement.by else {
                continue;
            };
            let key = ObjectKey {
                kind: ObjectKind::Service,
                id: id.0,
            };
            let of_l4 = desired.services.get(id).map(|it| (&it.vips, it.pool));
            let of_l7 = desired.proxies.get(id).map(|it| (&it.vips, it.pool));
            let Some((vips, pool)) = of_l4.or(of_l7) else {
                continue;
            };
            let has_few_servers = || {
                let pool = desired.pools.get(&pool);
                let (healthy, knows) = pool.map_or((0, true), |it| healthy_servers(it, &health));
                knows && healthy < rule.min_healthy_servers
            };
            let reason = if applied.refusals.contains_key(&key) {
                Some(Unfit::Refused)
            } else if rule.min_healthy_servers > 0 && has_few_servers() {
                Some(Unfit::FewServers)
            } else {
                None
            };
            for vip in vips.iter().map(|it| it.address()) {
                leased.insert(vip);
                if let Some(reason) = reason {
                    let known = unfit.entry(vip).or_insert(reason);
                    *known = reason.min(*known);
                }
            }
        }
        let is_refused = |vip: &IpAddr| unfit.get(vip) == Some(&Unfit::Refused);
        let vips = leased.iter().filter(|vip| !is_refused(vip)).copied();
        Readiness {
            is_able: has_maps && self.interfaces.iter().any(is_up),
            vips: Arc::new(vips.collect()),
            leased: Arc::new(leased),
            unfit: Arc::new(unfit),
        }
    }
}

// === impl Answers ===

impl Answers {
    /// What the kernel does not take is said here. The lease is not the less for it.
    fn note(outcome: Result<(), LeasedVipsError>, what: &str) {
        if let Err(error) = outcome {
            warn!(error = %Chain(&error), "{what}");
        }
    }
}

impl VipAnswers for Answers {
    fn adopted(&mut self) -> Adopted {
        match self.0.adopted() {
            Ok(found) => {
                let vips = found.vips.into_iter();
                let nanos = u64::try_from(found.until.as_nanos()).unwrap_or(u64::MAX);
                Adopted {
                    vips: vips
                        .filter_map(|(vip, epoch)| Some((vip, Epoch(epoch?))))
                        .collect(),
                    until: Moment::from_nanos(nanos),
                }
            }
            Err(error) => {
                warn!(error = %Chain(&error), "what was answered for before is not known");
                Adopted::default()
            }
        }
    }

    fn warm(&mut self, vip: IpAddr) {
        self.0.warm(vip);
    }

    fn is_warm(&mut self, vip: IpAddr) -> bool {
        self.0.is_warm(vip)
    }

    fn answer(&mut self, vip: IpAddr, epoch: Epoch) {
        Self::note(self.0.answer(vip, epoch.0), "a VIP is not answered for");
    }

    fn stop(&mut self, vip: IpAddr) {
        let outcome = self.0.stop(vip);
        if outcome.is_err() {
            // Whoever owns it next must not share it.
            self.0.until(std::time::Duration::ZERO);
        }
        Self::note(
            outcome,
            "a VIP that is given up could not be taken out of the map: nothing is answered",
        );
    }

    fn until(&mut self, end: Moment) {
        self.0.until(end.since(Moment::default()));
    }

    fn leased(&mut self, vips: &BTreeSet<IpAddr>) {
        Self::note(
            self.0.leased(vips),
            "which VIPs are leased could not be written",
        );
    }
}
