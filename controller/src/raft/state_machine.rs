use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use lbfabric_model::{Command, FabricState, Generation, Outcome, Refusal, RefusalKind, Violation};
use lbfabric_proto::internal::v1 as internal;
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use prost::Message;
use tokio::{sync::watch, task};
use tracing::warn;

use super::{
    snapshot_dir::SnapshotDir,
    types::{Encoded, LogId, Membership, RaftSnapshot, SnapshotMeta, Tenure, TypeConfig, snapshot},
};

/// The replicated state as of a log entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// The state.
    pub(crate) state: Arc<FabricState>,
    /// The index of the newest entry that went into it, entries without a command included.
    pub(crate) applied: u64,
    /// Who led when that entry was made.
    pub(crate) tenure: Option<Tenure>,
}

/// Applies committed entries and publishes the state after each batch.
pub(crate) struct StateMachine {
    state: Arc<FabricState>,
    last_applied: Option<LogId>,
    membership: Membership,
    published: watch::Sender<Published>,
    snapshots: SnapshotDir,
}

/// Writes a snapshot of the state as it was when this was made.
pub(crate) struct SnapshotBuilder {
    state: Arc<FabricState>,
    meta: SnapshotMeta,
    snapshots: SnapshotDir,
}

// === impl StateMachine ===

impl StateMachine {
    /// Starts from the newest snapshot.
    pub(crate) fn open(snapshots: SnapshotDir) -> io::Result<(Self, watch::Receiver<Published>)> {
        let (published, receiver) = watch::channel(Published::default());
        let mut machine = Self {
            state: Arc::default(),
            last_applied: None,
            membership: Membership::default(),
            published,
            snapshots,
        };
        if let Some(snapshot) = machine.snapshots.newest()? {
            machine.restore(&snapshot.meta, &snapshot.snapshot)?;
        }
        Ok((machine, receiver))
    }

    /// The newest entry of the snapshot that this was opened from.
    pub(crate) fn last_applied(&self) -> Option<LogId> {
        self.last_applied
    }

    fn restore(&mut self, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
        self.state = Arc::new(decode_state(data)?);
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
        Ok(())
    }

    fn execute(&mut self, index: u64, command: &Encoded) -> Encoded {
        let outcome = match decode_command(command) {
            Ok(command) => Arc::make_mut(&mut self.state).apply(Generation(index), &command),
            // Proposals are checked before they get here: this one is of another version. Every member refuses it alike.
            Err(violations) => {
                warn!(index, "log entry holds no command of this version");
                Outcome::Refused(Refusal {
                    kind: RefusalKind::Invalid,
                    violations,
                })
            }
        };
        Encoded(
            internal::CommandResult::from(&outcome)
                .encode_to_vec()
                .into(),
        )
    }

    fn publish(&self) {
        self.published.send_replace(Published {
            state: self.state.clone(),
            applied: self.last_applied.map_or(0, |last| last.index),
            tenure: self.last_applied.map(|last| Tenure::of(&last.leader_id)),
        });
    }
}

fn decode_command(Encoded(bytes): &Encoded) -> Result<Command, Vec<Violation>> {
    let proto = internal::Command::decode(bytes.clone())
        .map_err(|e| vec![Violation::new("command", e.to_string())])?;
    Command::try_from(proto)
}

fn decode_state(data: &[u8]) -> io::Result<FabricState> {
    let invalid = |how: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the snapshot holds no valid state: {how}"),
        )
    };
    let proto = internal::StateSnapshot::decode(data).map_err(|e| invalid(e.to_string()))?;
    FabricState::from_snapshot(proto).map_err(|violations| {
        let reasons: Vec<_> = violations.iter().map(ToString::to_string).collect();
        invalid(reasons.join("; "))
    })
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        // The state is published before anyone is told, so that whoever is told finds it.
        let mut answers = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            self.last_applied = Some(entry.log_id);
            let result = match entry.payload {
                EntryPayload::Blank => Encoded::default(),
                EntryPayload::Normal(command) => self.execute(entry.log_id.index, &command),
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    Encoded::default()
                }
            };
            answers.extend(responder.map(|responder| (responder, result)));
        }
        self.publish();
        for (responder, result) in answers {
            responder.send(result);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            state: self.state.clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
            },
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: Bytes,
    ) -> Result<(), io::Error> {
        let (dir, stored_meta, stored) = (self.snapshots.clone(), meta.clone(), data.clone());
        blocking(move || dir.store(&stored_meta, &stored)).await?;
        self.restore(meta, &data)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let dir = self.snapshots.clone();
        blocking(move || dir.newest()).await
    }
}

// === impl SnapshotBuilder ===

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let (dir, meta, state) = (
            self.snapshots.clone(),
            self.meta.clone(),
            self.state.clone(),
        );
        blocking(move || {
            let data = Bytes::from(state.to_snapshot().encode_to_vec());
            dir.store(&meta, &data)?;
            Ok(snapshot(meta, data))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    task::spawn_blocking(work).await.map_err(io::Error::other)?
}
