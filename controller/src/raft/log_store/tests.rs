use std::path::Path;

use openraft::{
    EntryPayload, StorageError,
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt,
    vote::RaftLeaderIdExt,
};
use tempfile::TempDir;

use super::*;
use crate::raft::{
    snapshot_dir::SnapshotDir,
    state_machine::StateMachine,
    types::{Encoded, LogId},
};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let snapshots = SnapshotDir::open(folder.path().join("snapshots")).unwrap();
        let (machine, _published) = StateMachine::open(snapshots).unwrap();
        Ok((folder, log, machine))
    }
}

fn open(folder: &Path) -> LogStore {
    try_open(folder).unwrap()
}

fn try_open(folder: &Path) -> io::Result<LogStore> {
    LogStore::open(Arc::new(
        Database::create(folder.join("raft.redb")).map_err(disk_error)?,
    ))
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(
        openraft::alias::LeaderIdOf::<TypeConfig>::new_committed(term, 1),
        index,
    )
}

fn entry(term: u64, index: u64) -> Entry {
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Encoded(format!("{term}-{index}").into_bytes().into())),
    }
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (sender, done) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await?;
    done.await.unwrap()
}

async fn indices(log: &mut LogStore) -> Vec<u64> {
    log.try_get_log_entries(..)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.log_id.index)
        .collect()
}

async fn reopen(log: LogStore, folder: &Path) -> LogStore {
    log.close().await.unwrap();
    drop(log);
    // The writer thread lets go of the database a moment after it has answered.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        match try_open(folder) {
            Ok(log) => return log,
            Err(e) => assert!(std::time::Instant::now() < deadline, "{e}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn library_suite() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    let vote = Vote::new_committed(3, 1);
    log.save_vote(&vote).await.unwrap();
    append(&mut log, (0..10).map(|i| entry(1, i)).collect())
        .await
        .unwrap();
    log.save_committed(Some(log_id(1, 7))).await.unwrap();

    let mut log = reopen(log, folder.path()).await;
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 7)));
    assert_eq!(indices(&mut log).await, (0..10).collect::<Vec<_>>());
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(log_id(1, 9)));
    assert_eq!(state.last_purged_log_id, None);
}

#[tokio::test]
async fn truncation_and_purge_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, (0..10).map(|i| entry(1, i)).collect())
        .await
        .unwrap();
    log.truncate_after(Some(log_id(1, 6))).await.unwrap();
    append(&mut log, vec![entry(2, 7)]).await.unwrap();
    log.purge(log_id(1, 3)).await.unwrap();
    assert_eq!(indices(&mut log).await, [4, 5, 6, 7]);

    let mut log = reopen(log, folder.path()).await;
    assert_eq!(indices(&mut log).await, [4, 5, 6, 7]);
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(log_id(2, 7)));
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 3)));
}

#[tokio::test]
async fn entries_can_be_read_before_they_are_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for index in 0..200 {
        log.append(vec![entry(1, index)], IOFlushed::noop())
            .await
            .unwrap();
        let read = log.try_get_log_entries(..).await.unwrap();
        assert_eq!(read.len(), usize::try_from(index).unwrap() + 1);
        assert_eq!(read.last(), Some(&entry(1, index)));
    }
}

#[tokio::test]
async fn messages_to_others_are_bounded_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    let large = |index| Entry {
        log_id: log_id(1, index),
        payload: EntryPayload::Normal(Encoded(vec![0; MAX_READ_BYTES / 2].into())),
    };
    append(&mut log, (0..8).map(large).collect()).await.unwrap();
    assert_eq!(log.limited_get_log_entries(0, 8).await.unwrap().len(), 2);
    assert_eq!(log.limited_get_log_entries(7, 8).await.unwrap().len(), 1);
    assert_eq!(log.try_get_log_entries(0..8).await.unwrap().len(), 8);
}

#[tokio::test]
async fn damaged_entry_is_refused_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, (0..3).map(|i| entry(1, i)).collect())
        .await
        .unwrap();
    let mut record = seal("a log entry", &entry(1, 1)).unwrap();
    let last = record.len() - 1;
    record[last] ^= 1;
    overwrite(&log.db.upgrade().unwrap(), 1, Some(&record));
    let error = reopen_fails(log, folder.path()).await;
    assert!(error.contains("log entry 1 is damaged on disk"), "{error}");
}

#[tokio::test]
async fn hole_is_refused_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, (0..3).map(|i| entry(1, i)).collect())
        .await
        .unwrap();
    overwrite(&log.db.upgrade().unwrap(), 1, None);
    let error = reopen_fails(log, folder.path()).await;
    assert!(error.contains("entry 1 is missing"), "{error}");
}

fn overwrite(db: &Database, index: u64, record: Option<&[u8]>) {
    let transaction = db.begin_write().unwrap();
    {
        let mut table = transaction.open_table(LOG).unwrap();
        match record {
            Some(record) => {
                table.insert(index, record).unwrap();
            }
            None => {
                table.remove(index).unwrap();
            }
        }
    }
    transaction.commit().unwrap();
}

async fn reopen_fails(log: LogStore, folder: &Path) -> String {
    log.close().await.unwrap();
    drop(log);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        match try_open(folder) {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return e.to_string(),
            Ok(_) => panic!("the damage was not found"),
            Err(e) => assert!(std::time::Instant::now() < deadline, "{e}"),
        }
        tokio::task::yield_now().await;
    }
}
