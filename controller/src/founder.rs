use std::{sync::Arc, time::Duration};

use lbfabric_model::Command;
use tokio::time::{self, Instant};
use tracing::{info, warn};

use crate::{cluster::Cluster, ticket_keeper};

const ATTEMPT: Duration = Duration::from_secs(5);

/// Gives a new fabric its hash key, if this member leads: the first key counts, so doing it twice does no harm.
pub(crate) async fn found(id: u64, cluster: Arc<Cluster>) {
    let mut view = cluster.raft().view();
    let mut published = cluster.raft().published();
    loop {
        if published.borrow_and_update().state.has_hash_key() {
            return;
        }
        if view.borrow_and_update().leader == Some(id) {
            // An older leader's key may be on its way here: a linearizable read has it.
            let deadline = Instant::now() + ATTEMPT;
            match cluster.read(deadline).await {
                Ok(published) if published.state.has_hash_key() => return,
                Ok(_) => {
                    // First, so that it changes nothing of a fabric that is in use.
                    ticket_keeper::add_due_key(&cluster, deadline).await;
                    match cluster
                        .write(&Command::SetHashKey(rand::random()), deadline)
                        .await
                    {
                        Ok(_) => info!("the fabric has got its hash key"),
                        Err(e) => warn!(error = %e, "the fabric has got no hash key yet"),
                    }
                }
                Err(e) => warn!(error = %e, "cannot tell whether the fabric has a hash key"),
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
