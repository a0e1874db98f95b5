//! The thread that writes the log. Whatever has queued up while one transaction went to disk goes into the next one
//! together: group commit.
//!
//! ```text
//! append, save_vote, truncate, purge ──► queue ──► one transaction, one fsync ──► every waiter told
//! ```

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use openraft::storage::IOFlushed;
use redb::{Database, TableDefinition};
use tokio::sync::oneshot;

use super::types::{LogId, TypeConfig, Vote};
use super::{disk_error::disk_error, record::seal};

/// Entries by index, sealed.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Everything else by name, sealed.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

pub(super) const VOTE: &str = "vote";
pub(super) const COMMITTED: &str = "committed";
pub(super) const PURGED: &str = "purged";
pub(super) const SETTLED: &str = "settled";

/// Most operations in one transaction.
const MAX_BATCH: usize = 4096;

/// One write; answered once it is on disk.
pub(super) enum Write {
    Append(Vec<(u64, Arc<[u8]>)>, IOFlushed<TypeConfig>),
    Vote(Vote, Reply),
    /// Removes entries from this index on.
    Truncate(u64, Reply),
    Purge(LogId, Reply),
    /// Marks the member as no newcomer any more.
    Settled(Reply),
    /// Writes what is pending, closes the database and ends the thread.
    Close(Reply),
}

pub(super) type Reply = oneshot::Sender<io::Result<()>>;

/// What the writer shares with readers.
#[derive(Default)]
pub(super) struct Shared(Mutex<Pending>);

/// What is not on disk yet.
#[derive(Default)]
pub(super) struct Pending {
    /// Appended entries.
    pub(super) entries: BTreeMap<u64, Arc<[u8]>>,
    /// The newest known commit; it goes to disk with the next transaction, as it may be older after a crash.
    pub(super) committed: Option<LogId>,
    /// Whether `committed` has to be written.
    pub(super) committed_changed: bool,
}

/// Starts the thread, which ends with [`Write::Close`] or when every sender is gone.
pub(super) fn spawn(db: Arc<Database>, shared: Arc<Shared>) -> io::Result<mpsc::Sender<Write>> {
    let (sender, queue) = mpsc::channel();
    thread::Builder::new()
        .name("raft-log".to_owned())
        .spawn(move || run(db, &shared, &queue))?;
    Ok(sender)
}

// === impl Shared ===

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(db: Arc<Database>, shared: &Shared, queue: &mpsc::Receiver<Write>) {
    let mut failure: Option<(io::ErrorKind, String)> = None;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        // After one failed write nothing is known about the disk: refuse everything that follows.
        if failure.is_none()
            && let Err(e) = commit(&db, shared, &batch)
        {
            failure = Some((e.kind(), format!("writing the Raft log: {e}")));
        }
        let (closing, others): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|write| matches!(write, Write::Close(_)));
        for write in others {
            answer(write, failure.as_ref());
        }
        if !closing.is_empty() {
            // Who asked may open the folder again at once.
            drop(db);
            for close in closing {
                answer(close, failure.as_ref());
            }
            return;
        }
    }
}

fn commit(db: &Database, shared: &Shared, batch: &[Write]) -> io::Result<()> {
    let committed = {
        let mut pending = shared.lock();
        std::mem::take(&mut pending.committed_changed)
            .then_some(pending.committed)
            .flatten()
    };
    let transaction = db.begin_write().map_err(disk_error)?;
    {
        let mut log = transaction.open_table(LOG).map_err(disk_error)?;
        let mut meta = transaction.open_table(META).map_err(disk_error)?;
        for write in batch {
            match write {
                Write::Append(entries, _) => {
                    for (index, record) in entries {
                        log.insert(index, record.as_ref()).map_err(disk_error)?;
                    }
                }
                Write::Vote(vote, _) => {
                    let record = seal("the vote", vote)?;
                    meta.insert(VOTE, record.as_slice()).map_err(disk_error)?;
                }
                Write::Truncate(from, _) => {
                    log.retain_in::<u64, _>(from.., |_, _| false)
                        .map_err(disk_error)?;
                }
                Write::Purge(upto, _) => {
                    let record = seal("the purge mark", upto)?;
                    meta.insert(PURGED, record.as_slice()).map_err(disk_error)?;
                    log.retain_in::<u64, _>(..=upto.index, |_, _| false)
                        .map_err(disk_error)?;
                }
                Write::Settled(_) => {
                    let record = seal("the settled mark", &true)?;
                    meta.insert(SETTLED, record.as_slice())
                        .map_err(disk_error)?;
                }
                Write::Close(_) => {}
            }
        }
        if let Some(committed) = committed {
            let record = seal("the commit mark", &committed)?;
            meta.insert(COMMITTED, record.as_slice())
                .map_err(disk_error)?;
        }
    }
    transaction.commit().map_err(disk_error)?;
    forget_written(shared, batch);
    Ok(())
}

/// Written entries are read from disk from now on.
fn forget_written(shared: &Shared, batch: &[Write]) {
    let mut pending = shared.lock();
    for write in batch {
        if let Write::Append(entries, _) = write {
            for (index, record) in entries {
                if pending
                    .entries
                    .get(index)
                    .is_some_and(|newest| Arc::ptr_eq(newest, record))
                {
                    pending.entries.remove(index);
                }
            }
        }
    }
}

fn answer(write: Write, failure: Option<&(io::ErrorKind, String)>) {
    let result = match failure {
        None => Ok(()),
        Some((kind, message)) => Err(io::Error::new(*kind, message.clone())),
    };
    match write {
        Write::Append(_, done) => done.io_completed(result),
        Write::Vote(_, reply)
        | Write::Truncate(_, reply)
        | Write::Purge(_, reply)
        | Write::Settled(reply)
        | Write::Close(reply) => {
            // A caller that has gone away does not need the answer.
            reply.send(result).ok();
        }
    }
}
