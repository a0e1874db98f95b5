use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lbfabric_model::{BackendId, ObjectKey, ObjectKind, Prefix, ServiceId};
use lbfabric_proto::v1;
use lbfabric_proxy::{
    ClientsBeside, Engine, EngineConfig, EngineService, ProxyConfig, ServiceKey,
    tls::{ServerTlsConfig, TicketKey, TlsConfig},
};
use tracing::{error, warn};

use super::{
    answers::{AnswerRules, AnswersError},
    datagrams::{DatagramPart, ToldDatagrams},
    files,
    local_routes::LocalRoutes,
    routes::RouteTables,
    steering::Steering,
    tls::{ClientTls, Made, ServerTls},
    transparent::Surroundings,
    wanted::{Behaviour, Part, Wanted},
    watching::{self, Watching},
};
use crate::{
    chain::Chain,
    hand_over::Predecessor,
    netlink::Requests,
    plan::{Desired, HealthView},
    server::{ServerSetup, SetupError},
};

/// How long connections of a service that is gone may go on, and its VIPs stay for them.
const DRAIN: Duration = Duration::from_secs(10);
/// What failed is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How often routing rules are looked after, also if nothing says that one has gone: other programs of the machine may think that all of them are
/// theirs.
const LOOK: Duration = Duration::from_mins(1);
/// For how long clients are told of that were served from the node's own address.
const BESIDE_TOLD: Duration = Duration::from_mins(10);

/// Keeps the engine, and the VIPs that it listens at, as they are to be.
pub(crate) struct EngineDriver {
    pub(super) engine: Engine,
    setup: ServerSetup,
    answers: AnswerRules,
    pub(super) local_routes: LocalRoutes,
    pub(super) steering: Steering,
    /// Clients that servers could not see, by service.
    beside: BTreeMap<ServiceId, Arc<ClientsBeside>>,
    /// The interfaces that clients come in by.
    interfaces: Vec<String>,
    /// Until the controller gives the fabric's, sessions of TLS are gone on with on every worker, and after a change.
    ticket_key: Option<TicketKey>,
    tls: Made<ClientTls, TlsConfig>,
    server_tls: Made<ServerTls, ServerTlsConfig>,
    routes: RouteTables,
    /// What the engine was told last.
    pub(super) told: BTreeMap<ServiceKey, (Behaviour, EngineService)>,
    pub(super) told_datagrams: ToldDatagrams,
    members: BTreeMap<ServiceId, Vec<BackendId>>,
    /// What the engine could not do then.
    failed: BTreeMap<ServiceId, String>,
    /// When to try or look again, though nothing has happened.
    wake_at: Option<Instant>,
    watching: Watching,
    /// The agent before this one, which relays datagrams until this one has services of theirs.
    pub(super) predecessor: Option<Predecessor>,
}

impl EngineDriver {
    /// Starts the engine's workers, one for each core, in the calling thread's network namespace, with the listeners of an agent before
    /// this one.
    pub(crate) fn start(
        setup: ServerSetup,
        requests: Requests,
        interfaces: &[String],
        (listeners, predecessor): (Vec<TcpListener>, Option<Predecessor>),
        watching: Watching,
    ) -> io::Result<Self> {
        files::raise_limit();
        let workers = std::thread::available_parallelism()?.get();
        Ok(Self {
            engine: Engine::take_over(listeners, workers, DRAIN)?,
            setup,
            answers: AnswerRules::new(requests.clone()),
            local_routes: LocalRoutes::new(requests),
            steering: Steering::default(),
            beside: BTreeMap::new(),
            interfaces: interfaces.to_vec(),
            ticket_key: TicketKey::random(),
            tls: Made::default(),
            server_tls: Made::default(),
            routes: RouteTables::default(),
            told: BTreeMap::new(),
            told_datagrams: ToldDatagrams::default(),
            members: BTreeMap::new(),
            failed: BTreeMap::new(),
            wake_at: None,
            watching,
            predecessor,
        })
    }

    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The part of a service that has the connections to an address, and its configuration.
    pub(super) fn part_at(
        &self,
        ServiceId(id): ServiceId,
        at: SocketAddr,
    ) -> Option<(ServiceKey, &Behaviour, &ProxyConfig)> {
        let first = ServiceKey { id, part: 0 };
        let mut told = self.told.range(first..).take_while(|(key, _)| key.id == id);
        let (key, (behaviour, service)) = told.find(|(_, (_, it))| {
            it.listen.contains(&at) || it.steered.iter().any(|it| it.contains(at))
        })?;
        Some((*key, behaviour, &service.proxy))
    }

    pub(super) const fn told_datagrams(&self) -> &ToldDatagrams {
        &self.told_datagrams
    }

    /// Why the engine does not serve a service, or not everywhere.
    pub(super) fn refusal(&self, id: ServiceId) -> Option<&str> {
        self.failed.get(&id).map(String::as_str)
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Follows what is desired, and gives the services that are not served, or not everywhere.
    pub(crate) async fn apply(
        &mut self,
        desired: &Desired,
        health: &HealthView,
        around: Surroundings<'_>,
    ) -> BTreeMap<ObjectKey, String> {
        let own = self.ticket_key.as_ref();
        let wanted = Wanted::new(desired, health, &self.members, own, around);
        let answers = wanted.answers();
        let Wanted {
            mut parts,
            datagrams,
            vips,
            steered,
            members,
            mut refusals,
        } = wanted;
        self.members = members;
        self.wake_at = None;
        let held = self.hold(&vips);
        if let Err(error) = &held {
            self.refuse_all(desired, error, &mut refusals);
        }
        let brought = self.answers.hold(&answers).await;
        if let Err(error) = &brought {
            self.refuse_transparent(&mut parts, error, &mut refusals);
        }
        self.tell(parts, datagrams).await;
        refusals.extend(self.failed.clone());
        if let Err(error) = self.steer(&steered, around.own).await {
            self.refuse_steered(desired, &error, &mut refusals);
        }
        if brought.is_ok() {
            self.release(&answers).await;
        }
        if let Ok(held) = held
            && let Err(error) = self.move_vips(&vips, &held, !steered.is_empty()).await
        {
            self.refuse_all(desired, &error, &mut refusals);
        }
        let key = |id: ServiceId| ObjectKey {
            kind: ObjectKind::Service,
            id: id.0,
        };
        refusals
            .into_iter()
            .map(|(id, reason)| (key(id), reason))
            .collect()
    }

    /// VIPs that are not wanted any more are held until their last connections have ended.
    fn hold(&mut self, vips: &BTreeSet<Prefix>) -> Result<BTreeSet<Prefix>, SetupError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let drain_secs = u32::try_from(DRAIN.as_secs()).unwrap_or(u32::MAX);
        let (held, next_end) = self.setup.hold(vips, drain_secs, now)?;
        if let Some(end) = next_end {
            self.wake_by(Duration::from_secs(end.saturating_sub(now)));
        }
        Ok(held)
    }

    /// Without their servers' answers, services go on as they are, or do not begin.
    fn refuse_transparent(
        &mut self,
        parts: &mut BTreeMap<ServiceKey, Part>,
        error: &AnswersError,
        refusals: &mut BTreeMap<ServiceId, String>,
    ) {
        let reason = Chain(error).to_string();
        warn!(%reason, "services in l7-transparent are not as desired");
        parts.retain(|key, part| {
            if part.answers.is_empty() {
                return true;
            }
            let id = ServiceId(key.id);
            refusals.entry(id).or_insert_with(|| reason.clone());
            let Some((behaviour, service)) = self.told.get(key) else {
                return false;
            };
            part.behaviour = behaviour.clone();
            part.listen.clone_from(&service.listen);
            part.steered.clone_from(&service.steered);
            true
        });
        self.wake_by(RETRY);
    }

    /// Takes away rules that no connection needs any more.
    async fn release(&mut self, answers: &BTreeSet<SocketAddr>) {
        let in_use = self.engine.transparent_servers();
        let released = self.answers.release(answers, &in_use, Instant::now());
        match released.await {
            Ok(false) => {}
            Ok(true) => self.wake_by(RETRY),
            Err(error) => {
                warn!(error = %Chain(&error), "routing rules that are not needed stay");
                self.wake_by(RETRY);
            }
        }
        if !answers.is_empty() {
            self.wake_by(LOOK);
        }
    }

    /// `has_others`: there are VIPs on no interface, too.
    async fn move_vips(
        &mut self,
        vips: &BTreeSet<Prefix>,
        held: &BTreeSet<Prefix>,
        has_others: bool,
    ) -> Result<(), SetupError> {
        if (has_others || !vips.is_empty())
            && let Err(error) = self.setup.apply_settings(&self.interfaces)
        {
            // Without them the node may answer ARP requests for the VIPs: said, and the operator can set them.
            error!(error = %Chain(&error), "kernel settings for the VIPs");
        }
        self.setup.add_vips(vips).await?;
        self.setup.remove_vips_except(held).await
    }

    /// Tells the engine what is new, if something is, or if it has failed before.
    async fn tell(
        &mut self,
        parts: BTreeMap<ServiceKey, Part>,
        datagrams: BTreeMap<ServiceKey, DatagramPart>,
    ) {
        let is_same = self.failed.is_empty()
            && self.told_datagrams.are(&datagrams)
            && parts.len() == self.told.len()
            && parts.iter().all(|(key, part)| {
                let told = self.told.get(key);
                told.is_some_and(|(behaviour, service)| {
                    *behaviour == part.behaviour
                        && service.listen == part.listen
                        && service.steered == part.steered
                })
            });
        if is_same {
            return;
        }
        if !datagrams.is_empty() {
            self.take_datagrams().await;
        }
        let before = std::mem::take(&mut self.told);
        self.failed.clear();
        for (key, part) in parts {
            let Part {
                listen,
                steered,
                behaviour,
                answers: _,
            } = part;
            let proxy = match before.get(&key) {
                Some((had, service)) if *had == behaviour => Arc::clone(&service.proxy),
                Some(_) | None => match self.config(ServiceId(key.id), &behaviour) {
                    Ok(config) => Arc::new(config),
                    Err(reason) => {
                        self.failed.insert(ServiceId(key.id), reason);
                        continue;
                    }
                },
            };
            let service = EngineService {
                listen,
                steered,
                proxy,
            };
            self.told.insert(key, (behaviour, service));
        }
        let told = &self.told;
        self.beside.retain(|ServiceId(id), _| {
            let mut keys = told.keys();
            keys.any(|key| key.id == *id)
        });
        let is_there = |ServiceId(id): ServiceId| {
            let first = ServiceKey { id, part: 0 };
            let part = told.range(first..).next();
            part.is_some_and(|(key, _)| key.id == id)
        };
        self.tls.keep(is_there);
        self.server_tls.keep(is_there);
        self.routes.keep(is_there);
        let services = self.told.iter();
        let config = EngineConfig {
            services: services
                .map(|(key, (_, service))| (*key, service.clone()))
                .collect(),
            datagrams: self.told_datagrams.take(datagrams, &self.watching),
        };
        let errors = self.engine.apply(config).await;
        self.forget();
        for (key, error) in errors {
            let reason = Chain(&error).to_string();
            self.failed.entry(ServiceId(key.id)).or_insert(reason);
        }
        if !self.failed.is_empty() {
            self.wake_by(RETRY);
        }
    }

    /// Lets go of what is counted of services and servers that there are no more.
    fn forget(&self) {
        let mut servers: BTreeMap<Arc<str>, BTreeSet<String>> = BTreeMap::new();
        for (behaviour, _) in self.told.values() {
            let of_it = servers.entry(behaviour.name.clone()).or_default();
            of_it.extend(behaviour.server_names());
        }
        for (name, of_it) in self.told_datagrams.seen() {
            servers.entry(name.clone()).or_default().extend(of_it);
        }
        self.watching.retain(&servers);
    }

    /// The configuration of a part of a service; or why there cannot be one.
    fn config(&mut self, id: ServiceId, behaviour: &Behaviour) -> Result<ProxyConfig, String> {
        let tls = self.tls.get(id, behaviour.tls.as_ref())?;
        let server_tls = self.server_tls.get(id, behaviour.server_tls.as_ref())?;
        let transparent = behaviour.transparent.as_ref();
        let ways = (behaviour.table(id, &mut self.routes)?, behaviour.sni()?);
        Ok(ProxyConfig {
            transparent: transparent.map(|it| it.config(self.beside.entry(id).or_default())),
            ..behaviour.config(tls, server_tls, ways, &self.watching)
        })
    }

    fn refuse_all(
        &mut self,
        desired: &Desired,
        error: &SetupError,
        refusals: &mut BTreeMap<ServiceId, String>,
    ) {
        let reason = Chain(error).to_string();
        warn!(%reason, "the VIPs of layer-7 services are not as desired");
        for id in desired.proxies.keys() {
            refusals.entry(*id).or_insert_with(|| reason.clone());
        }
        self.wake_by(RETRY);
    }

    pub(super) fn wake_by(&mut self, time: Duration) {
        let at = Instant::now() + time;
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }

    /// What the engine counted, by service.
    pub(crate) fn reports(&self) -> Vec<v1::NodeServiceReport> {
        let mut sums: BTreeMap<u32, v1::ProxyTraffic> = BTreeMap::new();
        for (key, traffic) in self.engine.traffic() {
            let sum = sums.entry(key.id).or_default();
            sum.connections += traffic.connections;
            sum.requests += traffic.requests;
            sum.refusals += traffic.refusals;
        }
        sums.extend(self.told_datagrams.traffic());
        self.add_seen(&mut sums);
        let report = |(id, traffic)| v1::NodeServiceReport {
            id,
            proxy: Some(traffic),
            warnings: self.warnings(ServiceId(id)),
            ..v1::NodeServiceReport::default()
        };
        sums.into_iter().map(report).collect()
    }

    /// What a service's users should know.
    fn warnings(&self, id: ServiceId) -> Vec<String> {
        let Some(beside) = self.beside.get(&id) else {
            return Vec::new();
        };
        let clients = beside.of_last(BESIDE_TOLD);
        let first = ServiceKey { id: id.0, part: 0 };
        let part = self.told.range(first..).next();
        let warning = part.and_then(|(_, (behaviour, service))| {
            let transparent = behaviour.transparent.as_ref()?;
            transparent.warning(&clients, &service.proxy)
        });
        warning.into_iter().collect()
    }

    /// Adds what was seen of services' requests.
    fn add_seen(&self, sums: &mut BTreeMap<u32, v1::ProxyTraffic>) {
        let reading = self.watching.metrics.read();
        let told = self.told.iter();
        let names: BTreeMap<u32, &Arc<str>> = told
            .map(|(key, (behaviour, _))| (key.id, &behaviour.name))
            .chain(self.told_datagrams.names())
            .collect();
        for (id, sum) in sums {
            let seen = names.get(id).and_then(|name| reading.services.get(*name));
            if let Some(seen) = seen {
                watching::add(sum, seen);
            }
        }
    }

    /// Lets connections end, and takes away what was put on the machine.
    pub(crate) async fn stop(self) -> Result<(), SetupError> {
        // Whoever comes now is refused.
        drop(self.steering);
        self.engine.stop().await;
        if let Err(error) = self.answers.undo().await {
            error!(error = %Chain(&error), "routing rules are not all taken away");
        }
        if let Err(error) = self.local_routes.undo().await {
            error!(error = %Chain(&error), "local routes are not all taken away");
        }
        self.setup.undo().await
    }
}
