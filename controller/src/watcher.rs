use std::collections::{BTreeMap, VecDeque};

use lbfabric_proto::v1::{self, WatchResponse};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{raft::Published, status};

/// One `Watch` call. It is asked for the next message when the connection takes one and then compares the newest state
/// with what it has sent: a slow caller gets an object's newest state instead of each one, and costs no memory.
pub(crate) struct Watcher {
    kind: v1::Kind,
    published: watch::Receiver<Published>,
    stopping: CancellationToken,
    /// The generation of each object that the caller knows, by kind and name.
    known: BTreeMap<(i32, String), u64>,
    /// The generation that `known` is of.
    generation: Option<u64>,
    queue: VecDeque<WatchResponse>,
}

// === impl Watcher ===

impl Watcher {
    /// Begins with the state that was read.
    pub(crate) fn new(
        kind: v1::Kind,
        first: &Published,
        published: watch::Receiver<Published>,
        stopping: CancellationToken,
    ) -> Self {
        let mut watcher = Self {
            kind,
            published,
            stopping,
            known: BTreeMap::new(),
            generation: None,
            queue: VecDeque::new(),
        };
        watcher.compare(first);
        watcher.queue.push_back(WatchResponse {
            generation: first.state.objects_generation().0,
            synced: true,
            ..WatchResponse::default()
        });
        watcher
    }

    /// The next message, or why there is none.
    pub(crate) async fn next_message(&mut self) -> Result<WatchResponse, Status> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Ok(message);
            }
            // The state that is there already may be newer than the first one.
            let newest = self.published.borrow_and_update().clone();
            self.compare(&newest);
            if !self.queue.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.published.changed() => {
                    changed.map_err(|_closed: watch::error::RecvError| status::stopping())?;
                }
                () = self.stopping.cancelled() => return Err(status::stopping()),
            }
        }
    }

    fn compare(&mut self, published: &Published) {
        let generation = published.state.objects_generation().0;
        if self.generation.is_some_and(|known| known >= generation) {
            return;
        }
        let mut gone = std::mem::take(&mut self.known);
        let mut changes = Vec::new();
        for object in published.state.objects(self.kind) {
            let Some(name) = object.r#ref.clone() else {
                continue;
            };
            let key = (name.kind, name.name);
            let action = match gone.remove(&key) {
                None => Some(v1::Action::Create),
                Some(known) if known != object.generation => Some(v1::Action::Update),
                Some(_) => None,
            };
            self.known.insert(key, object.generation);
            if let Some(action) = action {
                changes.push(WatchResponse {
                    generation: object.generation,
                    synced: false,
                    action: action.into(),
                    object: Some(object),
                });
            }
        }
        if self.generation.is_some() {
            changes.sort_by_key(|change| change.generation);
        }
        self.queue.extend(changes);
        self.queue
            .extend(gone.into_keys().map(|(kind, name)| WatchResponse {
                generation,
                synced: false,
                action: v1::Action::Delete.into(),
                object: Some(v1::Object {
                    r#ref: Some(v1::ObjectRef { kind, name }),
                    ..v1::Object::default()
                }),
            }));
        self.generation = Some(generation);
    }
}
