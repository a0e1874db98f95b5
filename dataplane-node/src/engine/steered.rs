//! VIPs that are on no interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::Instant,
};

use lbfabric_abi::Steered;
use lbfabric_model::{Listening, Prefix, ServiceId};
use tracing::warn;

use super::{
    driver::{EngineDriver, RETRY},
    local_routes::LocalRoutesError,
    steering::{self, Entries, Places, Sockets, SteeringError, TCP, UDP},
};
use crate::{chain::Chain, plan::Desired};

/// Connections to VIPs that are on no interface cannot be brought to the engine.
#[derive(Debug, thiserror::Error)]
pub(super) enum SteerError {
    #[error("listen for connections to VIPs that are on no interface")]
    Listen(#[source] io::Error),
    #[error(transparent)]
    Program(#[from] SteeringError),
    #[error(transparent)]
    Routes(#[from] LocalRoutesError),
}

impl EngineDriver {
    /// Brings connections to VIPs that are on no interface to the engine, which has been told of them: those of a service that is gone
    /// are looked up as others first, and come here no more when their last connections have had time to end.
    pub(super) async fn steer(
        &mut self,
        vips: &BTreeSet<Prefix>,
        own: &[IpAddr],
    ) -> Result<(), SteerError> {
        let datagrams = self.told_datagrams.steered();
        let datagrams = datagrams.filter(|(_, steered)| !steered.is_empty());
        let keys: BTreeSet<_> = datagrams.map(|(key, _)| key).collect();
        let datagrams = if keys.is_empty() {
            BTreeMap::new()
        } else {
            self.engine.datagram_sockets(keys).await
        };
        let places = self.steering.places(datagrams.keys());
        let entries = self.entries(&places, own);
        let connections = || self.told.values().flat_map(|(_, service)| &service.steered);
        let families = [true, false].map(|v4| connections().any(|it| it.vip.is_ipv4() == v4));
        let sockets = if self.told.is_empty() {
            // What was taken over waits for the first configuration.
            [None, None]
        } else {
            self.engine.steer(families).map_err(SteerError::Listen)?
        };
        let datagrams = datagrams.into_iter();
        let datagrams = datagrams.filter_map(|(key, socket)| Some((*places.get(&key)?, socket)));
        let sockets = Sockets {
            listeners: sockets,
            datagrams: datagrams.collect(),
        };
        self.steering.follow(&entries, &sockets, places)?;
        if self.steering.is_running() {
            // Its program gave connections to the same listeners so far.
            self.predecessor = None;
        }
        let next = self.local_routes.follow(vips, Instant::now()).await?;
        if let Some(next) = next {
            self.wake_by(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// What goes where. Datagrams whose service has no socket are for nobody.
    fn entries(&self, places: &Places, own: &[IpAddr]) -> Entries {
        let services = || self.told.values().map(|(_, service)| service);
        let connections = services().flat_map(|it| &it.steered).map(|it| {
            let place = Steered::listeners(it.vip.is_ipv4());
            (it, TCP, place)
        });
        let datagrams = self.told_datagrams.steered();
        let datagrams = datagrams.filter_map(|(key, vips)| Some((vips, *places.get(&key)?)));
        let datagrams =
            datagrams.flat_map(|(vips, place)| vips.iter().map(move |it| (it, UDP, place)));
        let listeners = services().flat_map(|it| &it.listen);
        let listeners = listeners.map(|at| (*at, TCP));
        let sockets = self.told_datagrams.listening().map(|at| (at, UDP));
        steering::entries(connections.chain(datagrams), listeners.chain(sockets), own)
    }

    pub(super) fn refuse_steered(
        &mut self,
        desired: &Desired,
        error: &SteerError,
        refusals: &mut BTreeMap<ServiceId, String>,
    ) {
        let reason = Chain(error).to_string();
        warn!(%reason, "services that listen transparently are not as desired");
        for (id, service) in &desired.proxies {
            if service.proxy.listening == Listening::Transparent {
                refusals.entry(*id).or_insert_with(|| reason.clone());
            }
        }
        self.wake_by(RETRY);
    }

    /// What the program that steers connections has counted, by name.
    pub(crate) fn steering_counts(&self) -> BTreeMap<String, u64> {
        let counts = self.steering.counts();
        let counts = counts
            .inspect_err(|error| warn!(error = %Chain(error), "connections that were steered"));
        let counts = counts.into_iter().flatten();
        counts
            .map(|(name, count)| (format!("engine-{name}"), count))
            .collect()
    }
}
