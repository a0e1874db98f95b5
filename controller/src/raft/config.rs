use std::sync::Arc;

use openraft::{Config, ConfigError, SnapshotPolicy};

/// Timing and limits. A follower stands for election once it has heard nothing for the longest election timeout and
/// then a random one on top: a killed leader costs 0.45 to 0.75 s.
pub(crate) fn library_config(snapshot_every: u64) -> Result<Arc<Config>, ConfigError> {
    let config = Config {
        cluster_name: "lbfabric".to_owned(),
        heartbeat_interval: 50,
        election_timeout_min: 180,
        election_timeout_max: 360,
        install_snapshot_timeout: 60_000,
        max_payload_entries: 1_024,
        replication_lag_threshold: snapshot_every.saturating_mul(4).max(1_024),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        // Reaches back to the snapshot before the newest one, which stands in when that is damaged.
        max_in_snapshot_log_to_keep: snapshot_every.saturating_mul(2),
        enable_pre_vote: Some(true),
        backoff: "100ms".to_owned(),
        // A member that has lost its state is filled again; `newcomer` keeps it from voting until then.
        allow_log_reversion: Some(true),
        // A leader that restarts has to be elected again: who led in between is not known.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}
