use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lbfabric_model::digest_of_object;

/// Marks the files and their version.
const MAGIC: &[u8; 8] = b"LBFNODE1";

/// A small file with a checksum, which after any crash holds the old content or the new one.
///
/// ```text
/// "LBFNODE1" | digest of the content, 8 bytes big-endian | content
/// ```
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

/// A state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateFileError {
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: &'static str },
    #[error("write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl StateFile {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(name),
        }
    }

    /// The content, or `None` if there is no file.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, StateFileError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StateFileError::Read {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let damaged = |what| StateFileError::Damaged {
            path: self.path.clone(),
            what,
        };
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| damaged("it is no state file"))?;
        let (digest, content) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("it ends early"))?;
        if u64::from_be_bytes(*digest) != digest_of_object(content) {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(Some(content.to_vec()))
    }

    /// Replaces the content, on disk before this returns.
    pub(crate) fn write(&self, content: &[u8]) -> Result<(), StateFileError> {
        self.replace(content)
            .map_err(|source| StateFileError::Write {
                path: self.path.clone(),
                source,
            })
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        // It may hold private keys.
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(MAGIC)?;
        file.write_all(&digest_of_object(content).to_be_bytes())?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Removes the file; one that is not there is fine.
    pub(crate) fn remove(&self) -> Result<(), StateFileError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateFileError::Write {
                path: self.path.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn every_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path(), "state");
        assert!(file.read().unwrap().is_none());
        file.write(b"first").unwrap();
        file.write(b"second").unwrap();
        assert_eq!(file.read().unwrap().as_deref(), Some(&b"second"[..]));
        let mode = fs::metadata(dir.path().join("state")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let whole = fs::read(dir.path().join("state")).unwrap();
        for length in 0..whole.len() {
            fs::write(dir.path().join("state"), &whole[..length]).unwrap();
            assert!(
                matches!(file.read(), Err(StateFileError::Damaged { .. })),
                "{length}"
            );
        }
        for byte in 0..whole.len() {
            let mut bent = whole.clone();
            bent[byte] ^= 1;
            fs::write(dir.path().join("state"), &bent).unwrap();
            assert!(
                matches!(file.read(), Err(StateFileError::Damaged { .. })),
                "{byte}"
            );
        }
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(file.read().unwrap().is_none());
    }
}
