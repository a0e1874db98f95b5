use std::{sync::Arc, time::Duration};

use lbfabric_model::{Command, FabricState, SecretKey};
use tokio::time::{self, Instant};
use tracing::{info, warn};

use crate::{cluster::Cluster, ticket_keeper};

const ATTEMPT: Duration = Duration::from_secs(5);

/// Gives a new fabric its keys, if this member leads: the first one of each counts, so doing it twice does no harm.
pub(crate) async fn found(id: u64, cluster: Arc<Cluster>) {
    let mut view = cluster.raft().view();
    let mut published = cluster.raft().published();
    loop {
        if is_founded(&published.borrow_and_update().state) {
            return;
        }
        if view.borrow_and_update().leader == Some(id) {
            // An older leader's key may be on its way here: a linearizable read has it.
            let deadline = Instant::now() + ATTEMPT;
            match cluster.read(deadline).await {
                Ok(published) if is_founded(&published.state) => return,
                Ok(published) => add_missing(&cluster, &published.state, deadline).await,
                Err(e) => warn!(error = %e, "cannot tell whether the fabric has its keys"),
            }
        }
        let changed = async {
            tokio::select! {
                changed = view.changed() => changed.is_ok(),
                changed = published.changed() => changed.is_ok(),
            }
        };
        if matches!(time::timeout(ATTEMPT, changed).await, Ok(false)) {
            return;
        }
    }
}

fn is_founded(state: &FabricState) -> bool {
    state.has_hash_key() && state.cookie_key().is_some()
}

async fn add_missing(cluster: &Cluster, state: &FabricState, deadline: Instant) {
    // The hash key last: with it the fabric is in use, and the others would be changes.
    ticket_keeper::add_due_key(cluster, deadline).await;
    if state.cookie_key().is_none() {
        let cookie_key = Command::SetCookieKey(SecretKey::new(rand::random()));
        match cluster.write(&cookie_key, deadline).await {
            Ok(_) => info!("the fabric has got its key of cookies"),
            Err(e) => warn!(error = %e, "the fabric has got no key of cookies yet"),
        }
    }
    if !state.has_hash_key() {
        let hash_key = Command::SetHashKey(rand::random());
        match cluster.write(&hash_key, deadline).await {
            Ok(_) => info!("the fabric has got its hash key"),
            Err(e) => warn!(error = %e, "the fabric has got no hash key yet"),
        }
    }
}
