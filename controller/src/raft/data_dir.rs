//! The folder that a member keeps its state in.
//!
//! ```text
//! DIR/lock         held while a process uses the folder
//! DIR/raft.redb    log, vote, marks, and whose folder it is
//! DIR/snapshots/   see `snapshot_dir`
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, ReadableDatabase};

use super::{
    disk_error::disk_error,
    log_store::LogStore,
    log_writer::META,
    record::{seal, unseal},
    snapshot_dir::SnapshotDir,
    state_machine::{Published, StateMachine},
};

const OWNER: &str = "member";

/// Why a member cannot use its data directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenDataDirError {
    /// It could not be created or written.
    #[error("cannot use the data directory {path}")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "the data directory {path} is in use by another process: stop that one, or give this member a directory of its own"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It holds another member's state.
    #[error("the data directory {path} belongs to member {owner}, not to member {id}")]
    OtherMember {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u64,
        /// Who asked.
        id: u64,
    },
    /// A snapshot is damaged and what the log still has does not replace it.
    #[error(
        "the newest snapshot in {path} is damaged, and the log begins after entry {purged}: with the other members \
         running, move the directory away and start this member with an empty one; it gets everything from them"
    )]
    SnapshotLost {
        /// The folder.
        path: PathBuf,
        /// The newest entry that the log does not have.
        purged: u64,
    },
}

/// An open data directory; its lock goes with it.
pub(crate) struct DataDir {
    pub(crate) log: LogStore,
    pub(crate) machine: StateMachine,
    pub(crate) published: tokio::sync::watch::Receiver<Published>,
    pub(crate) lock: File,
}

// === impl DataDir ===

impl DataDir {
    /// Opens the folder for a member, creating what is not there.
    pub(crate) fn open(path: &Path, id: u64) -> Result<Self, OpenDataDirError> {
        let unusable = |source: io::Error| OpenDataDirError::Unusable {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::create(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenDataDirError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(unusable(e)),
        }
        // It may hold private keys.
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).mode(0o600);
        let log = path.join("raft.redb");
        drop(options.truncate(false).open(&log).map_err(unusable)?);
        let db = Database::create(log).map_err(|e| unusable(disk_error(e)))?;
        let db = Arc::new(db);
        let log = LogStore::open(db.clone()).map_err(unusable)?;
        let owner = claim(&db, id).map_err(unusable)?;
        if owner != id {
            return Err(OpenDataDirError::OtherMember {
                path: path.to_owned(),
                owner,
                id,
            });
        }
        let snapshots = SnapshotDir::open(path.join("snapshots")).map_err(unusable)?;
        let (machine, published) = StateMachine::open(snapshots).map_err(unusable)?;
        if let Some(purged) = log.purged()
            && machine.last_applied() < Some(purged)
        {
            return Err(OpenDataDirError::SnapshotLost {
                path: path.to_owned(),
                purged: purged.index,
            });
        }
        Ok(Self {
            log,
            machine,
            published,
            lock,
        })
    }
}

/// Whose database this is; a new one becomes `id`'s.
fn claim(db: &Database, id: u64) -> io::Result<u64> {
    {
        let transaction = db.begin_read().map_err(disk_error)?;
        let meta = transaction.open_table(META).map_err(disk_error)?;
        if let Some(record) = meta.get(OWNER).map_err(disk_error)? {
            return unseal("the member's id", record.value());
        }
    }
    let transaction = db.begin_write().map_err(disk_error)?;
    {
        let mut meta = transaction.open_table(META).map_err(disk_error)?;
        let record = seal("the member's id", &id)?;
        meta.insert(OWNER, record.as_slice()).map_err(disk_error)?;
    }
    transaction.commit().map_err(disk_error)?;
    Ok(id)
}
