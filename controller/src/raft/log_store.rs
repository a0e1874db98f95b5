use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc},
};

use openraft::{
    OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, LogState, RaftLogStorage},
};
use redb::{Database, ReadableDatabase, ReadableTable};
use tokio::sync::oneshot;

use super::{
    disk_error::disk_error,
    log_writer::{self, COMMITTED, LOG, META, PURGED, Reply, SETTLED, Shared, VOTE, Write},
    record::{seal, unseal},
    types::{Entry, LogId, TypeConfig, Vote},
};

/// Most bytes of entries in one message to a member that is behind.
const MAX_READ_BYTES: usize = 2 * 1024 * 1024;

/// The Raft log and vote on disk. An append is acknowledged once it is synced; it can be read at once.
#[derive(Clone)]
pub(crate) struct LogStore {
    /// The writer owns the database, so that closing the log closes it, whoever still has a `LogStore`.
    db: Weak<Database>,
    shared: Arc<Shared>,
    head: Arc<Mutex<Head>>,
    writer: mpsc::Sender<Write>,
}

/// What is asked for often.
#[derive(Default)]
struct Head {
    vote: Option<Vote>,
    last: Option<LogId>,
    purged: Option<LogId>,
    settled: bool,
}

// === impl LogStore ===

impl LogStore {
    /// Reads the head of the log and checks that nothing of it is missing or damaged.
    pub(crate) fn open(db: Arc<Database>) -> io::Result<Self> {
        let transaction = db.begin_write().map_err(disk_error)?;
        transaction.open_table(LOG).map_err(disk_error)?;
        transaction.open_table(META).map_err(disk_error)?;
        transaction.commit().map_err(disk_error)?;

        let shared = Arc::new(Shared::default());
        let head = Self::read_head(&db, &shared)?;
        let open = Arc::downgrade(&db);
        let writer = log_writer::spawn(db, shared.clone())?;
        Ok(Self {
            db: open,
            shared,
            head: Arc::new(Mutex::new(head)),
            writer,
        })
    }

    fn read_head(db: &Database, shared: &Shared) -> io::Result<Head> {
        let transaction = db.begin_read().map_err(disk_error)?;
        let meta = transaction.open_table(META).map_err(disk_error)?;
        let log = transaction.open_table(LOG).map_err(disk_error)?;
        let mut head = Head::default();
        if let Some(record) = meta.get(VOTE).map_err(disk_error)? {
            head.vote = Some(unseal("the vote", record.value())?);
        }
        if let Some(record) = meta.get(PURGED).map_err(disk_error)? {
            head.purged = Some(unseal("the purge mark", record.value())?);
        }
        if let Some(record) = meta.get(COMMITTED).map_err(disk_error)? {
            shared.lock().committed = Some(unseal("the commit mark", record.value())?);
        }
        if let Some(record) = meta.get(SETTLED).map_err(disk_error)? {
            head.settled = unseal("the settled mark", record.value())?;
        }
        head.last = head.purged;
        let first = head.purged.map_or(0, |purged| purged.index + 1);
        for (next, item) in (first..).zip(log.iter().map_err(disk_error)?) {
            let (index, record) = item.map_err(disk_error)?;
            let index = index.value();
            if next != index {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the log has a hole: entry {next} is missing before entry {index}"),
                ));
            }
            let entry: Entry = unseal(&format!("log entry {index}"), record.value())?;
            head.last = Some(entry.log_id());
        }
        Ok(head)
    }

    /// The newest entry that was purged: everything up to it is in a snapshot only.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.head().purged
    }

    /// The newest entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.head().last
    }

    /// The last vote that was saved.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.head().vote
    }

    /// Whether this member has caught up with a leader since its state began; see `newcomer`.
    pub(crate) fn is_settled(&self) -> bool {
        self.head().settled
    }

    /// Remembers that it has.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        self.write(Write::Settled).await?;
        self.head().settled = true;
        Ok(())
    }

    /// Writes what is pending and closes the database.
    pub(crate) async fn close(&self) -> io::Result<()> {
        self.write(Write::Close).await
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, write: impl FnOnce(Reply) -> Write) -> io::Result<()> {
        let (reply, done) = oneshot::channel();
        self.send(write(reply))?;
        done.await
            .map_err(|_closed: oneshot::error::RecvError| closed())?
    }

    fn send(&self, write: Write) -> io::Result<()> {
        self.writer
            .send(write)
            .map_err(|_closed: mpsc::SendError<Write>| closed())
    }

    /// Reads sealed entries of a range, in order, until `limit` bytes are exceeded.
    fn read(&self, range: &impl RangeBounds<u64>, limit: usize) -> io::Result<Vec<Entry>> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        if is_empty(range) {
            return Ok(Vec::new());
        }
        // First what is not on disk, then the disk: an entry that is written in between is found twice, not missed.
        let mut pending = {
            let shared = self.shared.lock();
            shared
                .entries
                .range(range)
                .map(|(index, record)| (*index, record.clone()))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let db = self.db.upgrade().ok_or_else(closed)?;
        let transaction = db.begin_read().map_err(disk_error)?;
        let log = transaction.open_table(LOG).map_err(disk_error)?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut take = |index: u64, record: &[u8]| -> io::Result<bool> {
            entries.push(unseal(&format!("log entry {index}"), record)?);
            bytes += record.len();
            Ok(bytes < limit)
        };
        for item in log.range(range).map_err(disk_error)? {
            let (index, record) = item.map_err(disk_error)?;
            let newest = pending.remove(&index.value());
            if !take(index.value(), newest.as_deref().unwrap_or(record.value()))? {
                return Ok(entries);
            }
        }
        for (index, record) in pending {
            if !take(index, &record)? {
                break;
            }
        }
        Ok(entries)
    }
}

fn closed() -> io::Error {
    io::Error::other("the Raft log is closed")
}

fn is_empty((start, end): (Bound<u64>, Bound<u64>)) -> bool {
    let first = match start {
        Bound::Included(first) => Some(first),
        Bound::Excluded(before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let last = match end {
        Bound::Included(last) => Some(last),
        Bound::Excluded(after) => after.checked_sub(1),
        Bound::Unbounded => Some(u64::MAX),
    };
    !matches!((first, last), (Some(first), Some(last)) if first <= last)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(&range, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(&(start..end), MAX_READ_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.head().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let head = self.head();
        Ok(LogState {
            last_purged_log_id: head.purged,
            last_log_id: head.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.write(|reply| Write::Vote(vote, reply)).await?;
        self.head().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut pending = self.shared.lock();
        pending.committed_changed |= committed.is_some();
        pending.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records: Vec<(u64, Arc<[u8]>)> = Vec::new();
        let mut last = None;
        for entry in entries {
            let log_id = entry.log_id();
            records.push((log_id.index, seal("a log entry", &entry)?.into()));
            last = Some(log_id);
        }
        if let Some(last) = last {
            self.shared.lock().entries.extend(records.iter().cloned());
            self.head().last = Some(last);
        }
        self.send(Write::Append(records, done))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index + 1);
        self.shared.lock().entries.split_off(&from);
        self.write(|reply| Write::Truncate(from, reply)).await?;
        // Entries that were still queued have been written and removed again by now.
        self.shared.lock().entries.split_off(&from);
        let mut head = self.head();
        head.last = head.last.min(last).max(head.purged);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.write(|reply| Write::Purge(upto, reply)).await?;
        let mut head = self.head();
        head.purged = head.purged.max(Some(upto));
        head.last = head.last.max(Some(upto));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
