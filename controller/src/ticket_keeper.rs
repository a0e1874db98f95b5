use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lbfabric_model::{Command, SecretKey, TICKET_PERIOD_SECS};
use tokio::time::{self, Instant};
use tracing::{info, warn};

use crate::cluster::Cluster;

const ATTEMPT: Duration = Duration::from_secs(5);
/// How often it is looked whether a period has begun.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// Adds a key of TLS sessions' tickets in each period, if this member leads: the first one of a period counts, so doing it twice does no harm.
pub(crate) async fn keep(id: u64, cluster: Arc<Cluster>) {
    let mut view = cluster.raft().view();
    loop {
        if view.borrow_and_update().leader == Some(id) {
            add_due_key(&cluster, Instant::now() + ATTEMPT).await;
        }
        if matches!(
            time::timeout(LOOK_INTERVAL, view.changed()).await,
            Ok(Err(_))
        ) {
            return;
        }
    }
}

/// Adds a key, if the fabric has none that was added in this period.
pub(crate) async fn add_due_key(cluster: &Cluster, deadline: Instant) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let period = now.map_or(0, |since| since.as_secs()) / TICKET_PERIOD_SECS;
    if !cluster.local().state.ticket_keys().is_due(period) {
        return;
    }
    let secret = SecretKey::new(rand::random());
    let added = cluster
        .write(&Command::AddTicketKey { period, secret }, deadline)
        .await;
    match added {
        Ok(_) => info!("the fabric has got a key of tickets"),
        Err(e) => warn!(error = %e, "the fabric has got no key of tickets yet"),
    }
}
