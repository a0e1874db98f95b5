use std::{fs::File, io};

use tracing::{error, info, warn};

use super::{role::RoleState, run::Agent};
use crate::{announce::GivenBfd, chain::Chain, engine::EngineDriver, hand_over::Successor};

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
    let bfd = announcer.hand_over().await;
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
        let mut given = successor.give(&listeners);
        if let Some(bfd) = &bfd {
            given = given.and_then(|()| successor.give_bfd(&bfd.handed));
        }
        drop(lock);
        given.and_then(|()| successor.finish())
    });
    let successor = match told {
        Ok(()) => until_bfd_goes_on(successor, bfd).await,
        Err(error) => {
            // Whoever starts an agent now finds the folder free, and programs, maps and VIPs as they are.
            error!(error = %Chain(&error), "the other agent has not taken over");
            None
        }
    };
    if let Some(engine) = engine {
        let finish = async {
            let needs_more = engine.has_datagrams() || engine.is_steering();
            if let Some(successor) = successor.filter(|_| needs_more) {
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

/// Repeats what BFD's sessions last said until the other agent speaks for them. None if it does not come to that.
async fn until_bfd_goes_on(successor: Successor, bfd: Option<GivenBfd>) -> Option<Successor> {
    let Some(bfd) = bfd else {
        return Some(successor);
    };
    let heard = successor.runs_bfd().await;
    drop(bfd);
    if let Err(error) = &heard {
        warn!(error = %Chain(error), "the other agent does not go on with BFD");
    }
    heard.ok()
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
