use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbfabric_bgp::{Aggregate, Attributes, AttributesSpec, Prefix};
use lbfabric_model::{Bgp, BgpAggregate};
use lbfabric_proto::v1;
use lbfabric_routing::{Routes, Speaker, SpeakerConfig};
use tokio::sync::watch;
use tracing::{error, info};

use super::{
    answer::Prepared,
    bfd::{Bfd, BfdAccess, GivenBfd},
    decision::{Decided, Decision, Verdict},
    drain::Drain,
    prefix_of,
    settings::{OwnAddresses, speaker_config},
    table::NeighborTable,
    told,
    truth::{NodeTruth, ServiceTruth},
};
use crate::chain::Chain;

/// Tells routers what the node serves: feeds a speaker with what [`Decided`] says.
#[derive(Debug)]
pub(crate) struct Announcer {
    speaking: Option<Speaking>,
    /// Whether programs have forwarded while the agent before this one was replaced.
    has_restarted: bool,
    /// That of the agent before this one, until there is a speaker.
    resumed: Bfd,
    decided: Decided,
    /// Prefixes that the settings want announced for those within them.
    aggregates: Vec<BgpAggregate>,
    /// The speaker has been told of all that.
    is_told: bool,
    /// Since when each VIP has been announced, or not.
    since: BTreeMap<Prefix, Instant>,
    drain: Drain,
    /// Whether the node is to speak BGP.
    is_asked: bool,
    /// Why the settings are not followed.
    fault: Option<String>,
    /// Until when servers that are not known yet are waited for.
    patience_ends: Option<Instant>,
}

/// A speaker and what it follows.
#[derive(Debug)]
struct Speaking {
    // Before the thread for BFD: sessions tell it their end.
    speaker: Speaker,
    config: watch::Sender<Arc<SpeakerConfig>>,
    routes: watch::Sender<Arc<Routes>>,
    bfd: Bfd,
    bfd_access: watch::Sender<BfdAccess>,
    table: NeighborTable,
    settings: Arc<Bgp>,
}

/// All that announcements follow from.
pub(crate) struct Situation<'a> {
    /// The node's settings, if it is to speak BGP.
    pub(crate) bgp: Option<&'a Bgp>,
    /// Why there are settings that this version cannot read: then all stays as it is.
    pub(crate) unreadable: Option<&'a str>,
    pub(crate) own: OwnAddresses<'a>,
    pub(crate) is_drained: bool,
    /// As in [`NodeTruth`].
    pub(crate) has_applied: bool,
    /// As in [`NodeTruth`].
    pub(crate) fault: Option<Arc<str>>,
    /// As in [`NodeTruth`].
    pub(crate) links_down: Option<Arc<str>>,
    pub(crate) services: Vec<ServiceTruth>,
    /// Whether the services' servers have all been probed, as far as it counts.
    pub(crate) knows_servers: bool,
    pub(crate) now: Instant,
}

/// How long an agent that has just started waits to know its servers before it speaks. What it does not announce at once,
/// neighbors that have kept its routes take for withdrawn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long neighbors may take to hear that the node leaves.
const FAREWELL: Duration = Duration::from_secs(3);

// === impl Announcer ===

impl Announcer {
    /// `has_restarted`: whether programs have forwarded while the agent before this one was replaced; `resumed`: its BFD.
    pub(crate) fn new(has_restarted: bool, resumed: Bfd) -> Self {
        Self {
            speaking: None,
            has_restarted,
            resumed,
            decided: Decided::default(),
            aggregates: Vec::new(),
            is_told: false,
            since: BTreeMap::new(),
            drain: Drain::default(),
            is_asked: false,
            fault: None,
            patience_ends: None,
        }
    }

    /// Announces what there is to be announced now. True if there is something new to report.
    pub(crate) fn follow(&mut self, situation: Situation<'_>) -> bool {
        if let Some(reason) = situation.unreadable {
            let fault = Some(format!("this version cannot read the settings: {reason}"));
            let is_new = self.fault != fault;
            self.fault = fault;
            return is_new;
        }
        let Situation {
            bgp,
            unreadable: _,
            own,
            is_drained,
            has_applied,
            fault,
            links_down,
            services,
            knows_servers,
            now,
        } = situation;
        let was_asked = std::mem::replace(&mut self.is_asked, bgp.is_some());
        let grace = Duration::from_secs(bgp.map_or(0, |bgp| bgp.drain_secs).into());
        let announces = self.decided.counts().0 > 0;
        self.drain = self.drain.next(is_drained, announces, grace, now);
        let node = NodeTruth {
            has_applied,
            fault,
            links_down,
            drain: self.drain,
        };
        let services = bgp.map_or(Vec::new(), |_| services);
        let mut is_new = self.decide(&node, services, now);
        is_new |= was_asked != self.is_asked;
        let is_ready = has_applied && (knows_servers || self.has_lost_patience(now));
        match bgp {
            Some(bgp) if self.speaking.is_some() || is_ready => {
                is_new |= self.configure(bgp, own, now);
            }
            Some(_) => {}
            None => {
                if let Some(speaking) = &self.speaking {
                    speaking.config.send_if_modified(fall_silent);
                }
                self.fault = None;
            }
        }
        self.announce(bgp);
        is_new
    }

    /// When to follow again, though nothing has happened.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let speaking = self.speaking.as_ref();
        let bfd = speaking.and_then(|it| it.bfd.retry_at());
        let patience = self.patience_ends.filter(|_| speaking.is_none());
        let times = [self.drain.wake_at(), bfd, patience];
        times.into_iter().flatten().min()
    }

    /// What controllers always see; none if the node does not speak BGP.
    pub(crate) fn status(&self) -> Option<v1::BgpStatus> {
        let neighbors = self.speaking.as_ref().map(|it| it.table.rows());
        let neighbors = neighbors.unwrap_or_default();
        let (announced, withheld) = self.decided.counts();
        let is_asked = self.is_asked || self.fault.is_some();
        is_asked.then(|| v1::BgpStatus {
            fault: self.fault.clone().unwrap_or_default(),
            announced_vips: told::count(announced),
            withheld_vips: told::count(withheld),
            is_draining: self.decided.decision().is_draining,
            neighbors: neighbors.iter().map(told::brief).collect(),
        })
    }

    /// Answers a question, once the rest of it has been asked for.
    pub(crate) fn answer(
        &self,
        node: &str,
        question: v1::SpeakerQuestion,
        now: Instant,
    ) -> impl Future<Output = Result<v1::SpeakerAnswer, String>> + Send + use<> {
        let speaking = self.speaking.as_ref();
        let known = speaking.map(|it| (it.table.asker(), Arc::clone(&it.settings)));
        let prepared = Prepared::new(question, |vip| self.vip(node, vip, now));
        async move { prepared?.answer(known).await }
    }

    /// What becomes of a VIP, as far as the node alone decides.
    fn vip(&self, node: &str, vip: Prefix, now: Instant) -> Option<v1::VipAnnouncement> {
        let decision = self.decided.decision();
        let verdict = decision.vips.get(&vip)?;
        let since = self.since.get(&vip).copied().unwrap_or(now);
        Some(v1::VipAnnouncement {
            vip: told::vip_text(vip),
            node: node.to_owned(),
            is_announced: verdict.is_announced(),
            reasons: match verdict {
                Verdict::Announced(_) => Vec::new(),
                Verdict::Withheld(reasons) => reasons.iter().map(ToString::to_string).collect(),
            },
            for_secs: now.saturating_duration_since(since).as_secs(),
            neighbors: Vec::new(),
            is_draining: decision.is_draining,
        })
    }

    /// Leaves without a word, so that neighbors keep the routes where graceful restart was agreed on. BFD goes to the agent that takes over.
    pub(crate) async fn hand_over(self) -> Option<GivenBfd> {
        let Some(Speaking { speaker, bfd, .. }) = self.speaking else {
            return self.resumed.hand_over().await;
        };
        // Before the sessions, which end it.
        let given = bfd.hand_over().await;
        drop(speaker);
        given
    }

    /// Tells neighbors that the node leaves.
    pub(crate) async fn stop(self) {
        let Some(speaking) = self.speaking else {
            return;
        };
        let farewell = speaking.speaker.shut_down("the node's agent stops");
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            info!("a neighbor has not taken the last word");
        }
        // Last: it tells partners that the end is meant.
        drop(speaking.bfd);
    }

    fn decide(&mut self, node: &NodeTruth, services: Vec<ServiceTruth>, now: Instant) -> bool {
        let Some(before) = self.decided.follow(node, services) else {
            return false;
        };
        self.is_told = false;
        let next = self.decided.decision().vips.iter();
        let since = next.map(|(vip, verdict)| {
            let was = before.vips.get(vip).map(Verdict::is_announced);
            let known = self.since.get(vip).copied();
            let known = known.filter(|_| was == Some(verdict.is_announced()));
            (*vip, known.unwrap_or(now))
        });
        self.since = since.collect();
        true
    }

    fn has_lost_patience(&mut self, now: Instant) -> bool {
        now >= *self.patience_ends.get_or_insert(now + PATIENCE)
    }

    fn configure(&mut self, bgp: &Bgp, own: OwnAddresses<'_>, now: Instant) -> bool {
        let fault_before = self.fault.take();
        let config = match speaker_config(bgp, own, self.has_restarted) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                // The API has the same limits, which a test holds together.
                let reason = Chain(&error).to_string();
                error!(reason, "the settings of BGP are not followed");
                self.fault = Some(reason);
                return self.fault != fault_before;
            }
        };
        let decision = self.decided.decision();
        let speaking = self.speaking.get_or_insert_with(|| {
            let routes = routes(decision, Some(bgp));
            let bfd = std::mem::take(&mut self.resumed);
            Speaking::start(Arc::clone(&config), routes, bgp, bfd)
        });
        if *speaking.settings != *bgp {
            speaking.settings = Arc::new(bgp.clone());
        }
        let wants_bfd = bgp.neighbors.iter().any(|it| it.bfd.is_some());
        if speaking.bfd.follow(wants_bfd, now) {
            let access = speaking.bfd.access();
            if let Some(handle) = access.handle.clone() {
                speaking.speaker.use_bfd(handle);
            }
            speaking.bfd_access.send_replace(access);
        }
        speaking.config.send_if_modified(|known| {
            let is_other = *known != config;
            *known = config;
            is_other
        });
        self.fault != fault_before
    }

    fn announce(&mut self, bgp: Option<&Bgp>) {
        let aggregates = bgp.map_or(&[][..], |bgp| &bgp.aggregates);
        if self.aggregates != aggregates {
            self.aggregates = aggregates.to_vec();
            self.is_told = false;
        }
        if let Some(speaking) = &self.speaking
            && !std::mem::replace(&mut self.is_told, true)
        {
            let routes = routes(self.decided.decision(), bgp);
            speaking.routes.send_if_modified(|known| {
                let is_other = *known != routes;
                *known = routes;
                is_other
            });
        }
    }
}

// === impl Speaking ===

impl Speaking {
    fn start(config: Arc<SpeakerConfig>, routes: Arc<Routes>, bgp: &Bgp, bfd: Bfd) -> Self {
        let (config, configs) = watch::channel(config);
        let (routes, wanted) = watch::channel(routes);
        let access = bfd.access();
        let speaker = Speaker::start(configs, wanted, access.handle.clone());
        let (bfd_access, access) = watch::channel(access);
        let table = NeighborTable::follow(speaker.handle(), access);
        Self {
            speaker,
            config,
            routes,
            bfd,
            bfd_access,
            table,
            settings: Arc::new(bgp.clone()),
        }
    }
}

/// A speaker without neighbors, which have been told of that.
fn fall_silent(config: &mut Arc<SpeakerConfig>) -> bool {
    match SpeakerConfig::new(None, BTreeMap::new()) {
        Ok(silent) if **config != silent => {
            *config = Arc::new(silent);
            true
        }
        Ok(_) | Err(_) => false,
    }
}

fn routes(decision: &Decision, bgp: Option<&Bgp>) -> Arc<Routes> {
    let announced = decision.announced();
    let prefixes = announced.map(|(vip, attributes)| (vip, Arc::clone(attributes)));
    let aggregates = bgp.map_or(&[][..], |bgp| &bgp.aggregates).iter();
    Arc::new(Routes {
        prefixes: prefixes.collect(),
        aggregates: aggregates
            .map(|it| Aggregate {
                prefix: prefix_of(it.prefix),
                attributes: plain_attributes(),
                is_summary_only: it.is_summary_only,
            })
            .collect(),
        exports: BTreeMap::new(),
        is_draining: decision.is_draining,
    })
}

/// Nothing but what every route has.
fn plain_attributes() -> Attributes {
    let attributes = Attributes::try_from(AttributesSpec::default());
    attributes.expect("nothing is in them that could be refused")
}
