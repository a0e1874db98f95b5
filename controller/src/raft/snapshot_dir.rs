//! Snapshots as files, each written beside, synced and renamed. The newest two are kept: the log reaches back to the
//! older one, which stands in if the newer is damaged.
//!
//! ```text
//! ┌──────────┬──────────────┬──────────────────────┬──────┬──────────────────┐
//! │ LBFSNAP1 │ u32 LE: n    │ n bytes: postcard of │ data │ xxh3_64, LE, of  │
//! │          │              │ the metadata         │      │ all that is before│
//! └──────────┴──────────────┴──────────────────────┴──────┴──────────────────┘
//! ```

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tracing::{error, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::types::{RaftSnapshot, SnapshotMeta, snapshot};

const MAGIC: &[u8; 8] = b"LBFSNAP1";
const EXTENSION: &str = "snapshot";
const KEPT: usize = 2;

/// The folder of snapshots.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotDir(PathBuf);

// === impl SnapshotDir ===

impl SnapshotDir {
    /// Creates the folder if it is not there, and removes what an interrupted write has left.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        for entry in fs::read_dir(&path)? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("partial")) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self(path))
    }

    /// Writes a snapshot so that it survives a crash from here on, then removes those that are too old.
    pub(crate) fn store(&self, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |last| last.index);
        let path = self.0.join(format!("{index:020}.{EXTENSION}"));
        let partial = path.with_extension("partial");
        let write = || -> io::Result<()> {
            // It may hold private keys.
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&partial)?;
            file.write_all(&encode(meta, data)?)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|e| {
            io::Error::new(
                e.kind(),
                format!("writing the snapshot {}: {e}", path.display()),
            )
        })?;
        self.remove_old();
        Ok(())
    }

    /// The newest snapshot that is not damaged; damaged ones are reported, and set aside under another name.
    pub(crate) fn newest(&self) -> io::Result<Option<RaftSnapshot>> {
        for path in self.files()? {
            match read(&path) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    error!(path = %path.display(), error = %e, "snapshot is damaged, trying the one before");
                    fs::rename(&path, path.with_extension("damaged"))?;
                }
                Err(e) => {
                    return Err(io::Error::new(
                        e.kind(),
                        format!("reading the snapshot {}: {e}", path.display()),
                    ));
                }
            }
        }
        Ok(None)
    }

    /// Snapshot files, newest first.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new(EXTENSION)) {
                files.push(path);
            }
        }
        files.sort_unstable();
        files.reverse();
        Ok(files)
    }

    /// A file that cannot be removed costs space, nothing else.
    fn remove_old(&self) {
        let removed = self
            .files()
            .and_then(|files| files.into_iter().skip(KEPT).try_for_each(fs::remove_file));
        if let Err(e) = removed {
            warn!(path = %self.0.display(), error = %e, "old snapshots stay");
        }
    }
}

fn encode(meta: &SnapshotMeta, data: &[u8]) -> io::Result<Vec<u8>> {
    let header = postcard::to_stdvec(meta).map_err(io::Error::other)?;
    let header_len = u32::try_from(header.len()).map_err(io::Error::other)?;
    let mut file = Vec::with_capacity(MAGIC.len() + 4 + header.len() + data.len() + 8);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&header_len.to_le_bytes());
    file.extend_from_slice(&header);
    file.extend_from_slice(data);
    let digest = xxh3_64(&file);
    file.extend_from_slice(&digest.to_le_bytes());
    Ok(file)
}

fn read(path: &Path) -> io::Result<RaftSnapshot> {
    decode(&fs::read(path)?)
        .map_err(|how| io::Error::new(io::ErrorKind::InvalidData, format!("damaged: {how}")))
}

fn decode(file: &[u8]) -> Result<RaftSnapshot, String> {
    let Some((content, stored)) = file.split_last_chunk::<8>() else {
        return Err(format!("{} bytes are too few", file.len()));
    };
    let (stored, actual) = (u64::from_le_bytes(*stored), xxh3_64(content));
    if stored != actual {
        return Err(format!(
            "its digest is {actual:016x}, stored is {stored:016x}"
        ));
    }
    let content = content
        .strip_prefix(MAGIC)
        .ok_or("it is of another version")?;
    let (header_len, content) = content
        .split_first_chunk::<4>()
        .ok_or("it has no metadata")?;
    let header_len = usize::try_from(u32::from_le_bytes(*header_len)).map_err(|e| e.to_string())?;
    let (header, data) = content
        .split_at_checked(header_len)
        .ok_or("its metadata is cut short")?;
    let meta = postcard::from_bytes(header).map_err(|e| e.to_string())?;
    Ok(snapshot(meta, Bytes::copy_from_slice(data)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::LogId;
    use openraft::vote::RaftLeaderIdExt;

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: Some(LogId::new(
                openraft::alias::LeaderIdOf::<crate::raft::types::TypeConfig>::new_committed(1, 1),
                index,
            )),
            ..SnapshotMeta::default()
        }
    }

    fn newest(dir: &SnapshotDir) -> (Option<u64>, Bytes) {
        let snapshot = dir.newest().unwrap().unwrap();
        (
            snapshot.meta.last_log_id.map(|id| id.index),
            snapshot.snapshot,
        )
    }

    #[test]
    fn newest_comes_back_and_two_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SnapshotDir::open(folder.path().join("s")).unwrap();
        assert!(dir.newest().unwrap().is_none());
        for index in [5, 9, 12] {
            dir.store(&meta(index), format!("state {index}").as_bytes())
                .unwrap();
        }
        assert_eq!(newest(&dir), (Some(12), Bytes::from("state 12")));
        assert_eq!(dir.files().unwrap().len(), 2);
    }

    #[test]
    fn damaged_snapshot_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SnapshotDir::open(folder.path().join("s")).unwrap();
        dir.store(&meta(5), b"five").unwrap();
        dir.store(&meta(9), b"nine").unwrap();
        let path = dir.files().unwrap().remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(newest(&dir), (Some(5), Bytes::from("five")));
        assert!(path.with_extension("damaged").exists());
    }

    #[test]
    fn every_cut_is_found() {
        let whole = encode(&meta(5), b"some data").unwrap();
        assert!(decode(&whole).is_ok());
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn interrupted_write_is_cleaned_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let dir = SnapshotDir::open(path.clone()).unwrap();
        dir.store(&meta(5), b"five").unwrap();
        fs::write(path.join("00000000000000000009.partial"), b"half").unwrap();
        let dir = SnapshotDir::open(path.clone()).unwrap();
        assert_eq!(newest(&dir), (Some(5), Bytes::from("five")));
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
    }
}
