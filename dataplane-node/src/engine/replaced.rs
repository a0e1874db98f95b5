//! One agent in another one's place.

use std::{io, net::TcpListener, time::Duration};

use lbfabric_proxy::HandedRelay;
use tracing::warn;

use super::driver::EngineDriver;
use crate::chain::Chain;

impl EngineDriver {
    /// Goes on with what the agent before this one relays datagrams with, if it still does.
    pub(super) async fn take_datagrams(&mut self) {
        let Some(mut predecessor) = self.predecessor.take() else {
            return;
        };
        let taking = move || predecessor.datagrams().map(|relays| (relays, predecessor));
        let given = tokio::task::spawn_blocking(taking).await;
        match given.map_err(io::Error::other).flatten() {
            Ok((relays, predecessor)) => {
                self.predecessor = Some(predecessor);
                self.engine.take_datagrams(relays);
            }
            Err(error) => {
                warn!(error = %Chain(&error), "sessions of datagrams are not taken over");
            }
        }
    }

    /// Takes no more connections, and gives what takes them; those that there are have so long.
    pub(crate) async fn hand_over(&mut self, limit: Duration) -> io::Result<Vec<TcpListener>> {
        let given = self.engine.hand_over(limit).await;
        given.map_err(io::Error::other)
    }

    /// Whether it relays datagrams.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.told_datagrams.names().next().is_some()
    }

    /// Whether a program gives it connections, which goes with this.
    pub(crate) const fn is_steering(&self) -> bool {
        self.steering.is_running()
    }

    /// Stops relaying datagrams, and gives what they are relayed with.
    pub(crate) async fn hand_over_datagrams(&self) -> Vec<HandedRelay> {
        self.engine.hand_over_datagrams().await
    }

    /// Waits until the connections have ended; what was put on the machine is another agent's now.
    pub(crate) async fn finish(self) {
        self.engine.stop().await;
    }
}
