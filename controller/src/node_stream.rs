use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lbfabric_model::{CompiledFabric, Generation, NodeFacts, ObjectKey};
use lbfabric_proto::v1::{self, sync_response::Message};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    hello::Hello,
    node_registry::{Session, SessionEnd},
    raft::RaftView,
    status,
};

/// How long a member may take to reach what the node has seen already.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// What one node is sent: always the newest snapshot, as the difference to what the node holds by then. It is asked for the
/// next delta when the connection takes one, so a slow node skips generations and costs no memory.
pub(crate) struct NodeStream {
    session: Session,
    facts: NodeFacts,
    held: BTreeMap<ObjectKey, u64>,
    /// Nothing older than this is sent.
    next: Generation,
    /// Until when the first delta has to come.
    catch_up: Option<Instant>,
    compiled: watch::Receiver<Arc<CompiledFabric>>,
    view: watch::Receiver<RaftView>,
    was_connected: bool,
    stopping: CancellationToken,
    /// What the node is to be asked next.
    question: Option<Message>,
}

// === impl NodeStream ===

impl NodeStream {
    pub(crate) fn new(
        session: Session,
        hello: Hello,
        compiled: watch::Receiver<Arc<CompiledFabric>>,
        view: watch::Receiver<RaftView>,
        stopping: CancellationToken,
    ) -> Self {
        let Hello {
            facts,
            version: _,
            generation,
            held,
            explains: _,
            logs: _,
            speaks: _,
        } = hello;
        let was_connected = view.borrow().connected;
        Self {
            session,
            facts,
            held,
            // A state without any generation is not an empty fabric but one that this member has not got yet.
            next: generation.max(Generation(1)),
            catch_up: Some(Instant::now() + CATCH_UP_TIMEOUT),
            compiled,
            was_connected,
            view,
            stopping,
            question: None,
        }
    }

    pub(crate) fn node(&self) -> &str {
        &self.facts.name
    }

    /// Waits for a state that the node does not have, or for a question to it.
    pub(crate) async fn next_message(&mut self) -> Result<Message, Status> {
        loop {
            if let Some(end) = self.session.end.borrow().as_ref() {
                return Err(status::session_ended(end));
            }
            if let Some(question) = self.question.take() {
                return Ok(question);
            }
            let moved = self.take_addresses();
            let compiled = self.compiled.borrow_and_update().clone();
            if compiled.generation() >= self.next {
                return Ok(Message::Delta(self.delta(&compiled)));
            }
            // What a server holds depends on its addresses: the same generation may be another one for it now.
            let sent = self.catch_up.is_none();
            if moved && sent && compiled.for_node(&self.facts).held() != self.held {
                return Ok(Message::Delta(self.delta(&compiled)));
            }
            self.changed().await?;
        }
    }

    /// Takes over the addresses of the last report. True if they are others than before.
    fn take_addresses(&mut self) -> bool {
        let addresses = self.session.addresses.borrow_and_update().clone();
        let moved = addresses != self.facts.addresses;
        self.facts.addresses = addresses;
        moved
    }

    fn delta(&mut self, compiled: &CompiledFabric) -> v1::Delta {
        let snapshot = compiled.for_node(&self.facts);
        let delta = snapshot.delta(&self.held);
        self.held = snapshot.held();
        self.next = Generation(snapshot.generation.0 + 1);
        self.catch_up = None;
        delta
    }

    /// Waits until there may be something to send.
    async fn changed(&mut self) -> Result<(), Status> {
        let catch_up = async {
            match self.catch_up {
                Some(at) => time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.compiled.changed() => {
                changed.map_err(|_closed: watch::error::RecvError| status::stopping())
            }
            Ok(()) = self.session.addresses.changed() => Ok(()),
            Some(question) = self.session.questions.recv() => {
                self.question = Some(Message::Explain(question));
                Ok(())
            }
            Some(query) = self.session.speaker_queries.recv() => {
                self.question = Some(Message::Speaker(query));
                Ok(())
            }
            Some(query) = self.session.log_queries.recv() => {
                self.question = Some(query);
                Ok(())
            }
            end = self.session.end.wait_for(Option::is_some) => {
                let end = end.ok().and_then(|end| end.clone()).unwrap_or(SessionEnd::Gone);
                Err(status::session_ended(&end))
            }
            changed = self.view.changed() => {
                changed.map_err(|_closed: watch::error::RecvError| status::stopping())?;
                let connected = self.view.borrow_and_update().connected;
                // Only who has lost its leader sends its nodes away: one that never had one is as good as any other.
                if self.was_connected && !connected {
                    return Err(status::cut_off());
                }
                self.was_connected = connected;
                Ok(())
            }
            () = catch_up => Err(status::behind(self.next.0)),
            () = self.stopping.cancelled() => Err(status::stopping()),
        }
    }
}
