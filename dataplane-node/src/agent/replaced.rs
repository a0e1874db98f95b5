use std::{fs::File, io};

use tracing::{error, info, warn};

use super::{role::RoleState, run::Agent};
use crate::{chain::Chain, engine::EngineDriver, hand_over::Successor};

/// Lets another agent take this one's place, and finishes the connections that there are.
pub(super) async fn hand_over(agent: Agent, lock: File, mut successor: Successor) {
    let Agent {
        config,
        role,
        network,
        mut tasks,
        stop,
        announcer,
        ..
    } = agent;
    info!("another agent takes over");
    // Without a word: neighbors keep the routes where graceful restart was agreed on.
    drop(announcer);
    tasks.shutdown().await;
    let mut engine = match role {
        RoleState::LoadBalancer(lb) => Some(lb.engine),
        RoleState::Server(_) => None,
    };
    let given = match &mut engine {
        Some(engine) => engine.hand_over(config.hand_over_time).await,
        None => Ok(Vec::new()),
    };
    drop(network);
    let told = given.and_then(|listeners| {
        let given = successor.give(&listeners);
        drop(lock);
        given.and_then(|()| successor.finish())
    });
    let is_told = told.is_ok();
    if let Err(error) = told {
        // Whoever starts an agent now finds the folder free, and programs, maps and VIPs as they are.
        error!(error = %Chain(&error), "the other agent has not taken over");
    }
    if let Some(engine) = engine {
        let finish = async {
            if is_told && (engine.has_datagrams() || engine.is_steering()) {
                let giving = give_rest(&engine, successor);
                match tokio::time::timeout(config.hand_over_time, giving).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        warn!(error = %Chain(&error), "the other agent has not taken sessions of datagrams");
                    }
                    Err(_late) => info!("the other agent wants nothing more of this one"),
                }
            }
            engine.finish().await;
        };
        tokio::select! {
            () = finish => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Relays datagrams until the other agent goes on with them, and has connections given to its listeners until it does that itself.
async fn give_rest(engine: &EngineDriver, mut successor: Successor) -> io::Result<()> {
    if engine.has_datagrams() {
        let mut wanting = successor.wants_datagrams().await?;
        let relays = engine.hand_over_datagrams().await;
        let given = tokio::task::spawn_blocking(move || {
            wanting.give_datagrams(&relays)?;
            Ok(wanting)
        });
        successor = given.await.map_err(io::Error::other).flatten()?;
    }
    if engine.is_steering() {
        successor.wants_nothing().await?;
    }
    Ok(())
}
