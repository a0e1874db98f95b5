use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Two files for each connection that is served, and some for the rest: for fewer than so many the operator should know.
const FEW: u64 = 100_000;

/// Lets the process have as many open files as the kernel allows one: each connection is one, and so is its server's.
pub(super) fn raise_limit() {
    let most = fs::read_to_string("/proc/sys/fs/nr_open");
    let most = most.ok().and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(most) = most {
        // Who may not raise the hard limit has what it is.
        let _is_root = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    match limit {
        Ok(limit) if limit < FEW => warn!(
            limit,
            "few files may be open at a time: layer-7 services have two for each connection"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}
