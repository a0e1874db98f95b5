//! Nodes that keep leases at the members' addresses, and answer into memory.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lbfabric_lease::{NodeLeases, NodeLeasesConfig, Readiness, VipAnswers, now};
use lbfabric_model::{
    Name,
    lease::{Adopted, Epoch, LossPolicy, Moment, Timers},
};
use lbfabric_proto::v1::{self, announcement_spec::By};
use tokio::sync::watch;

use crate::members::{self, Members, apply_request, pool, timed};

/// What a node's map would hold. It outlives the agent.
#[derive(Clone, Default)]
pub(crate) struct Map(Arc<Mutex<Adopted>>);

impl Map {
    /// The epoch in which a VIP is answered for now.
    pub(crate) fn answers(&self, vip: IpAddr) -> Option<u64> {
        let map = self.0.lock().unwrap();
        let epoch = map.vips.get(&vip).filter(|_| now() < map.until);
        epoch.map(|it| it.0)
    }

    fn count(&self) -> usize {
        let map = self.0.lock().unwrap();
        if now() < map.until { map.vips.len() } else { 0 }
    }
}

impl VipAnswers for Map {
    fn adopted(&mut self) -> Adopted {
        self.0.lock().unwrap().clone()
    }

    fn warm(&mut self, _vip: IpAddr) {}

    fn is_warm(&mut self, _vip: IpAddr) -> bool {
        true
    }

    fn answer(&mut self, vip: IpAddr, epoch: Epoch) {
        self.0.lock().unwrap().vips.insert(vip, epoch);
    }

    fn stop(&mut self, vip: IpAddr) {
        self.0.lock().unwrap().vips.remove(&vip);
    }

    fn until(&mut self, end: Moment) {
        self.0.lock().unwrap().until = end;
    }

    fn leased(&mut self, vips: &BTreeSet<IpAddr>) {
        let map = self.0.lock().unwrap();
        assert!(map.vips.keys().all(|vip| vips.contains(vip)));
    }
}

/// Tests take turns: leases that last 120 ms are lost where others' threads have the same priority.
static TURN: Mutex<()> = Mutex::new(());

/// Nodes by name, those that run and those that have ended.
pub(crate) struct Nodes {
    controllers: Vec<String>,
    vips: Arc<BTreeSet<IpAddr>>,
    maps: BTreeMap<String, Map>,
    running: BTreeMap<String, (NodeLeases, watch::Sender<Readiness>)>,
    _turn: MutexGuard<'static, ()>,
}

impl Nodes {
    /// Nodes that can serve these VIPs.
    pub(crate) fn new(members: &Members, vips: impl IntoIterator<Item = IpAddr>) -> Self {
        let ids = members.ids().into_iter();
        Self {
            controllers: ids.map(|id| members.address(id)).collect(),
            vips: Arc::new(vips.into_iter().collect()),
            maps: BTreeMap::new(),
            running: BTreeMap::new(),
            // Of a test that has failed nothing is left but that.
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Starts an agent, with the map of the one before it.
    pub(crate) fn start(&mut self, name: &str) {
        let config = NodeLeasesConfig {
            node: Name::parse(name, "name").unwrap(),
            controllers: self.controllers.clone(),
            timers: Timers::default(),
            policy: LossPolicy::Hold,
        };
        let (sender, readiness) = watch::channel(Readiness {
            is_able: true,
            vips: self.vips.clone(),
            leased: self.vips.clone(),
            unfit: Arc::default(),
        });
        let map = self.maps.entry(name.to_owned()).or_default().clone();
        let leases = NodeLeases::start(config, readiness, Box::new(map)).unwrap();
        self.running.insert(name.to_owned(), (leases, sender));
    }

    /// Ends an agent as a crash would.
    pub(crate) fn kill(&mut self, name: &str) {
        self.running.remove(name).unwrap();
    }

    /// Says whether a node can serve anything.
    pub(crate) fn is_able(&self, name: &str, is_able: bool) {
        let (_, readiness) = &self.running[name];
        readiness.send_modify(|it| it.is_able = is_able);
    }

    /// Who answers for a VIP now.
    pub(crate) fn answering(&self, vip: IpAddr) -> Vec<&str> {
        let maps = self.maps.iter();
        let answering = maps.filter(|(_, map)| map.answers(vip).is_some());
        answering.map(|(name, _)| name.as_str()).collect()
    }

    /// How many VIPs each node answers for.
    pub(crate) fn shares(&self) -> BTreeMap<&str, usize> {
        let maps = self.maps.iter();
        maps.map(|(name, map)| (name.as_str(), map.count()))
            .collect()
    }

    /// Waits until all VIPs have one owner each, and returns these.
    pub(crate) async fn settled(&self) -> BTreeMap<IpAddr, String> {
        members::eventually("every VIP to have one owner", async || {
            let owners = self.vips.iter().map(|vip| match self.answering(*vip)[..] {
                [owner] => Some((*vip, owner.to_owned())),
                _ => None,
            });
            owners.collect()
        })
        .await
    }

    /// Watches a VIP until somebody in particular answers for it. Fails if two do at any time, and says for how long nobody did.
    pub(crate) async fn until_owned_by(
        &self,
        vip: IpAddr,
        owner: impl Fn(&str) -> bool,
    ) -> Duration {
        let mut nobody_since = None;
        let mut longest = Duration::ZERO;
        let started = now();
        loop {
            let answering = self.answering(vip);
            assert!(answering.len() < 2, "{vip} has two owners: {answering:?}");
            match answering.first() {
                Some(node) => {
                    let gap = nobody_since.take().map(|since| now().since(since));
                    longest = longest.max(gap.unwrap_or_default());
                    if owner(node) {
                        return longest;
                    }
                }
                None => {
                    nobody_since.get_or_insert_with(now);
                }
            }
            assert!(
                now().since(started) < members::PATIENCE,
                "nobody takes {vip}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The VIPs of the tests.
pub(crate) fn vips(count: u8) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(|last| IpAddr::from([203, 0, 113, last]))
}

/// Applies a service for each VIP, with leases.
pub(crate) async fn apply_leased(members: &Members, vips: impl Iterator<Item = IpAddr>) {
    let services = vips.enumerate().map(|(i, vip)| {
        let mut service = members::service(&format!("s{i}"), &vip.to_string(), "web");
        service.announce = Some(v1::AnnouncementSpec {
            by: Some(By::Lease(v1::LeaseSpec::default())),
            ..v1::AnnouncementSpec::default()
        });
        service
    });
    let request = apply_request(vec![pool("web", "10.0.0.1")], services.collect());
    let mut fabric = members.fabric(members.ids()[0]);
    fabric.apply(timed(request)).await.unwrap();
}
