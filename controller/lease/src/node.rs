//! A node's part: the owner's rules with a clock, streams and a map.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use lbfabric_model::{
    Name,
    lease::{Adopted, Epoch, Grant, LossPolicy, Moment, Owner, OwnerAction, Timers, Unfit},
};
use lbfabric_proto::v1::{LeaderQuestion, LeaseHello, RenewRequest, renew_request, renew_response};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    LeaseThread,
    link::{self, LinkEvent},
    now,
    peers::{Peers, Said},
};

/// Events that wait for the thread's task.
const EVENTS_MAX: usize = 64;
/// How often a node looks whether it is ready for a VIP that it was asked to get ready for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often a node looks around that has no lease and needs none.
const IDLE: Duration = Duration::from_millis(500);

/// What makes a node answer for VIPs. Its calls do not wait for anything.
pub trait VipAnswers: Send {
    /// What the agent before this one answered for, and until when.
    fn adopted(&mut self) -> Adopted;
    /// Get ready for a VIP that another node still answers for.
    fn warm(&mut self, vip: IpAddr);
    /// Whether there is nothing more to wait for before the VIP is taken.
    fn is_warm(&mut self, vip: IpAddr) -> bool;
    /// Answer for a VIP and announce it.
    fn answer(&mut self, vip: IpAddr, epoch: Epoch);
    /// Do not answer for a VIP any more.
    fn stop(&mut self, vip: IpAddr);
    /// What is answered for is until then, whether this agent lives or not.
    fn until(&mut self, end: Moment);
    /// These are the VIPs that one node at a time answers for, those that this one does among them.
    fn leased(&mut self, vips: &BTreeSet<IpAddr>);
}

/// What a node can serve now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it can serve anything. If not it asks for no lease, and its VIPs go elsewhere.
    pub is_able: bool,
    /// The VIPs that it can serve, if it is given them.
    pub vips: Arc<BTreeSet<IpAddr>>,
    /// All VIPs with leases that it knows of.
    pub leased: Arc<BTreeSet<IpAddr>>,
    /// The VIPs that are better off with another node now, if one can serve them.
    pub unfit: Arc<BTreeMap<IpAddr, Unfit>>,
}

/// What a node is told of leases.
#[derive(Clone, Debug)]
pub struct NodeLeasesConfig {
    /// Its name.
    pub node: Name,
    /// All controller members, as `host:port`.
    pub controllers: Vec<String>,
    /// How long leases last: as controllers have it.
    pub timers: Timers,
    /// What it does without controllers.
    pub policy: LossPolicy,
}

/// What a node has done with leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// The VIPs that it answers for.
    pub held: u64,
    /// How often it began to answer for one.
    pub taken: u64,
}

/// The thread that keeps a node's leases. When it is dropped, it ends as it would with the agent: what is answered for is until the lease's end.
#[derive(Debug)]
pub struct NodeLeases {
    counts: watch::Receiver<LeaseCounts>,
    _thread: LeaseThread,
}

// === impl NodeLeases ===

impl NodeLeases {
    /// Starts it, in the network namespace of the current thread.
    pub fn start(
        config: NodeLeasesConfig,
        readiness: watch::Receiver<Readiness>,
        answers: Box<dyn VipAnswers>,
    ) -> io::Result<Self> {
        let (count, counts) = watch::channel(LeaseCounts::default());
        let work = |stop| Keeper::new(config, readiness, answers, count).run(stop);
        Ok(Self {
            counts,
            _thread: LeaseThread::start(work)?,
        })
    }

    /// What it has done since it was started.
    pub fn counts(&self) -> LeaseCounts {
        *self.counts.borrow()
    }
}

/// A member, as long as there is a stream to it.
#[derive(Default)]
struct Link {
    requests: Option<mpsc::Sender<RenewRequest>>,
    /// Whether it says that leases are in use.
    is_active: bool,
}

struct Keeper {
    config: NodeLeasesConfig,
    owner: Owner,
    readiness: watch::Receiver<Readiness>,
    answers: Box<dyn VipAnswers>,
    links: Vec<Link>,
    /// Who has granted last, and when.
    leader: Option<(usize, Moment)>,
    /// Asked to get ready for.
    warming: BTreeSet<IpAddr>,
    /// Answered for now.
    answered: BTreeSet<IpAddr>,
    /// What was told last to be leased.
    leased: BTreeSet<IpAddr>,
    counts: watch::Sender<LeaseCounts>,
}

// === impl Keeper ===

impl Keeper {
    fn new(
        config: NodeLeasesConfig,
        readiness: watch::Receiver<Readiness>,
        mut answers: Box<dyn VipAnswers>,
        counts: watch::Sender<LeaseCounts>,
    ) -> Self {
        let adopted = answers.adopted();
        if !adopted.vips.is_empty() && now() < adopted.until {
            info!(
                vips = adopted.vips.len(),
                "goes on answering for VIPs of the agent before"
            );
        }
        let answered = adopted.vips.keys().copied().collect();
        let NodeLeasesConfig {
            node,
            controllers,
            timers,
            policy,
        } = &config;
        // The standard library's hasher is seeded by the operating system.
        let session = RandomState::new().hash_one(0_u8);
        let owner = Owner::new(now(), node.clone(), session, *timers, *policy, adopted);
        let links = controllers.iter().map(|_| Link::default()).collect();
        Self {
            owner,
            readiness,
            answers,
            links,
            leader: None,
            warming: BTreeSet::new(),
            answered,
            leased: BTreeSet::new(),
            counts,
            config,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut peers = match Peers::open(self.config.node.clone()).await {
            Ok(peers) => peers,
            Err(error) => {
                error!(%error, "leases are not kept: no socket for other nodes");
                return;
            }
        };
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let mut tasks = JoinSet::new();
        for (at, address) in self.config.controllers.iter().enumerate() {
            let hello = LeaseHello {
                node: self.config.node.to_string(),
                peer_port: peers.port().into(),
            };
            tasks.spawn(link::follow(at, address.clone(), hello, sender.clone()));
        }
        loop {
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = events.recv() => self.take(event, &mut peers),
                said = peers.said() => self.hear(said, &mut peers),
                Ok(()) = self.readiness.changed() => {}
                () = time::sleep(wake) => {}
            }
            self.tick(&mut peers);
        }
    }

    /// Until when nothing has to be done.
    fn wake(&self) -> Duration {
        let every = if self.is_asking() || self.owner.end().is_some() {
            self.config.timers.renew_every()
        } else {
            IDLE
        };
        let every = if self.can_be_warm().next().is_some() {
            every.min(LOOK_EVERY)
        } else {
            every
        };
        let left = self.owner.end().map(|end| end.since(now()));
        left.map_or(every, |left| left.min(every))
    }

    /// What it was asked to get ready for, and can serve.
    fn can_be_warm(&self) -> impl Iterator<Item = IpAddr> {
        let vips = self.readiness.borrow().vips.clone();
        let able = self.warming.iter().filter(move |vip| vips.contains(vip));
        able.copied()
    }

    /// Whether it wants leases.
    fn is_asking(&self) -> bool {
        self.readiness.borrow().is_able && self.links.iter().any(|link| link.is_active)
    }

    fn tick(&mut self, peers: &mut Peers) {
        let actions = self.owner.tick(now());
        self.act(actions, peers);
        let unfit = self.readiness.borrow().unfit.clone();
        let actions = self.owner.unfit(now(), &unfit);
        self.act(actions, peers);
        let able: Vec<_> = self.can_be_warm().collect();
        for vip in able {
            if !self.answers.is_warm(vip) {
                continue;
            }
            self.warming.remove(&vip);
            let actions = self.owner.ready(now(), vip);
            self.act(actions, peers);
        }
        self.tell_leased();
    }

    /// Says which VIPs are leased. A node that is given one may not know its service yet.
    fn tell_leased(&mut self) {
        let known = self.readiness.borrow().leased.clone();
        let leased: BTreeSet<_> = known.union(&self.answered).copied().collect();
        if leased != self.leased {
            self.answers.leased(&leased);
            self.leased = leased;
        }
    }

    fn hear(&mut self, said: Said, peers: &mut Peers) {
        match said {
            Said::Asks(question, from) => {
                if self.owner.peer_asks(now()) {
                    peers.agree(&question, from);
                }
            }
            Said::Agrees(node, asked) => {
                let actions = self.owner.peer_agrees(now(), node, asked);
                self.act(actions, peers);
            }
        }
    }

    fn take(&mut self, event: LinkEvent, peers: &mut Peers) {
        match event {
            LinkEvent::Open(at, requests) => self.links[at].requests = Some(requests),
            LinkEvent::Closed(at) => {
                self.links[at] = Link::default();
                self.leader.take_if(|(leader, _)| *leader == at);
            }
            LinkEvent::Said(at, renew_response::Message::Activity(activity)) => {
                self.links[at].is_active = activity.active;
            }
            LinkEvent::Said(_, renew_response::Message::Peers(told)) => peers.learn(&told),
            LinkEvent::Said(at, renew_response::Message::Grant(grant)) => {
                match Grant::try_from(grant) {
                    Ok(grant) => {
                        let now = now();
                        self.leader = Some((at, now));
                        let actions = self.owner.granted(now, grant);
                        self.act(actions, peers);
                    }
                    Err(violation) => warn!(%violation, "a grant that is none"),
                }
            }
            LinkEvent::Said(_, renew_response::Message::Answer(answer)) => {
                let now = now();
                if answer.nobody_leads {
                    let asked = Moment::from_nanos(answer.asked_nanos);
                    let actions = self.owner.nobody_leads(now, answer.controller, asked);
                    self.act(actions, peers);
                } else {
                    self.owner.somebody_leads(now);
                }
            }
        }
    }

    fn act(&mut self, actions: Vec<OwnerAction>, peers: &mut Peers) {
        for action in actions {
            match action {
                OwnerAction::Answer(vip, epoch) => {
                    info!(%vip, epoch = epoch.0, "answers for a VIP");
                    self.answered.insert(vip);
                    self.count(1);
                    self.answers.answer(vip, epoch);
                }
                OwnerAction::Stop(vip) => {
                    info!(%vip, "answers for a VIP no more");
                    self.answered.remove(&vip);
                    self.count(0);
                    self.answers.stop(vip);
                }
                OwnerAction::Until(end) => self.answers.until(end),
                OwnerAction::Warm(vip) => {
                    self.answers.warm(vip);
                    self.warming.insert(vip);
                }
                OwnerAction::Request(request) => {
                    if self.is_asking() {
                        let request = renew_request::Message::Request(request.to_proto());
                        self.ask_leader(&request);
                    }
                }
                OwnerAction::AskControllers(asked) => {
                    let asked_nanos = asked.as_nanos();
                    let question = LeaderQuestion { asked_nanos };
                    self.ask_all(&renew_request::Message::Question(question));
                }
                OwnerAction::AskPeers(asked, nodes) => peers.ask(asked, &nodes),
            }
        }
    }

    fn count(&self, taken: u64) {
        let held = self.answered.len() as u64;
        self.counts.send_modify(|it| {
            it.held = held;
            it.taken += taken;
        });
    }

    /// Asks the member that leads, or all if none has granted anything lately: whoever does not lead says nothing.
    fn ask_leader(&self, message: &renew_request::Message) {
        let gone_after = self.config.timers.gone_after();
        let leader = self.leader.filter(|(_, at)| now().since(*at) < gone_after);
        match leader {
            Some((at, _)) => self.links[at].send(message),
            None => self.ask_all(message),
        }
    }

    fn ask_all(&self, message: &renew_request::Message) {
        for link in &self.links {
            link.send(message);
        }
    }
}

// === impl Link ===

impl Link {
    fn send(&self, message: &renew_request::Message) {
        if let Some(requests) = &self.requests {
            let message = Some(message.clone());
            // A stream without room has questions that wait already.
            drop(requests.try_send(RenewRequest { message }));
        }
    }
}
