use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{self, AbortHandle},
    time::sleep,
};

use super::{UdpConfig, UdpCounters, relay::Relay, udp_listener};
use crate::{
    engine::{ApplyError, ServiceKey},
    observe::ObserveConfig,
};

/// How long a worker waits whose socket has failed.
const FAILED_PAUSE: Duration = Duration::from_millis(50);

/// A service that relays datagrams, and where clients reach it.
#[derive(Clone, Debug)]
pub struct UdpService {
    /// The addresses to listen at. They need not be the machine's own yet.
    pub listen: Vec<SocketAddr>,
    /// What it does.
    pub config: Arc<UdpConfig>,
    /// What becomes of its datagrams, on all workers.
    pub counters: Arc<UdpCounters>,
    /// What of its sessions is seen. One whose `Arc` is the same as before has not changed.
    pub observe: Arc<ObserveConfig>,
}

/// The addresses at which a worker takes datagrams.
#[derive(Default)]
pub(crate) struct UdpSites(BTreeMap<SocketAddr, UdpSite>);

struct UdpSite {
    relay: Rc<Relay>,
    service: ServiceKey,
    task: AbortHandle,
}

// === impl UdpSites ===

impl UdpSites {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Serves these and nothing else, and gives what cannot be served.
    pub(crate) fn apply(
        &mut self,
        services: &BTreeMap<ServiceKey, UdpService>,
    ) -> Vec<(ServiceKey, ApplyError)> {
        let listens = |address: &SocketAddr, key| {
            let service = services.get(&key);
            service.is_some_and(|it| it.listen.contains(address))
        };
        let is_gone = |address: &SocketAddr, site: &mut UdpSite| !listens(address, site.service);
        self.0
            .extract_if(.., is_gone)
            .for_each(|(_, site)| site.end());
        let mut failed = Vec::new();
        for (key, service) in services {
            for address in &service.listen {
                let served = match self.0.entry(*address) {
                    Entry::Occupied(site) if site.get().service == *key => {
                        site.get().relay.swap(&service.config, &service.observe);
                        Ok(())
                    }
                    Entry::Occupied(_) => Err(ApplyError::Taken { address: *address }),
                    Entry::Vacant(place) => UdpSite::begin(*address, *key, service).map(|site| {
                        place.insert(site);
                    }),
                };
                failed.extend(served.err().map(|error| (*key, error)));
            }
        }
        failed
    }

    /// Takes no datagrams any more.
    pub(crate) fn end(&mut self) {
        std::mem::take(&mut self.0)
            .into_values()
            .for_each(UdpSite::end);
    }
}

// === impl UdpSite ===

impl UdpSite {
    fn begin(
        address: SocketAddr,
        key: ServiceKey,
        service: &UdpService,
    ) -> Result<Self, ApplyError> {
        let (config, counters) = (service.config.clone(), service.counters.clone());
        let socket = udp_listener(address);
        let observe = Arc::clone(&service.observe);
        let relay = socket.and_then(|socket| Relay::new(socket, config, counters, observe));
        let relay = relay.map_err(|source| ApplyError::Listen { address, source })?;
        let serving = Rc::clone(&relay);
        let task = task::spawn_local(async move {
            // A socket that had an error has nothing against the next datagram.
            while Rc::clone(&serving).serve().await.is_err() {
                sleep(FAILED_PAUSE).await;
            }
        });
        Ok(Self {
            relay,
            service: key,
            task: task.abort_handle(),
        })
    }

    fn end(self) {
        self.task.abort();
        self.relay.end();
    }
}
