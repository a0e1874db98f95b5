use std::collections::BTreeMap;
use std::sync::Arc;

use lbfabric_bgp::Attributes;
use lbfabric_model::{
    AnnouncedBy, BgpRoute, ObjectKey, ObjectKind, PoolId, ServiceId, snapshot::NodePool,
};
use lbfabric_proto::v1::{self, speaker_reply, sync_request::Message};
use tokio::time::Instant;

use super::run::Agent;
use crate::{
    announce::{OwnAddresses, ServiceTruth, Situation, attributes_of, missing_label},
    controller::SessionId,
    plan::{Health, HealthView},
};

impl Agent {
    /// Announces what can be served now.
    pub(super) fn announce(&mut self) {
        let progress = &self.progress;
        let settings = progress.desired.settings.as_ref();
        let bgp = settings.and_then(|it| it.bgp.as_ref());
        let (bgp, unreadable) = match bgp {
            Some(Ok(bgp)) => (Some(bgp), None),
            Some(Err(reason)) => (None, Some(reason.as_str())),
            None => (None, None),
        };
        let health = progress.health.view();
        let (services, knows_servers) = self.announced_services(&health);
        let situation = Situation {
            bgp,
            unreadable,
            own: OwnAddresses {
                on_interface: &progress.view.placed,
            },
            is_drained: settings.is_some_and(|it| it.is_drained),
            has_applied: progress.has_applied,
            fault: self.role.down().map(Arc::from),
            links_down: self.links_down(),
            services,
            knows_servers,
            now: Instant::now().into_std(),
        };
        if self.announcer.follow(situation) {
            self.progress.report_changed = true;
        }
    }

    /// Asks the speaker, and answers when it has.
    pub(super) fn answer_about_speaker(&self, id: SessionId, query: v1::SpeakerQuery) {
        let session = self.progress.session.as_ref();
        let Some(session) = session.filter(|session| session.id == id) else {
            return;
        };
        let requests = session.requests();
        let question = query.question.unwrap_or_default();
        let now = Instant::now().into_std();
        let answer = self.announcer.answer(&self.config.name, question, now);
        tokio::spawn(async move {
            let outcome = match answer.await {
                Ok(answer) => speaker_reply::Outcome::Answer(answer),
                Err(reason) => speaker_reply::Outcome::Error(reason),
            };
            let reply = v1::SpeakerReply {
                id: query.id,
                outcome: Some(outcome),
            };
            let request = v1::SyncRequest {
                message: Some(Message::Spoken(reply)),
            };
            // Who asked stops waiting by himself when there is no room for the answer.
            drop(requests.try_send(request));
        });
    }

    /// The services whose VIPs are to be announced, and whether the servers of all of them are known.
    fn announced_services(&self, health: &HealthView) -> (Vec<ServiceTruth>, bool) {
        let desired = &self.progress.desired;
        let mut attributes: BTreeMap<&BgpRoute, Arc<Attributes>> = BTreeMap::new();
        let mut services = Vec::new();
        let mut knows_all = true;
        for (id, announcement) in &desired.announcements {
            let AnnouncedBy::Bgp(route) = &announcement.by else {
                continue;
            };
            let (Some(vips), Some(pool)) = (desired.routes.get(id), self.pool_of(*id)) else {
                continue;
            };
            let key = ObjectKey {
                kind: ObjectKind::Service,
                id: id.0,
            };
            let (healthy_servers, knows) = match desired.pools.get(&pool) {
                Some(pool) => healthy_servers(pool, health),
                None => (0, true),
            };
            knows_all &= knows || route.min_healthy_servers == 0;
            let labels = desired.settings.as_ref().map(|it| it.labels.as_map());
            let refusals = &self.progress.applied.refusals;
            services.push(ServiceTruth {
                name: desired.names.get(&key).map_or("", String::as_str).into(),
                vips: Arc::clone(vips),
                attributes: Arc::clone(
                    attributes
                        .entry(route)
                        .or_insert_with(|| Arc::new(attributes_of(route))),
                ),
                missing_label: missing_label(
                    announcement.nodes.as_map(),
                    labels.unwrap_or(&BTreeMap::new()),
                ),
                refusal: refusals.get(&key).map(|reason| reason.as_str().into()),
                healthy_servers,
                min_healthy_servers: route.min_healthy_servers,
            });
        }
        (services, knows_all)
    }

    fn pool_of(&self, id: ServiceId) -> Option<PoolId> {
        let desired = &self.progress.desired;
        let service = desired.services.get(&id).map(|it| it.pool);
        service.or_else(|| Some(desired.proxies.get(&id)?.pool))
    }

    /// The node's interfaces, if none of them is up.
    fn links_down(&self) -> Option<Arc<str>> {
        let links = &self.progress.view.links;
        let interfaces = &self.config.interfaces;
        let is_up = |name: &String| links.get(name).is_some_and(|link| link.up);
        let are_down = !interfaces.iter().any(is_up);
        are_down.then(|| interfaces.join(", ").into())
    }
}

/// Servers with a weight that are healthy, and whether all of those with a weight are known.
pub(super) fn healthy_servers(pool: &NodePool, health: &HealthView) -> (u32, bool) {
    let mut healthy = 0;
    let mut knows = true;
    for backend in pool.backends.iter().filter(|it| it.weight > 0) {
        match health.of(pool, backend.id) {
            Health::Up => healthy += 1,
            Health::Down { .. } => {}
            Health::Unknown => knows = false,
        }
    }
    (healthy, knows)
}
