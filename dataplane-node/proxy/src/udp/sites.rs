use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    net::SocketAddr,
    os::fd::AsFd as _,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{self, AbortHandle},
    time::sleep,
};

use super::{HandedRelay, TakenDatagrams, UdpConfig, UdpCounters, relay::Relay, udp_listener};
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
    service: ServiceKey,
    /// One, but where sockets of an engine before this one were more or fewer than this one's workers.
    relays: Vec<(Rc<Relay>, AbortHandle)>,
}

// === impl UdpSites ===

impl UdpSites {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives away all that it has, with what goes on.
    pub(crate) fn hand_over(&mut self) -> Vec<HandedRelay> {
        let sites = std::mem::take(&mut self.0).into_values();
        sites.flat_map(UdpSite::hand_over).collect()
    }

    /// Serves these and nothing else, with what was `taken` of an engine before this one, and gives what cannot be served.
    pub(crate) fn apply(
        &mut self,
        services: &BTreeMap<ServiceKey, UdpService>,
        mut taken: TakenDatagrams,
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
                        for (relay, _) in &site.get().relays {
                            relay.swap(&service.config, &service.observe);
                        }
                        Ok(())
                    }
                    Entry::Occupied(_) => Err(ApplyError::Taken { address: *address }),
                    Entry::Vacant(place) => {
                        let site = UdpSite::begin(*address, *key, service, &mut taken);
                        site.map(|site| {
                            place.insert(site);
                        })
                    }
                };
                failed.extend(served.err().map(|error| (*key, error)));
            }
        }
        failed
    }

    /// One of the sockets of each of these services, if it has one here.
    pub(crate) fn sockets(
        &self,
        services: &BTreeSet<ServiceKey>,
    ) -> Vec<(ServiceKey, std::net::UdpSocket)> {
        let sites = self.0.values();
        let sites = sites.filter(|site| services.contains(&site.service));
        let sockets = sites.filter_map(|site| {
            let (relay, _) = site.relays.first()?;
            let copy = relay.socket.as_fd().try_clone_to_owned().ok()?;
            Some((site.service, copy.into()))
        });
        sockets.collect()
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
        taken: &mut TakenDatagrams,
    ) -> Result<Self, ApplyError> {
        let is_its =
            |handed: &mut HandedRelay| handed.socket.local_addr().is_ok_and(|it| it == address);
        let mut all: Vec<_> = taken.relays.extract_if(.., is_its).collect();
        let failed = |source| ApplyError::Listen { address, source };
        if all.is_empty() && !taken.addresses.contains(&address) {
            all.push(HandedRelay {
                socket: udp_listener(address).map_err(failed)?,
                sessions: Vec::new(),
            });
        }
        let relays = all.into_iter().map(|handed| Self::relay(handed, service));
        Ok(Self {
            service: key,
            relays: relays.collect::<io::Result<_>>().map_err(failed)?,
        })
    }

    fn relay(handed: HandedRelay, service: &UdpService) -> io::Result<(Rc<Relay>, AbortHandle)> {
        let (config, counters) = (service.config.clone(), service.counters.clone());
        let observe = Arc::clone(&service.observe);
        let relay = Relay::new(handed.socket, config, counters, observe)?;
        relay.resume(handed.sessions);
        let serving = Rc::clone(&relay);
        let task = task::spawn_local(async move {
            // A socket that had an error has nothing against the next datagram.
            while Rc::clone(&serving).serve().await.is_err() {
                sleep(FAILED_PAUSE).await;
            }
        });
        Ok((relay, task.abort_handle()))
    }

    /// What it cannot give away ends.
    fn hand_over(self) -> Vec<HandedRelay> {
        let relays = self.relays.into_iter();
        relays
            .filter_map(|(relay, task)| {
                task.abort();
                relay.hand_over().ok()
            })
            .collect()
    }

    fn end(self) {
        for (relay, task) in self.relays {
            task.abort();
            relay.end();
        }
    }
}
