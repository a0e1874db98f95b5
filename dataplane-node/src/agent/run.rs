use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{ObjectKey, Role};
use lbfabric_proto::v1::{self, explain_reply, sync_request::Message};
use lbfabric_proxy::observe::AccessLog;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    progress::Progress,
    role::{self, RoleState, Situation},
};
use crate::{
    NodeConfig,
    announce::Announcer,
    chain::Chain,
    controller::{ControllerEvent, SessionId},
    hand_over::Successor,
    health::{HealthChange, ProbeResult, Probers},
    netlink::{NetCommand, NetworkView, NetworkWatch},
    plan::Desired,
    seeing::{Followers, Questions},
    snapshot::{DeltaOutcome, HeldSnapshot},
    state_file::StateFile,
};

/// Reports on changes are at least this far apart.
const REPORT_GAP: Duration = Duration::from_millis(200);
/// A report is sent at least this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long the agent waits for the kernel's network state before it goes on without.
const NETWORK_PATIENCE: Duration = Duration::from_secs(3);
/// Whether the program is still attached is looked up this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What failed is tried again after this time.
const APPLY_RETRY: Duration = Duration::from_secs(1);

/// The agent's task: everything that happens comes in here, one after the other.
pub(crate) struct Agent {
    pub(crate) config: NodeConfig,
    pub(crate) network: NetworkWatch,
    pub(crate) controller_events: mpsc::Receiver<ControllerEvent>,
    pub(crate) probe_results: mpsc::Receiver<ProbeResult>,
    pub(crate) probers: Probers,
    pub(crate) announcer: Announcer,
    pub(crate) role: RoleState,
    pub(crate) file: StateFile,
    pub(crate) stop: CancellationToken,
    pub(crate) progress: Progress,
    /// The task that keeps the stream open; it ends with the agent.
    pub(crate) tasks: JoinSet<()>,
    /// Who takes over.
    pub(crate) successors: mpsc::Receiver<Successor>,
    /// What the administration asks.
    pub(crate) questions: Questions,
    pub(crate) followers: Followers,
    pub(crate) log: Arc<AccessLog>,
}

impl Agent {
    /// Runs until it is stopped or another agent takes over, and gives itself back for what is to be done then.
    pub(crate) async fn run(mut self) -> (Self, Option<Successor>) {
        self.follow_desired();
        // A server that says hello without its addresses would be told to give up its VIPs; a load balancer that writes the
        // maps of the agent before it without knowing the next hops would take these away.
        let needed = match self.config.role {
            Role::LoadBalancer => self.progress.desired.backend_addresses(),
            Role::Server => BTreeSet::new(),
        };
        let known = |view: &NetworkView| view.ready && needed.is_subset(&view.looked_up);
        let ready = self.network.view.wait_for(known);
        let ready = time::timeout(NETWORK_PATIENCE, ready)
            .await
            .is_ok_and(|seen| seen.is_ok());
        if ready {
            self.on_network();
        }
        let stop = self.stop.clone();
        loop {
            let wake = time::sleep_until(self.next_wake());
            tokio::select! {
                () = stop.cancelled() => return (self, None),
                Some(successor) = self.successors.recv() => return (self, Some(successor)),
                Some(event) = self.controller_events.recv() => self.on_controller(event).await,
                Some(result) = self.probe_results.recv() => self.on_probe(result),
                Ok(()) = self.network.view.changed() => self.on_network(),
                Some(reply) = self.questions.recv() => {
                    // Who asked may have lost patience.
                    let _gone = reply.send(self.seen());
                }
                // A branch whose channel has closed is left out; this one always comes.
                () = wake => {}
            }
            while let Ok(result) = self.probe_results.try_recv() {
                self.on_probe(result);
            }
            self.tend_program().await;
            self.apply_if_due().await;
            self.report_if_due();
        }
    }

    fn next_wake(&self) -> Instant {
        let progress = &self.progress;
        let report = progress.last_report
            + if progress.report_changed {
                REPORT_GAP
            } else {
                REPORT_INTERVAL
            };
        // Before the first view of the network there is nothing to try again.
        let program = self.role.retry_at().filter(|_| progress.view.ready);
        let announcer = self.announcer.wake_at().map(Instant::from_std);
        let retries = [
            program,
            progress.apply_retry_at,
            self.role.wake_at(),
            announcer,
        ];
        retries.into_iter().flatten().fold(report, Instant::min)
    }

    async fn on_controller(&mut self, event: ControllerEvent) {
        match event {
            ControllerEvent::Connected(session) => {
                let hello = Message::Hello(self.hello());
                if !session.send(hello) {
                    session.reset();
                }
                self.progress.session = Some(session);
                self.progress.report_changed = true;
            }
            ControllerEvent::Closed(id) => {
                if self
                    .progress
                    .session
                    .as_ref()
                    .is_some_and(|session| session.id == id)
                {
                    self.progress.session = None;
                    self.followers.stop_all();
                }
            }
            ControllerEvent::Delta(id, delta) => {
                if self
                    .progress
                    .session
                    .as_ref()
                    .is_some_and(|session| session.id == id)
                {
                    self.on_delta(*delta).await;
                }
            }
            ControllerEvent::Explain(id, query) => self.answer(id, query),
            ControllerEvent::Speaker(id, query) => self.answer_about_speaker(id, query),
            ControllerEvent::Log(id, query) => {
                let session = self.progress.session.as_ref();
                if let Some(session) = session.filter(|session| session.id == id) {
                    self.followers.follow(query, session.log_lines());
                }
            }
            ControllerEvent::StopLog(id, query) => {
                let session = self.progress.session.as_ref();
                if session.is_some_and(|session| session.id == id) {
                    self.followers.stop(query);
                }
            }
        }
    }

    /// Says what the program would do with a packet.
    fn answer(&self, id: SessionId, query: v1::ExplainQuery) {
        let session = self.progress.session.as_ref();
        let Some(session) = session.filter(|session| session.id == id) else {
            return;
        };
        let situation = Situation {
            desired: &self.progress.desired,
            network: &self.progress.view,
            health: &self.progress.health,
        };
        let packet = query.packet.unwrap_or_default();
        let outcome = match self.role.explain(&packet, situation) {
            Ok(explanation) => explain_reply::Outcome::Explanation(Box::new(explanation)),
            Err(reason) => explain_reply::Outcome::Error(reason),
        };
        let reply = v1::ExplainReply {
            id: query.id,
            outcome: Some(outcome),
        };
        // Who asked stops waiting by himself when there is no room for the answer.
        session.send(Message::Explained(reply));
    }

    fn hello(&self) -> v1::Hello {
        let role = match self.config.role {
            Role::LoadBalancer => v1::NodeRole::LoadBalancer,
            Role::Server => v1::NodeRole::Server,
        };
        let held = self.progress.held.as_ref();
        v1::Hello {
            name: self.config.name.clone(),
            role: role.into(),
            addresses: self.addresses(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: held.map_or(0, |held| held.generation.0),
            held: held.map(HeldSnapshot::held).unwrap_or_default(),
            explains: true,
            logs: true,
            speaks: true,
        }
    }

    fn addresses(&self) -> Vec<String> {
        self.progress
            .view
            .on_interface
            .iter()
            .map(IpAddr::to_string)
            .collect()
    }

    async fn on_delta(&mut self, delta: v1::Delta) {
        let generation = delta.generation;
        let is_first = self.progress.held.is_none();
        let mut held = self.progress.held.take().unwrap_or_default();
        let before = held.generation;
        let outcome = held.apply(delta);
        let is_newer = is_first || held.generation != before;
        // A delta that is not followed has changed nothing.
        if !is_first || outcome.is_ok() {
            self.progress.held = Some(held);
        }
        let objects = match outcome {
            Ok(DeltaOutcome::Ignored) => {
                info!(generation, "an older generation is ignored");
                return;
            }
            Ok(DeltaOutcome::Applied(objects)) => objects,
            Err(error) => {
                warn!(error = %Chain(&error), "the stream is opened again");
                if let Some(session) = self.progress.session.take() {
                    session.reset();
                }
                return;
            }
        };
        let changed = is_newer || !objects.is_empty();
        if changed {
            self.follow_changes(&objects);
        }
        info!(generation, "generation received");
        self.apply().await;
        if changed {
            self.keep_snapshot();
        }
        if let (Some(session), Some(held)) = (&self.progress.session, &self.progress.held) {
            let refusals = role::refusals(&self.progress.applied, &self.progress.desired, held);
            let result = v1::DeltaResult {
                generation,
                refusals,
            };
            if !session.send(Message::Result(result)) {
                session.reset();
            }
        }
        self.progress.report_changed = true;
    }

    /// Writes what is held to disk, for a start without any controller.
    fn keep_snapshot(&self) {
        if let Some(held) = &self.progress.held
            && let Err(error) = self.file.write(&held.encode())
        {
            error!(error = %Chain(&error), "the snapshot cannot be kept on disk");
        }
    }

    /// Decodes what is held, and starts and ends probes and next-hop resolution for it.
    fn follow_desired(&mut self) {
        if let Some(held) = &self.progress.held {
            self.progress.desired = Desired::decode(held);
            self.look_after_servers();
        }
    }

    /// As [`Self::follow_desired`], where no more than these objects have changed.
    fn follow_changes(&mut self, objects: &[ObjectKey]) {
        if let Some(held) = &self.progress.held {
            self.progress.desired.follow(held, objects);
            self.look_after_servers();
        }
    }

    fn look_after_servers(&mut self) {
        let desired = &self.progress.desired;
        if let Role::LoadBalancer = self.config.role {
            self.probers.follow(&desired.pools);
        }
        self.progress.health.follow(&self.probers.targets());
        self.want_next_hops();
        self.progress.apply_due = true;
    }

    fn want_next_hops(&self) {
        let mut wanted = match self.config.role {
            Role::LoadBalancer => self.progress.desired.backend_addresses(),
            Role::Server => BTreeSet::new(),
        };
        wanted.extend(self.role.former());
        self.command(NetCommand::Want(wanted));
    }

    fn command(&self, command: NetCommand) {
        if self.network.commands.send(command).is_err() {
            error!("the task that follows the network has ended");
        }
    }

    fn on_probe(&mut self, result: ProbeResult) {
        if result.silent {
            self.command(NetCommand::Suspect(result.target.address));
        }
        let target = result.target;
        let outcome = result.outcome.clone();
        match self.progress.health.note(
            result,
            &self.progress.desired.pools,
            Instant::now().into_std(),
        ) {
            HealthChange::None => {}
            HealthChange::Reason => self.progress.report_changed = true,
            HealthChange::State => {
                let address = target.address;
                match outcome {
                    Ok(()) => info!(backend = target.backend.0, %address, "server up"),
                    Err(reason) => {
                        info!(backend = target.backend.0, %address, %reason, "server down");
                    }
                }
                self.progress.apply_due = true;
                self.progress.report_changed = true;
            }
        }
    }

    fn on_network(&mut self) {
        let view = self.network.view.borrow_and_update().clone();
        if view.on_interface != self.progress.view.on_interface {
            self.progress.report_changed = true;
        }
        self.progress.view = view;
        if self.role.check(&self.progress.view.links, false) {
            self.progress.report_changed = true;
        }
        self.progress.apply_due = true;
    }

    /// Tries a program that does not run again when it is time, and looks from time to time whether it still does. The
    /// first try waits for the kernel's state.
    async fn tend_program(&mut self) {
        let now = Instant::now();
        let retry = self.role.retry_at().is_some_and(|at| at <= now);
        let look = now >= self.progress.last_look + LOOK_INTERVAL;
        if !(retry || look) || !self.progress.view.ready {
            return;
        }
        self.progress.last_look = now;
        let links = match self.network.requests.link_views().await {
            Ok(links) => links,
            Err(error) => {
                warn!(error = %Chain(&error), "the links cannot be read");
                self.role.postpone();
                return;
            }
        };
        let before = self.role.fault();
        self.role.check(&links, true);
        // Not `now`: the check may have made the retry due this instant.
        if self.role.retry_at().is_some_and(|at| at <= Instant::now()) {
            self.role.start(&links);
        }
        if self.role.fault() != before {
            self.progress.apply_due = true;
            self.progress.report_changed = true;
        }
        let interfaces = &self.config.interfaces;
        self.progress.report_changed |= self.role.look_for_rivals(interfaces, &links);
    }

    async fn apply_if_due(&mut self) {
        let due = [self.progress.apply_retry_at, self.role.wake_at()];
        let retry = due.into_iter().flatten().any(|at| at <= Instant::now());
        if self.progress.apply_due || retry {
            self.apply().await;
        } else if let Some(at) = self.announcer.wake_at()
            && at <= Instant::now().into_std()
        {
            self.announce();
        }
    }

    async fn apply(&mut self) {
        self.progress.apply_due = false;
        self.progress.apply_retry_at = None;
        if self.progress.held.is_none() || !self.progress.view.ready {
            return;
        }
        let situation = Situation {
            desired: &self.progress.desired,
            network: &self.progress.view,
            health: &self.progress.health,
        };
        let former = self.role.former();
        let applied = self.role.apply(situation).await;
        if self.role.former() != former {
            self.want_next_hops();
        }
        if applied.failure.is_some() {
            self.progress.apply_retry_at = Some(Instant::now() + APPLY_RETRY);
        }
        if applied != self.progress.applied {
            for (key, reason) in &applied.refusals {
                if self.progress.applied.refusals.get(key) != Some(reason) {
                    warn!(kind = ?key.kind, id = key.id, %reason, "refused");
                }
            }
            self.progress.applied = applied;
            self.progress.report_changed = true;
        }
        self.progress.has_applied |= self.progress.applied.failure.is_none();
        self.announce();
    }

    fn report_if_due(&mut self) {
        let now = Instant::now();
        let progress = &self.progress;
        let gap = if progress.report_changed {
            REPORT_GAP
        } else {
            REPORT_INTERVAL
        };
        if now < progress.last_report + gap {
            return;
        }
        if let Some(session) = &self.progress.session {
            // A report that finds no room is followed by a newer one.
            session.send(Message::Report(self.report()));
        }
        self.progress.last_report = now;
        if let Some(error) = self.log.take_error() {
            warn!(error = %Chain(&error), "the access log cannot be written");
        }
        self.progress.report_changed = false;
    }

    pub(super) fn report(&self) -> v1::NodeReport {
        let progress = &self.progress;
        let fault = self
            .role
            .fault()
            .or_else(|| progress.applied.failure.clone());
        let mut report = v1::NodeReport {
            applied_generation: progress.held.as_ref().map_or(0, |held| held.generation.0),
            interface: self.config.interfaces.join(","),
            xdp_mode: self.role.mode().into(),
            fault: fault.unwrap_or_default(),
            addresses: self.addresses(),
            bgp: self.announcer.status(),
            ..v1::NodeReport::default()
        };
        if let Some(held) = &progress.held {
            report.refusals = role::refusals(&progress.applied, &progress.desired, held);
        }
        let situation = Situation {
            desired: &progress.desired,
            network: &progress.view,
            health: &progress.health,
        };
        if let Err(error) = self.role.fill(&mut report, situation) {
            warn!(error = %Chain(&error), "counters cannot be read");
        }
        match self.role.map_memory() {
            Ok(bytes) => report.map_memory_bytes = bytes,
            Err(error) => warn!(error = %Chain(&error), "the maps' memory cannot be read"),
        }
        report
    }
}
