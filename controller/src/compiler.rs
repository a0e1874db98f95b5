use std::sync::Arc;

use lbfabric_model::{CompiledFabric, FabricState};
use tokio::{sync::watch, task};

use crate::raft::Published;

/// Follows the state and compiles each new generation, once for all nodes. States that come faster are skipped.
pub(crate) fn follow(
    mut published: watch::Receiver<Published>,
) -> watch::Receiver<Arc<CompiledFabric>> {
    let empty = CompiledFabric::compile(&FabricState::default(), None);
    let (sender, receiver) = watch::channel(Arc::new(empty));
    tokio::spawn(async move {
        loop {
            let state = published.borrow_and_update().state.clone();
            let previous = sender.borrow().clone();
            if state.generation() != previous.generation() {
                let compile =
                    task::spawn_blocking(move || CompiledFabric::compile(&state, Some(&previous)));
                match compile.await {
                    Ok(compiled) => {
                        sender.send_replace(Arc::new(compiled));
                    }
                    Err(e) => {
                        tracing::error!(error = %e, "compiling the state failed");
                        return;
                    }
                }
            }
            if published.changed().await.is_err() || sender.is_closed() {
                return;
            }
        }
    });
    receiver
}
