use std::io;

/// An error of the database as one of the disk, with its kind kept: a full disk stays `StorageFull`.
pub(crate) fn disk_error(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(e) => e,
        redb::Error::Corrupted(how) => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the database is damaged on disk: {how}"),
        ),
        other => io::Error::other(other),
    }
}
