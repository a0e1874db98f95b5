use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lbfabric_lease::now;
use lbfabric_model::{
    Command, FabricState, LeaseCommand, Leases, Name, Outcome,
    lease::{
        Assign, Assignments, Leader, LeaderAction, LeaderView, LeaseRequest, PlacementRules,
        Timers, Witness, WitnessReport,
    },
};
use lbfabric_proto::{
    internal::v1::{WitnessAnswer, WitnessQuestion},
    v1::{LeaderAnswer, LeaseActivity, LeaseGrant, renew_response::Message},
};
use tokio::{
    sync::{mpsc, oneshot},
    time,
};
use tracing::{debug, info, warn};

use super::{
    rounds::Rounds,
    seats::{Seat, Seats},
};
use crate::raft::{ProposeError, RaftNode, Tenure};

/// How old a round is at most that a grant counts from, and how late a lease's end is seen.
const ROUND_INTERVAL: Duration = Duration::from_millis(10);
/// How often a member looks around that has nothing to lead.
const IDLE: Duration = Duration::from_secs(1);

/// A stream of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeKey {
    pub(crate) node: Name,
    /// Another one for each stream.
    pub(crate) stream: u64,
}

/// What happens around the keeper.
pub(crate) enum Event {
    NodeCame(NodeKey, Seat),
    NodeLeft(NodeKey),
    Request(LeaseRequest),
    /// A node asks whether nobody leads, with its moment.
    Question(NodeKey, u64),
    /// Another member asks whether this one follows it.
    Witness(WitnessQuestion, mpsc::Sender<WitnessAnswer>),
    /// There is a stream to another member.
    PeerCame(u64, mpsc::Sender<WitnessQuestion>),
    Answer(u64, WitnessAnswer),
    /// What was proposed will never take effect.
    Refused(Tenure, Vec<Assign>),
    /// Whether a node was admitted is decided.
    Admitted(Name),
    /// Somebody asks how everything is; none if this member does not lead.
    View(oneshot::Sender<Option<LeaderView>>),
}

/// Decides about leases: a witness always, a leader while this member leads.
pub(crate) struct Keeper {
    id: u64,
    timers: Timers,
    raft: Arc<RaftNode>,
    events: mpsc::Sender<Event>,
    witness: Witness,
    leading: Option<Leading>,
    state: Arc<FabricState>,
    rules: Arc<PlacementRules>,
    nodes: Seats,
    peers: BTreeMap<u64, mpsc::Sender<WitnessQuestion>>,
    is_active: bool,
}

/// What a leader has beside its rules.
struct Leading {
    tenure: Tenure,
    leader: Leader,
    rounds: Rounds,
    members: usize,
    /// Nodes whose admission is on its way to the log.
    admitting: BTreeSet<Name>,
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(id: u64, raft: Arc<RaftNode>, events: mpsc::Sender<Event>) -> Self {
        let state = raft.published().borrow().state.clone();
        Self {
            id,
            timers: Timers::default(),
            witness: Witness::new(now()),
            leading: None,
            rules: Arc::new(state.placement_rules()),
            is_active: false,
            state,
            raft,
            events,
            nodes: Seats::default(),
            peers: BTreeMap::new(),
        }
    }

    /// Runs until the member has ended.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut published = self.raft.published();
        let mut view = self.raft.view();
        let mut next_round = time::Instant::now();
        published.mark_changed();
        loop {
            let wake = if self.leading.is_some() && self.is_active {
                next_round
            } else {
                time::Instant::now() + IDLE
            };
            tokio::select! {
                biased;
                Some(event) = inbox.recv() => self.take(event),
                changed = published.changed() => match changed {
                    Ok(()) => {
                        let state = published.borrow_and_update().state.clone();
                        self.applied(state);
                    }
                    Err(_ended) => return,
                },
                changed = view.changed() => if changed.is_err() {
                    return;
                },
                () = time::sleep_until(wake) => {
                    next_round = time::Instant::now() + ROUND_INTERVAL;
                    self.tick();
                }
            }
            self.follow_lead();
        }
    }

    /// Becomes a leader, or is none any more.
    fn follow_lead(&mut self) {
        let tenure = self.raft.voted_for();
        if let Some(leading) = &self.leading
            && Some(leading.tenure) != tenure
        {
            info!("another member decides who answers for VIPs");
            self.leading = None;
        }
        let Some(tenure) = tenure.filter(|it| it.member == self.id) else {
            return;
        };
        if self.leading.is_some() || self.raft.view().borrow().leader != Some(self.id) {
            return;
        }
        // Whatever was committed before stands before this member's own first entry.
        let published = self.raft.published().borrow().clone();
        if published.tenure != Some(tenure) {
            return;
        }
        self.applied(published.state);
        let members = self.raft.voters();
        let leader = Leader::new(
            now(),
            // The index of an entry of its own: one that leads later has a higher one, in whatever term.
            published.applied,
            self.timers,
            members.clone(),
            self.rules.clone(),
            Assignments::clone(self.state.leases().assignments()),
        );
        info!("this member decides who answers for VIPs");
        self.leading = Some(Leading {
            tenure,
            leader,
            rounds: Rounds::default(),
            members: members.len(),
            admitting: BTreeSet::new(),
        });
    }

    fn tick(&mut self) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let actions = leading.leader.tick(now());
        self.act(actions);
        if self.is_active {
            self.begin_round();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::NodeCame(key, seat) => {
                let active = self.is_active;
                seat.say(Message::Activity(LeaseActivity { active }));
                self.nodes.take(key, seat);
            }
            Event::NodeLeft(key) => self.nodes.leave(&key),
            Event::Request(request) => self.request(request),
            Event::Question(key, asked_nanos) => self.question(&key, asked_nanos),
            Event::Witness(question, answers) => {
                let answer = self.witness(&question);
                // Without room there are answers that the member has not read.
                drop(answers.try_send(answer));
            }
            Event::PeerCame(member, questions) => {
                self.peers.insert(member, questions);
            }
            Event::Answer(member, answer) => match WitnessReport::from_proto(&answer) {
                Ok(Some(report)) => self.report(answer.round, member, report),
                Ok(None) => debug!(member, "a member does not follow"),
                Err(violation) => warn!(member, %violation, "an answer that is none"),
            },
            Event::Refused(tenure, assigns) => {
                if let Some(leading) = &mut self.leading
                    && leading.tenure == tenure
                {
                    let actions = leading.leader.refused(now(), &assigns);
                    self.act(actions);
                }
            }
            Event::View(reply) => {
                let leading = self.leading.as_ref();
                // Who asked may have gone.
                drop(reply.send(leading.map(|it| it.leader.view(now()))));
            }
            Event::Admitted(node) => {
                if let Some(leading) = &mut self.leading {
                    leading.admitting.remove(&node);
                }
            }
        }
    }

    fn request(&mut self, request: LeaseRequest) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let node = &request.node;
        if !self.state.leases().nodes().contains(node) && leading.admitting.insert(node.clone()) {
            let (raft, events, node) = (self.raft.clone(), self.events.clone(), node.clone());
            tokio::spawn(async move {
                let command = Command::Lease(LeaseCommand::Admit(node.clone()));
                match raft.propose(&command).await {
                    Ok(Outcome::Applied { .. }) => info!(%node, "a node may be given VIPs"),
                    Ok(Outcome::Refused(refusal)) => {
                        warn!(%node, ?refusal, "a node is given no VIPs");
                    }
                    Err(error) => debug!(%node, %error, "whether a node is admitted is not known"),
                }
                drop(events.send(Event::Admitted(node)).await);
            });
        }
        let actions = leading.leader.request(now(), request);
        self.act(actions);
    }

    fn question(&mut self, key: &NodeKey, asked_nanos: u64) {
        let nobody_leads = self.witness.ask(now(), &key.node, self.timers);
        if nobody_leads {
            debug!(node = %key.node, "a node was told that nobody leads");
        }
        let answer = Message::Answer(LeaderAnswer {
            asked_nanos,
            controller: self.id,
            nobody_leads,
        });
        self.nodes.answer(key, answer);
    }

    fn witness(&mut self, question: &WitnessQuestion) -> WitnessAnswer {
        let asking = Tenure {
            term: question.term,
            member: question.leader,
        };
        if self.raft.voted_for() != Some(asking) {
            return WitnessAnswer {
                round: question.round,
                ..WitnessAnswer::default()
            };
        }
        let now = now();
        self.witness.heard_leader(now);
        let report = self.witness.report(now, self.timers);
        report.to_proto(question.round)
    }

    fn begin_round(&mut self) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let started = now();
        let round = leading.rounds.begin(started, self.timers);
        let question = WitnessQuestion {
            round,
            term: leading.tenure.term,
            leader: leading.tenure.member,
        };
        for questions in self.peers.values() {
            // Without room there are questions that the member has not read.
            questions.try_send(question).ok();
        }
        // Its own vote is looked at once the round has begun.
        if self.raft.voted_for() == Some(leading.tenure) {
            let report = self.witness.report(now(), self.timers);
            self.report(round, self.id, report);
        }
    }

    fn report(&mut self, round: u64, member: u64, report: WitnessReport) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let Leading {
            leader,
            rounds,
            members,
            ..
        } = leading;
        if let Some(round) = rounds.report(round, member, report, *members) {
            let now = now();
            let actions = leader.round(now, &round);
            self.witness.heard_leader(now);
            self.act(actions);
        }
    }

    /// An entry of the log was applied.
    fn applied(&mut self, state: Arc<FabricState>) {
        let before = std::mem::replace(&mut self.state, state);
        let (leases, old) = (self.state.leases().clone(), before.leases());
        let has_new_leases = !Arc::ptr_eq(&leases, old);
        let has_new_objects = self.state.objects_generation() != before.objects_generation();
        let has_new_rules = has_new_leases || has_new_objects;
        if has_new_rules {
            self.rules = Arc::new(self.state.placement_rules());
        }
        self.tell_activity();
        let Some(leading) = &mut self.leading else {
            return;
        };
        let mut actions = Vec::new();
        if has_new_leases {
            tell_changes(old, &leases);
            let assignments = Assignments::clone(leases.assignments());
            actions.extend(leading.leader.applied(now(), assignments));
        }
        if has_new_rules {
            actions.extend(leading.leader.place(now(), self.rules.clone()));
        }
        self.act(actions);
    }

    /// Tells nodes whether leases are in use.
    fn tell_activity(&mut self) {
        let has_owner = self.state.leases().assignments().iter().next().is_some();
        let active = has_owner || !self.rules.vips.is_empty();
        if active == self.is_active {
            return;
        }
        self.is_active = active;
        let activity = Message::Activity(LeaseActivity { active });
        self.nodes.say_all(&activity);
    }

    fn act(&mut self, actions: Vec<LeaderAction>) {
        for action in actions {
            match action {
                LeaderAction::Grant(node, grant) => {
                    let grant = LeaseGrant::from(&grant);
                    self.nodes.say(&node, Message::Grant(grant));
                }
                LeaderAction::Propose(assigns) => self.propose(assigns),
                // It comes from ticks, and each of these begins one.
                LeaderAction::Round => {}
            }
        }
    }

    fn propose(&self, assigns: Vec<Assign>) {
        let Some(leading) = &self.leading else {
            return;
        };
        let (raft, events, tenure) = (self.raft.clone(), self.events.clone(), leading.tenure);
        tokio::spawn(async move {
            let command = Command::Lease(LeaseCommand::Assign(assigns.clone(), unix_ms()));
            let is_refused = match raft.propose(&command).await {
                Ok(Outcome::Refused(refusal)) => {
                    debug!(?refusal, "an assignment was refused");
                    true
                }
                Err(ProposeError::NotLeader(_)) => true,
                // If it is not known, it may still be applied.
                Ok(Outcome::Applied { .. })
                | Err(ProposeError::Unknown | ProposeError::Stopped(_)) => false,
            };
            if is_refused {
                drop(events.send(Event::Refused(tenure, assigns)).await);
            }
        });
    }
}

/// Milliseconds since 1970, for people.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

/// Logs who answers for which VIP now.
fn tell_changes(old: &Leases, new: &Leases) {
    for (vip, now) in new.assignments().iter() {
        let before = old.assignments().get(vip);
        if before.map(|it| it.epoch) == Some(now.epoch) {
            continue;
        }
        let from = before.map(|it| it.owner.to_string());
        info!(%vip, owner = %now.owner, from, epoch = now.epoch.0, "a VIP has a new owner");
    }
    for (vip, before) in old.assignments().iter() {
        if new.assignments().get(vip).is_none() {
            info!(%vip, from = %before.owner, "a VIP has no owner any more");
        }
    }
}
